"""The train DAGs as Airflow reads them: one for each train file, with the same tasks whoever is on board."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from airlock.schedule.train_file import load_train
from tests.schedule.test_train import FILE

ROOT = Path(__file__).resolve().parents[2]


def test_the_shipped_trains_are_right(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from airflow.dag_processing.dagbag import DagBag

    bag = DagBag(str(ROOT / "dags" / "trains.py"))
    assert bag.import_errors == {}
    assert set(bag.dags) == {f"train.{path.stem}" for path in (ROOT / "include" / "trains").glob("*.yaml")}
    monkeypatch.setenv("AIRLOCK_TRAINS", str(tmp_path))
    assert DagBag(str(ROOT / "dags" / "trains.py")).dags == {}


@pytest.mark.parametrize("on_failure", ["stop", "roll_back"])
def test_one_leaves_after_the_other_and_they_go_back_in_reverse(tmp_path: Path, on_failure: str) -> None:
    from airlock.flow.dags.train import build

    (tmp_path / "weekly.yaml").write_text(f"{FILE}  - {{name: till, after: [shop]}}\non_failure: {on_failure}\n")
    dag = build(load_train(tmp_path / "weekly.yaml"))
    chain = ["board", "depart"]
    chain += [f"{name}.{task}" for name in ("stock", "shop", "till") for task in ("ask", "land")]
    if on_failure == "roll_back":
        chain += [f"roll_back.{name}.{task}" for name in ("shop", "stock") for task in ("ask", "land")]
    chain += ["arrive"]
    assert set(dag.task_ids) == set(chain)
    for before, after in itertools.pairwise(chain):
        assert dag.get_task(after).upstream_task_ids == {before}
    assert all(task.retries >= 2 and task.owner == "release-team" for task in dag.tasks)
    assert all(dag.get_task(name).trigger_rule == "all_done" for name in chain[2:]), "records decide, not states"
    assert not any(tuple(task.template_fields) for task in dag.tasks)
    assert dag.get_task("stock.ask").trigger_dag_id == "release.stock.prod"
    assert (dag.catchup, dag.max_active_runs, dag.is_paused_upon_creation) == (False, 1, False)
    assert "Europe/Berlin" in str(dag.timetable.serialize())
