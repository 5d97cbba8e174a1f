"""What can go wrong in mid-release: each fault strikes, and some are mended again after a while.

Knows how to break things, not what must come of it: that is ``aftermath``.
"""

from __future__ import annotations

import logging
import os
import random
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from airlock.errors import AirlockError, TemporaryError
from sandbox import stack
from sandbox.airflow_client import AirflowClient, Run
from sandbox.chaos import files, keys, servers
from sandbox.chaos.doorway import Doorway
from sandbox.chaos.moments import Moment
from sandbox.layout import Layout

log = logging.getLogger(__name__)
FIND_SECONDS = 20.0
INSIST_TIMES = 10


@dataclass(frozen=True)
class Scene:
    """The release that is struck, and what is at hand. ``disk`` is a small disk with the ledger on it, if any."""

    layout: Layout
    client: AirflowClient
    run: Run
    moment: Moment
    door: Doorway
    disk: Path | None
    chance: random.Random


@dataclass(frozen=True)
class Fault:
    """``strike`` breaks something, and says what; ``mend`` undoes it after ``lasts`` seconds. ``felt``: the release
    cannot but notice, so its evidence must tell."""

    name: str
    strike: Callable[[Scene], str]
    mend: Callable[[Scene], None] = lambda _: None
    lasts: float = 0.0
    felt: bool = True


def _task(scene: Scene) -> str:
    return _kill_process(scene, servers.kill_task, "the process of")


def _worker(scene: Scene) -> str:
    return _kill_process(scene, servers.kill_worker, "the worker of")


def _kill_process(scene: Scene, kill: Callable[[Layout, str], bool], what: str) -> str:
    """Kill what runs the moment's task, or, when that has just ended, whatever task runs next."""
    limit = time.monotonic() + FIND_SECONDS
    while time.monotonic() < limit:
        for task, identity in scene.client.task_instances(scene.run, "running").items():
            if kill(scene.layout, identity):
                return f"kill -9 of {what} {task}"
        time.sleep(0.2)
    return f"kill -9 of {what} a task: none ran any more"


def _server(name: str) -> Fault:
    def strike(scene: Scene) -> str:
        servers.kill(scene.layout, name)
        return f"kill -9 of {name}, started again after 4 s"

    def mend(scene: Scene) -> None:
        servers.start_again(scene.layout, name)

    return Fault(name.removeprefix("airflow-"), strike, mend, lasts=4, felt=False)


def _shut(scene: Scene) -> str:
    scene.door.shut()
    return "Envoy's admin address is out of reach for 15 s"


def _open(scene: Scene) -> None:
    scene.door.open()


def _fill(scene: Scene) -> str:
    if scene.disk is None:
        raise TemporaryError("there is no small disk to fill")
    written = 0
    with _filler(scene.disk).open("ab") as stream:
        for block in (1 << 16, 1 << 10, 1):
            with suppress(OSError):
                while True:
                    written += os.write(stream.fileno(), b"\0" * block)
    return f"the disk with the ledger is full for 15 s ({written >> 10} KiB written)"


def _free(scene: Scene) -> None:
    if scene.disk is not None:
        _filler(scene.disk).unlink(missing_ok=True)


def _filler(disk: Path) -> Path:
    return disk / ".filler"


def _mark(state: str) -> Callable[[Scene], str]:
    def strike(scene: Scene) -> str:
        _insist(lambda: scene.client.set_run_state(scene.run, state))
        return f"the run is marked {state} by hand"

    return strike


def _clear(scene: Scene) -> str:
    states = scene.client.task_states(scene.run)
    task = scene.chance.choice(sorted(states))
    downstream = scene.chance.random() < 0.5
    _insist(lambda: scene.client.clear(scene.run, [task], downstream=downstream))
    return f"{task} is cleared by hand{', with downstream' if downstream else ''}"


def _clear_all(scene: Scene) -> str:
    _insist(lambda: scene.client.clear(scene.run, sorted(scene.client.task_states(scene.run))))
    return "every task is cleared by hand"


def _rotate(scene: Scene) -> str:
    key = keys.rotate(scene.layout)
    for name in stack.AIRFLOW:
        servers.kill(scene.layout, name)
        servers.start_again(scene.layout, name)
    return f"the signing key is changed to {key}, and Airflow started again with it"


def _delete(scene: Scene) -> str:
    _insist(lambda: scene.client.set_run_state(scene.run, "failed"))
    _insist(lambda: scene.client.delete_run(scene.run))
    return "the run is marked failed and deleted"


def _file(change: Callable[[Layout], None], what: str) -> Callable[[Scene], str]:
    def strike(scene: Scene) -> str:
        change(scene.layout)
        return what

    return strike


def _mend_files(scene: Scene) -> None:
    files.mend(scene.layout)


def _insist(request: Callable[[], object]) -> None:
    """Ask Airflow again where it refuses for now: its own parts lock each other's rows, and a run must come to rest
    before it can be deleted."""
    for left in reversed(range(INSIST_TIMES)):
        try:
            request()
        except AirlockError as error:
            if not left:
                raise
            log.info("not done yet: %s", error)
            time.sleep(0.5)
        else:
            return


FAULTS = (
    Fault("task", _task),
    Fault("worker", _worker),
    _server("airflow-scheduler"),
    _server("airflow-triggerer"),
    _server("airflow-api-server"),
    _server("airflow-dag-processor"),
    _server("postgres"),
    Fault("envoy admin", _shut, _open, lasts=15, felt=False),
    Fault("disk full", _fill, _free, lasts=15, felt=False),
    Fault("mark failed", _mark("failed")),
    Fault("mark success", _mark("success")),
    Fault("clear a task", _clear, felt=False),
    Fault("clear all", _clear_all),
    Fault("delete run", _delete),
    Fault("rotate key", _rotate, felt=False),
    Fault("copied file", _file(files.duplicate, "another service file declares the shop too, for 60 s"), _mend_files,
          lasts=60, felt=False),
    Fault("broken file", _file(files.spoil, "the shop's own file is half edited for 60 s"), _mend_files, lasts=60,
          felt=False),
    Fault("dropped dags", _file(files.drop_release_dags, "the file that builds the release DAGs is gone for 4 min"),
          _mend_files, lasts=240, felt=False),
)
