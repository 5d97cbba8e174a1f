"""The release DAGs as Airflow reads them: complete, cheap to import, and the same for every run."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from pathlib import Path

import pytest

from airlock.models import Kind
from airlock.service.find import ServiceEnvironment, load_services
from sandbox import credentials
from sandbox.environment import Seeded, airlock
from sandbox.layout import Layout

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def shop(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, ServiceEnvironment]:
    layout = Layout(repository=ROOT, home=tmp_path, port_base=28000)
    for name, value in airlock(layout, credentials.load(tmp_path), Seeded("token", "ZONE", {})).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path / "airflow"))
    return {one.environment: one for one in load_services(ROOT / "include" / "services")}


def test_each_environment_has_one_dag_and_no_import_error(shop: dict[str, ServiceEnvironment]) -> None:
    from airflow.dag_processing.dagbag import DagBag

    bag = DagBag(str(ROOT / "dags"))
    assert bag.import_errors == {}
    for kind in ("release", "rollback"):
        assert {name for name in bag.dags if name.startswith(f"{kind}.")} == {f"{kind}.shop.{name}" for name in shop}


def test_structure_follows_the_design(shop: dict[str, ServiceEnvironment]) -> None:
    from airlock.flow.dags.release import build

    dag = build(shop["prod"])
    groups = dag.task_group.get_task_group_dict()
    assert {f"backup.{kind}" for kind in Kind} <= set(groups)
    for resource in shop["prod"].resources:
        stem = f"backup.{resource.kind}.{resource.name}"
        assert dag.get_task(f"{stem}.prove").upstream_task_ids == {f"{stem}.take"}
        assert "backup.restore_set" in dag.get_task(f"{stem}.prove").downstream_task_ids
    order = ["change.validate", "change.assess", "change.inspect", "change.approve", "change.permit", "change.window"]
    for before, after in itertools.pairwise(order):
        assert dag.get_task(after).upstream_task_ids == {before}
    assert dag.get_task("deploy.migrate").upstream_task_ids == {"backup.restore_set"}
    assert dag.get_task("deploy.stage").upstream_task_ids == {"deploy.migrate"}
    assert dag.get_task("deploy.rollback.traffic").upstream_task_ids == {"deploy.decide", "deploy.bake"}
    assert dag.get_task("close.outcome").downstream_task_ids == set()


def test_the_way_back_by_on_call_has_every_stage_of_a_release(shop: dict[str, ServiceEnvironment]) -> None:
    from airlock.flow.dags import release as release_dag
    from airlock.flow.dags import rollback as rollback_dag

    release, back = release_dag.build(shop["prod"]), rollback_dag.build(shop["prod"])
    assert set(release.task_ids) - set(back.task_ids) == {"deploy.migrate", "change.inspect"}
    assert set(back.task_ids) < set(release.task_ids)
    traffic = back.get_task("deploy.promote").get_flat_relative_ids(upstream=True)
    assert not [one for one in traffic if one.startswith("backup.")], "traffic moves first"
    assert "deploy.promote" in back.get_task("backup.databases.shop_db.take").get_flat_relative_ids(upstream=True)
    assert "backup.restore_set" in back.get_task("close.seal").upstream_task_ids
    assert set(back.params) == {"reason", "incident"}
    assert (back.schedule, back.dag_id) == (None, "rollback.shop.prod")


def test_a_dag_that_costs_little_is_the_one_that_airflow_would_build(
    shop: dict[str, ServiceEnvironment], monkeypatch: pytest.MonkeyPatch
) -> None:
    from airflow.serialization.serialized_objects import DagSerialization

    from airlock.flow.dags import release, rollback
    from airlock.flow.operators.task import AirlockOperator

    quick = [module.build(one) for module in (release, rollback) for one in shop.values()]
    monkeypatch.delattr(AirlockOperator, "__setattr__")  # each attribute is set as Airflow does for all tasks
    usual = [module.build(one) for module in (release, rollback) for one in shop.values()]
    for ours, theirs in zip(quick, usual, strict=True):
        assert DagSerialization.to_dict(ours) == DagSerialization.to_dict(theirs)
        for task in ours.tasks:
            assert task.template_fields == (), "what only templates need is left out"
            kept, wanted = vars(task), vars(theirs.get_task(task.task_id))
            assert kept.keys() == wanted.keys()
            for name in kept.keys() - {"_dag", "task_group", "act", "_BaseOperator__init_kwargs"}:
                assert kept[name] == wanted[name], f"{task.task_id}: {name}"


@pytest.mark.parametrize("kind", ["release", "rollback"])
def test_policy_of_every_task(shop: dict[str, ServiceEnvironment], kind: str) -> None:
    from airlock.flow.dags import release as release_dag
    from airlock.flow.dags import rollback as rollback_dag

    for environment in shop.values():
        dag = (release_dag if kind == "release" else rollback_dag).build(environment)
        assert (dag.catchup, dag.max_active_runs) == (False, 1)
        assert dag.doc_md
        for task in dag.tasks:
            assert task.retries >= 2, task.task_id
            assert task.owner == environment.owner, task.task_id
        assert dag.get_task("backup.restore_set").trigger_rule == "all_done_min_one_success"
        for name in ("deploy.decide", "deploy.rollback.traffic", "close.seal", "close.outcome"):
            assert dag.get_task(name).trigger_rule == "all_done"
        kinds = {resource.kind for resource in environment.resources}
        assert all(dag.get_task(f"backup.{kind}.discard").is_teardown for kind in kinds)


def test_nothing_that_a_person_typed_meets_a_template(shop: dict[str, ServiceEnvironment]) -> None:
    from airlock.flow.dags.release import build

    dag = build(shop["prod"])
    for task in dag.tasks:
        assert tuple(task.template_fields) == () and task.map_index_template is None, task.task_id
    approve = dag.get_task("change.approve")
    approve.subject = approve.body = "{{ 7 * 7 }} {% raw %} {{ conn.shop_vault.password }}"
    approve.render_template_fields({})
    assert approve.subject == approve.body == "{{ 7 * 7 }} {% raw %} {{ conn.shop_vault.password }}"


def test_the_approval_gate_never_answers_by_itself(shop: dict[str, ServiceEnvironment]) -> None:
    from airlock.flow.dags.release import build

    approve = build(shop["prod"]).get_task("change.approve")
    assert approve.defaults is None


def test_a_scheduled_cycle_can_start_without_a_form(shop: dict[str, ServiceEnvironment]) -> None:
    from airlock.flow.dags.release import build
    from airlock.service.calendar import Cycle

    cycle = Cycle(cron="0 6 * * 2", timezone="Europe/Berlin")
    dag = build(shop["prod"].model_copy(update={"cycle": cycle}))
    dag.params.validate()
    assert "Europe/Berlin" in str(dag.timetable.serialize())
    with pytest.raises(ValueError, match="version"):
        build(shop["prod"]).params.validate()


@pytest.mark.usefixtures("shop")
def test_reading_the_dag_files_loads_no_cloud_client_and_no_provider_but_standard() -> None:
    check = (
        "import pathlib, runpy, sys; import airflow.sdk, airflow.timetables.trigger\n"
        f"[runpy.run_path(str(path)) for path in pathlib.Path({str(ROOT / 'dags')!r}).glob('*.py')]\n"
        "heavy = ('boto3', 'botocore', 'kubernetes', 'hvac', 'scipy', 'psycopg', 'slack_sdk')\n"
        "parts = ('hooks', 'operators', 'sensors', 'triggers', 'utils')\n"
        "print([m for m in sys.modules if m in heavy or (m.startswith('airflow.providers.') and "
        "m.split('.')[2] not in ('standard', 'common') and set(m.split('.')) & set(parts))])"
    )
    known = {**os.environ, "PYTHONPATH": str(ROOT / "include")}
    found = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True, env=known)
    assert found.stdout.strip().splitlines()[-1] == "[]"


def test_a_promotion_is_announced_and_wakes_the_continuous_cycle_after_it(shop: dict[str, ServiceEnvironment]) -> None:
    from airlock.flow.dags import rollback as rollback_dag
    from airlock.flow.dags.release import build
    from airlock.service.calendar import Cycle

    staging = build(shop["staging"])
    assert [asset.uri for asset in staging.get_task("close.outcome").outlets] == ["x-airlock://shop/staging"]
    prod = build(shop["prod"].model_copy(update={"cycle": Cycle(continuous=True)}))
    assert prod.schedule.uri == "x-airlock://shop/staging"
    prod.params.validate()
    back = rollback_dag.build(shop["staging"])
    assert not any(task.outlets for task in back.tasks), "what was taken back goes nowhere"
