"""Kills servers of a running sandbox, and the processes of one task; starts a server again as an orchestrator would.

Ends only processes of this sandbox: each is found from a process file of its own, see ``sandbox.processes``.
"""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Callable
from contextlib import suppress

import psutil

from airlock.errors import TemporaryError
from sandbox import airflow, broker, credentials, environment_file, postgres, processes, stack
from sandbox.layout import Layout

log = logging.getLogger(__name__)
LOCAL_EXECUTOR = "LocalExecutor"


def kill(layout: Layout, name: str) -> None:
    """Send SIGKILL to the first process of the server *name*, as the system does when memory runs out.

    :raises TemporaryError: it does not run
    """
    server = processes.find(layout.run, name)
    if server is None or not server.alive():
        raise TemporaryError(f"{name} does not run, so it cannot be killed: start the sandbox again")
    os.kill(server.pid, signal.SIGKILL)
    log.debug("killed %s: process %d", name, server.pid)


def kill_tree(layout: Layout, name: str) -> None:
    """Send SIGKILL to the server *name* and to everything below it, as when its machine is switched off.

    :raises TemporaryError: it does not run
    """
    server = processes.find(layout.run, name)
    if server is None or not server.alive():
        raise TemporaryError(f"{name} does not run, so it cannot be killed: start the sandbox again")
    first = psutil.Process(server.pid)
    first.suspend()  # so that it begins nothing more while the others are looked for
    for process in (*first.children(recursive=True), first):
        with suppress(psutil.Error):
            process.kill()
    log.debug("killed %s with all below it: process %d", name, server.pid)


def worker_of(layout: Layout, task_instance: str) -> str:
    """Return the name of the worker that runs the task instance with the id *task_instance*; empty if none does."""
    for name in stack.CELERY:
        server = processes.find(layout.run, name)
        if server is None or not server.alive():
            continue
        for process in psutil.Process(server.pid).children(recursive=True):
            with suppress(psutil.Error):
                if " ".join(process.cmdline()).strip().endswith(task_instance):
                    return name
    return ""


def start_again(layout: Layout, name: str) -> None:
    """End what the killed server *name* left running, as the end of its container would, and start it anew."""
    server = processes.find(layout.run, name)
    if server is not None:
        server.stop()
    _STARTERS.get(name, _start_airflow)(layout, name)


def keep_running(layout: Layout) -> None:
    """Start Airflow's components again that ended by themselves, as an orchestrator does (``restart: always``).

    Airflow's own scheduler, triggerer and DAG processor end when their database is away.
    """
    for name in stack.AIRFLOW:
        server = processes.find(layout.run, name)
        if server is not None and not server.alive():
            log.debug("%s has ended and is started again", name)
            start_again(layout, name)


def kill_task(layout: Layout, task_instance: str) -> bool:
    """Kill the process that runs the task instance with the id *task_instance*; the worker above it lives on."""
    return _kill_each(layout, lambda title: title.endswith(task_instance) and LOCAL_EXECUTOR not in title)


def kill_worker(layout: Layout, task_instance: str) -> bool:
    """Kill the worker that supervises the task instance; what the task itself runs in is orphaned for a while."""
    return _kill_each(layout, lambda title: title.endswith(task_instance) and LOCAL_EXECUTOR in title)


def _kill_each(layout: Layout, wanted: Callable[[str], bool]) -> bool:
    scheduler = processes.find(layout.run, "airflow-scheduler")
    if scheduler is None or not scheduler.alive():
        return False
    struck = False
    for process in psutil.Process(scheduler.pid).children(recursive=True):
        with suppress(psutil.Error):
            title = " ".join(process.cmdline()).strip()
            if wanted(title):
                process.kill()
                log.debug("killed process %d: %s", process.pid, title)
                struck = True
    return struck


def _start_airflow(layout: Layout, name: str) -> None:
    given = {**os.environ, **environment_file.kept(layout)}
    path = os.pathsep.join((str(postgres.binaries()), given.get("PATH", os.defpath)))
    airflow.start(layout, {**given, "PATH": path}, name.removeprefix("airflow-"))


def _start_broker(layout: Layout, name: str) -> None:
    broker.start(layout.data / "broker", layout.port("broker"), credentials.load(layout.sandbox).broker, layout.run)


def _start_postgres(layout: Layout, name: str) -> None:
    postgres.start(layout.data, layout.port("postgres"), credentials.load(layout.sandbox).postgres, layout.run)


_STARTERS: dict[str, Callable[[Layout, str], None]] = {"postgres": _start_postgres, "broker": _start_broker}
