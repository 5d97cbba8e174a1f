"""Carries out steps that need each other, as many at once as can be. Knows nothing of what they do."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass

from airlock.errors import TemporaryError

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Step:
    """One thing to do, after the steps it needs."""

    name: str
    needs: Sequence[str]
    act: Callable[[], None]


class Cancelled(TemporaryError):
    """Another step failed, or the user interrupted: this step was not begun."""


def carry_out(steps: Sequence[Step], progress: Progress) -> None:
    """Run *steps*, each as soon as those it needs are done. The first fault stops those that have not begun."""
    cancelled = threading.Event()
    done = {step.name: threading.Event() for step in steps}

    def run(step: Step) -> None:
        for name in step.needs:
            while not done[name].wait(0.1):
                if cancelled.is_set():
                    raise Cancelled(step.name)
        if cancelled.is_set():
            raise Cancelled(step.name)
        began = time.monotonic()
        step.act()
        progress(f"{step.name}: ready after {time.monotonic() - began:.1f} s")
        done[step.name].set()

    with ThreadPoolExecutor(max_workers=len(steps), thread_name_prefix="sandbox") as pool:
        futures: list[Future[None]] = [pool.submit(run, step) for step in steps]
        try:
            wait(futures, return_when=FIRST_EXCEPTION)
        finally:
            cancelled.set()
            if not all(event.is_set() for event in done.values()):
                progress("waiting for what is starting just now")
    faults = [fault for future in futures if (fault := future.exception()) is not None]
    for fault in sorted(faults, key=lambda fault: isinstance(fault, Cancelled)):
        raise fault
