"""The whole sandbox, with a real Airflow, on free ports, for tests of whole releases."""

from __future__ import annotations

import io
import random
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from airlock.errors import InvalidInput
from sandbox import reach, stack
from sandbox.airflow_client import AirflowClient, Run
from sandbox.demo import EASY, Demo
from sandbox.demo_view import DemoView
from sandbox.layout import OFFSETS, Layout
from sandbox.traffic import RATES

ROOT = Path(__file__).resolve().parents[1]
ANSWER_SECONDS = 400.0


@dataclass(frozen=True)
class Running:
    """A sandbox that runs. ``given`` is the environment of its Airflow, which this process has too."""

    layout: Layout
    demo: Demo
    given: Mapping[str, str]


def _as_it_is(_: Layout) -> Mapping[str, str]:
    return {}


@contextmanager
def running_sandbox(
    home: Path,
    prepare: Callable[[Layout], Mapping[str, str]] = _as_it_is,
    listeners: Iterable[str] = tuple(RATES),
    *,
    workers: bool = False,
) -> Iterator[Running]:
    """Start everything below *home*, which PostgreSQL's user can reach; stop it at the end of the block.

    *prepare* is called before anything starts, and returns settings for Airflow beside the usual ones. Customers ask
    through *listeners* only: requests that no test looks at take a processor's time from those that count. *workers*:
    as in ``stack.start_all``.
    """
    layout = Layout(repository=ROOT, home=home, port_base=free_port_base())
    settings, rates = prepare(layout), {name: RATES[name] for name in listeners}
    try:
        given = stack.start_all(layout, settings=settings, rates=rates, workers=workers)
    except InvalidInput:  # a port was taken between the look and the start: two of these may start at once
        layout = Layout(repository=ROOT, home=home, port_base=free_port_base())
        given = stack.start_all(layout, settings=settings, rates=rates, workers=workers)
    patch = pytest.MonkeyPatch()
    try:
        for name, value in given.items():
            if name.startswith(("AIRLOCK_", "AIRFLOW")):
                patch.setenv(name, value)
        yield Running(layout, Demo(layout, DemoView(Console(file=io.StringIO()), "")), given)
    finally:
        patch.undo()
        stack.stop_all(layout)


def form(version: str, **more: Any) -> dict[str, Any]:
    """Return the answers of the release form for a normal change to *version* that is easy to approve."""
    return {
        "version": version, "change_type": "normal", "title": "A test release", "reason": "It is tested end to end.",
        "impact": "low", "rollback_plan": "All traffic goes back to the version before.", **EASY, **more,
    }


def answer(person: AirflowClient, run: Run, option: str, reason: str, recorded: Callable[[], int]) -> None:
    """Let *person* answer the request of *run* as soon as it can be seen, once: no answer may be lost."""
    before, deadline = recorded(), time.monotonic() + ANSWER_SECONDS
    while not person.unanswered(run):
        assert time.monotonic() < deadline, f"{run}: nobody is asked: {person.task_states(run)}"
        time.sleep(0.1)
    person.approve(run, option, reason)
    while recorded() == before:
        assert time.monotonic() < deadline, f"{run}: no answer is on record: {person.task_states(run)}"
        time.sleep(0.3)
        while recorded() == before and person.pending_request(run) is None and time.monotonic() < deadline:
            time.sleep(0.3)


def free_port_base() -> int:
    """Return a port base whose row of ports nothing uses at this moment."""
    for _ in range(50):
        base = random.randrange(10000, 19900, 100)  # below the ports that the system hands out
        if not any(reach.listens(base + offset) for offset in OFFSETS.values()):
            return base
    pytest.fail("no free range of ports was found")
