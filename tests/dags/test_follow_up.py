"""The DAGs of what is owed after releases, as Airflow reads them."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def test_airflow_finds_both_even_if_a_service_file_is_wrong(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from airflow.dag_processing.dagbag import DagBag

    (tmp_path / "broken.yaml").write_text("service: [")
    monkeypatch.setenv("AIRLOCK_SERVICES", str(tmp_path))
    bag = DagBag(str(ROOT / "dags" / "follow_up.py"))
    assert bag.import_errors == {}
    look, ask = bag.dags["follow_up"], bag.dags["follow_up_release"]
    assert (look.catchup, look.max_active_runs, [task.task_id for task in look.tasks]) == (False, 1, ["look"])
    assert {task.task_id for task in ask.tasks} == {"retro_approval", "review", "close"}
    # One release whose people take their time must not keep another one from being asked about.
    assert ask.max_active_runs >= 500 and ask.timetable.can_be_scheduled is False
    for task in ("retro_approval", "review"):
        assert ask.get_task(task).response_timeout is None and ask.get_task(task).downstream_task_ids == {"close"}
