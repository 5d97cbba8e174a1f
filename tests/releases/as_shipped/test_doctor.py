"""In a real Airflow with all servers: what the DAG ``doctor`` and the command say when all is well, and when not."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from airlock.doctor.finding import FAULTY
from sandbox import processes
from sandbox.airflow_client import Run
from tests.running_sandbox import ROOT, Running

pytestmark = [pytest.mark.end_to_end, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def running(shipped_sandbox: Running) -> Running:
    shipped_sandbox.demo.client("admin").wait_for_dag("doctor", 120)
    return shipped_sandbox


def run(running: Running, **form: str) -> tuple[Run, str]:
    """Run the DAG to its end; return the run and the log of its last task."""
    admin = running.demo.client("admin")
    started = admin.trigger("doctor", form)
    limit = time.monotonic() + 400
    while (now := admin.run(started)).state in ("queued", "running"):
        assert time.monotonic() < limit, admin.task_states(started)
        time.sleep(0.5)
    return now, admin.log(started, "outcome")


def command(running: Running, *arguments: str) -> tuple[int, Any]:
    done = subprocess.run([sys.executable, "-m", "airlock", "doctor", *arguments, "--json"], text=True, cwd=ROOT,
                          capture_output=True, timeout=300, env={**os.environ, **running.given})  # fmt: skip
    return done.returncode, json.loads(done.stdout)["findings"]


@contextmanager
def frozen(running: Running, name: str) -> Iterator[None]:
    """A server that takes connections and answers nothing."""
    server = processes.find(running.layout.run, name)
    assert server is not None
    os.killpg(server.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.killpg(server.pid, signal.SIGCONT)


def test_a_sandbox_that_is_well_gets_no_fault_and_no_warning(running: Running) -> None:
    now, said = run(running)
    assert now.state == "success", said
    assert "all: nothing that could be asked stands in the way of a release: 0 fault(s), 0 warning(s)" in said
    for words in ("fine: components, worker on", "fine: components, triggerer on", "fine: components, API server on",
                  "fine: components, DAG processor: reads DAG files with code",
                  "fine: people, shop prod: all 3 of the group change_advisory_board exist in Airflow"):  # fmt: skip
        assert words in said
    code, found = command(running)
    assert code == 0, [one for one in found if one["gravity"] in ("fault", "warning")]


def test_what_is_broken_at_once_is_named_each_for_itself(running: Running) -> None:
    home = running.layout.home / "sandbox/host/prod"
    (home / ".env").rename(home / ".env.away")
    (home / "slots/stable").rename(home / "slots/away")
    try:
        with frozen(running, "openbao"):
            now, said = run(running, service="shop", environment="prod")
            code, found = command(running, "shop", "prod")
    finally:
        (home / "slots/away").rename(home / "slots/stable")
        (home / ".env.away").rename(home / ".env")
    assert now.state == "failed"
    assert code == FAULTY
    wrong = {one["where"] for one in found if one["gravity"] == "fault"}
    assert {"configuration.env_file", "configuration.vault", "artifacts.running_version"} <= wrong
    assert {one["where"] for one in found if one["gravity"] == "fine"} >= {"databases.shop_db", "storage.uploads"}
    for where in wrong:
        assert f"fault: resources, {where}" in said or f", {where}: " in said
    # of the server that hangs: its client gives up sooner or later than doctor
    assert "no answer within" in said or "Timeout" in said
