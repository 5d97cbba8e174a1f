"""Airflow with two workers of the CeleryExecutor, two schedulers and two triggerers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from sandbox import credentials, processes, stack
from tests.running_sandbox import Running, running_sandbox

pytestmark = [pytest.mark.end_to_end, pytest.mark.timeout(1200)]


@pytest.fixture(scope="module")
def sandbox(open_folder: Path) -> Iterator[Running]:
    with running_sandbox(open_folder, listeners=("envoy_staging",), workers=True) as running:
        yield running


def test_everything_is_there_and_listens_on_loopback_only(sandbox: Running) -> None:
    layout = sandbox.layout
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
