"""The DAG ``doctor`` as Airflow reads it: there, awake, and independent of what the service files hold."""

from __future__ import annotations

from pathlib import Path

import pytest

from airlock.doctor import code
from airlock.errors import InvalidInput
from airlock.flow.api_server import components
from airlock.flow.dags.doctor import COUNT, build, worker_count

ROOT = Path(__file__).resolve().parents[2]


def test_airflow_finds_it_even_if_a_service_file_is_wrong(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from airflow.dag_processing.dagbag import DagBag

    (tmp_path / "broken.yaml").write_text("service: [")
    monkeypatch.setenv("AIRLOCK_SERVICES", str(tmp_path))
    bag = DagBag(str(ROOT / "dags" / "doctor.py"))
    assert bag.import_errors == {}
    dag = bag.dags["doctor"]
    assert (dag.catchup, dag.max_active_runs, dag.is_paused_upon_creation) == (False, 1, False)
    assert {task.task_id for task in dag.tasks} == {"environments", "ask", "worker", "triggerer", "outcome"}
    assert dag.get_task("outcome").trigger_rule == "all_done"


def test_it_says_with_which_code_it_was_read() -> None:
    found = components._PARSED.search(str(build(ROOT / "include/services").doc_md))
    assert found is not None
    assert found[1] == code.digest()


@pytest.mark.parametrize("text", ["0", "65", "-1", "1.5", "many"])
def test_a_wrong_number_of_workers_is_told(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv(COUNT, text)
    with pytest.raises(InvalidInput, match="from 1 to 64"):
        worker_count()
