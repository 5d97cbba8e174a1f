"""The DAG ``settle`` as Airflow reads it: there, awake, and independent of what the service files hold."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from airlock.errors import InvalidInput
from airlock.flow.dags.settle import INTERVAL, build, interval_seconds

ROOT = Path(__file__).resolve().parents[2]


def test_airflow_finds_it_even_if_a_service_file_is_wrong(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from airflow.dag_processing.dagbag import DagBag

    (tmp_path / "broken.yaml").write_text("service: [")
    monkeypatch.setenv("AIRLOCK_SERVICES", str(tmp_path))
    bag = DagBag(str(ROOT / "dags" / "settle.py"))
    assert bag.import_errors == {}
    dag = bag.dags["settle"]
    assert (dag.catchup, dag.max_active_runs, dag.is_paused_upon_creation) == (False, 1, False)
    assert [task.task_id for task in dag.tasks] == ["settle"]


def test_it_runs_every_minute_unless_told_otherwise(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv(INTERVAL, raising=False)
    assert build(tmp_path).timetable._delta == timedelta(seconds=60)
    monkeypatch.setenv(INTERVAL, "15")
    assert interval_seconds() == 15


@pytest.mark.parametrize("text", ["0", "4", "3601", "-5", "1.5", "soon", "٣٠"])
def test_a_wrong_interval_is_told(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv(INTERVAL, text)
    with pytest.raises(InvalidInput, match="from 5 to 3600"):
        interval_seconds()
