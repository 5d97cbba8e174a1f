"""A release whose tasks are run by two workers of the CeleryExecutor, one of which is killed in a backup."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import psutil
import pytest

from airlock.deploy.delivery import delivery_of
from airlock.evidence.ledger import Ledger
from airlock.evidence.pack import verify
from airlock.flow.dags import follow_up
from airlock.flow.stages.release import release_id
from airlock.recompute.release import recompute
from airlock.service.find import ServiceEnvironment, find
from airlock.signing import Signer
from sandbox import airflow, credentials, processes, stack
from sandbox.airflow_client import AirflowClient, Run
from sandbox.chaos import servers
from tests.running_sandbox import ROOT, Running, running_sandbox

pytestmark = [pytest.mark.end_to_end, pytest.mark.timeout(1200)]
DAG = "release.shop.staging"
WORKERS = ("airflow-worker-1", "airflow-worker-2")


@dataclass(frozen=True)
class Shop:
    """The shop's staging in a sandbox with two workers."""

    running: Running
    environment: ServiceEnvironment
    manager: AirflowClient

    def begin(self, version: str) -> tuple[Run, str]:
        run = self.manager.trigger(DAG, {"version": version, "change_type": "standard"})
        return run, release_id(self.environment, run.run_id, datetime.fromisoformat(run.run_after))

    @property
    def ledger(self) -> Ledger:
        return Ledger(self.environment.ledger, "shop", "staging")

    def ended(self, run: Run, seconds: float = 700) -> Run:
        limit = time.monotonic() + seconds
        while run.state in ("queued", "running"):
            assert time.monotonic() < limit, f"{run} did not end: {self.manager.task_states(run)}"
            time.sleep(1)
            run = self.manager.run(run)
        return run

    def ran(self, worker: str) -> int:
        """How many tasks *worker* has carried out."""
        return (self.running.layout.log / f"{worker}.log").read_text(errors="replace").count("succeeded in ")


@pytest.fixture(scope="module")
def shop(open_folder: Path) -> Iterator[Shop]:
    with running_sandbox(open_folder, listeners=("envoy_staging",), workers=True) as running:
        manager = running.demo.client("release-manager")
        manager.wait_for_dag(DAG, 200)
        yield Shop(running, find(ROOT / "include/services", "shop", "staging"), manager)


def wait(what: Callable[[], bool], seconds: float, missing: str) -> None:
    limit = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < limit, missing
        time.sleep(0.5)


def kill_in_a_backup(shop: Shop, run: Run, identity: str) -> tuple[str, str]:
    """Kill a worker with all below it while it takes a backup; return the task, and the worker."""
    layout, limit = shop.running.layout, time.monotonic() + 300
    while time.monotonic() < limit:
        for task, instance in shop.manager.task_instances(run, "running").items():
            if not (task.startswith("backup.") and task.endswith(".take")):
                continue
            worker = servers.worker_of(layout, instance)
            if not worker:
                continue
            servers.kill_tree(layout, worker)
            resource = task.removeprefix("backup.").removesuffix(".take")
            assert shop.ledger.latest(identity, "recovery_point", resource) is None, "it was not in the middle"
            return task, worker
        time.sleep(0.1)
    pytest.fail(f"no backup was seen at work: {shop.manager.task_states(run)}")


def test_everything_is_there_and_listens_on_loopback_only(shop: Shop) -> None:
    layout = shop.running.layout
    assert set(stack.status(layout)) >= {*stack.SERVERS, *stack.CELERY}
    assert stack.running(layout)
    password = credentials.load(layout.sandbox).broker
    for name in stack.CELERY:
        server = processes.find(layout.run, name)
        assert server is not None
        first = psutil.Process(server.pid)
        for process in (first, *first.children(recursive=True)):
            try:
                said, sockets = " ".join(process.cmdline()), process.net_connections()
            except psutil.NoSuchProcess:  # of a task that has just ended
                continue
            assert password not in said
            assert {one.laddr.ip for one in sockets if one.status == psutil.CONN_LISTEN} <= {"127.0.0.1"}


def test_a_worker_that_is_killed_in_a_backup_does_not_keep_the_release_from_being_promoted(shop: Shop) -> None:
    run, identity = shop.begin("1.1")
    task, killed = kill_in_a_backup(shop, run, identity)
    (other,) = set(WORKERS) - {killed}
    assert shop.ended(run).state == "success", shop.manager.task_states(run)
    records = shop.ledger.read(identity)
    (outcome,) = [record.data for record in records if record.type == "outcome"]
    assert outcome["outcome"] == "promoted", outcome["why"]
    assert task in {record.subject for record in records if record.type == "interrupted"}
    assert shop.ran(killed) > 0, "both workers took part before"
    assert shop.ran(other) > 0
    pack = Path(shop.environment.evidence) / f"{identity}.zip"
    key = Signer.from_pem(credentials.load(shop.running.layout.sandbox).signing_key).public_pem
    assert verify(pack, (key,)).ok
    again = recompute(pack, (key,))
    assert (again.problems, again.differing) == ((), ())
    state = delivery_of(shop.environment).inspect()
    assert (state.stable, state.weight_of("1.1")) == ("1.1", 100)
    servers.start_again(shop.running.layout, killed)


def test_while_airflow_is_down_a_person_lands_a_release_and_it_is_shown_when_airflow_is_back(
    shop: Shop, tmp_path: Path
) -> None:
    layout = shop.running.layout
    run, identity = shop.begin("1.2")
    wait(lambda: shop.ledger.latest(identity, "act", "shift") is not None, 300, "no traffic was shifted")
    for name in (one for one in (*stack.AIRFLOW, *stack.CELERY) if one not in (*WORKERS, "broker")):
        servers.kill(layout, name)  # the workers live on
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "AIRLOCK_"))}
    given = {name: value for name, value in shop.running.given.items()
             if name.startswith(("AIRFLOW_CONN_", "AIRLOCK_")) or name == "PATH"}
    done = subprocess.run(
        [sys.executable, "-m", "airlock", "land", "shop", "staging", "--reason", "Airflow's machine is gone.", "--as",
         "board-1", "--json"],
        env={**kept, **given, "AIRFLOW_HOME": str(tmp_path), "PYTHONPATH": str(ROOT / "include")},
        cwd=tmp_path, capture_output=True, text=True, timeout=200,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(done.stdout)["releases"][0]["done"] == f"{identity}: settled as rolled_back"
    state = delivery_of(shop.environment).inspect()
    assert (state.stable, state.weight_of("1.1")) == ("1.1", 100)
    servers.keep_running(layout)
    for name in stack.CELERY:
        if name not in (*WORKERS, "broker"):
            servers.start_again(layout, name)
    wait(lambda: bool(airflow.healthy(layout)), 120, "the API server is not back")
    assert shop.ended(run).state == "failed"
    wait(lambda: "took it in hand" in (shop.manager.note(run) or ""), 200, "the run has no note of it")
    after = Run(follow_up.RELEASE_DAG_ID, f"after__{identity}", run.run_after, "running")
    wait(lambda: after.run_id in {one.run_id for one in shop.manager.runs(after.dag_id)}, 300, "no review is asked for")
    wait(lambda: bool(shop.manager.unanswered(after)), 120, "nobody is asked")
    (asked,) = shop.manager.unanswered(after)
    assert "board-1 (user " in asked["body"].replace("\\", "")
    assert "took it in hand" in asked["body"]
