"""The DAGs of what is done outside releases, as Airflow reads them: where a policy asks for them, and complete."""

from __future__ import annotations

from pathlib import Path

import pytest

from airlock.service.find import ServiceEnvironment, load_services
from sandbox import credentials
from sandbox.environment import Seeded, airlock
from sandbox.layout import Layout

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def prod(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ServiceEnvironment:
    layout = Layout(repository=ROOT, home=tmp_path, port_base=28000)
    for name, value in airlock(layout, credentials.load(tmp_path), Seeded("token", "ZONE", {})).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path / "airflow"))
    return next(one for one in load_services(ROOT / "include" / "services") if one.environment == "prod")


def test_they_are_there_where_a_policy_asks_for_them(prod: ServiceEnvironment) -> None:
    from airflow.dag_processing.dagbag import DagBag

    for kind in ("backups", "drills", "retention"):
        bag = DagBag(str(ROOT / "dags" / f"{kind}.py"))
        assert bag.import_errors == {}
        assert set(bag.dags) == {f"{kind}.shop.prod"}
        dag = bag.dags[f"{kind}.shop.prod"]
        assert (dag.catchup, dag.max_active_runs) == (False, 1)
        assert "Europe/Berlin" in str(dag.timetable.serialize())
        assert dag.get_task("end").trigger_rule == "all_done"
        assert [task.task_id for task in dag.tasks if not task.downstream_task_ids] == ["end"]
        assert all(task.retries >= 2 and task.owner == prod.owner for task in dag.tasks)
        assert not any(task.template_fields for task in dag.tasks)


def test_each_resource_is_a_task_of_its_own(prod: ServiceEnvironment) -> None:
    from airlock.flow.dags import backup as backup_dag
    from airlock.flow.dags import drill as drill_dag

    names = {f"{resource.kind}.{resource.name}" for resource in prod.resources}
    backups = backup_dag.build(prod, prod.backup.schedule)
    drills = drill_dag.build(prod, prod.backup.drills)
    assert set(backups.task_ids) == {"begin", *names, "end"}
    assert set(drills.task_ids) == {"choose", *names, "end"}
    assert all(drills.get_task(name).trigger_rule == "all_done" for name in names)


def test_the_watch_is_awake_even_if_a_service_file_is_wrong(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from airflow.dag_processing.dagbag import DagBag

    (tmp_path / "broken.yaml").write_text("service: [")
    monkeypatch.setenv("AIRLOCK_SERVICES", str(tmp_path))
    bag = DagBag(str(ROOT / "dags" / "watch.py"))
    assert bag.import_errors == {}
    assert (bag.dags["watch"].max_active_runs, bag.dags["watch"].is_paused_upon_creation) == (1, False)
