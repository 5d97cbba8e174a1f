"""Runs one program for as long as whoever asked for it lives: ``python child_program_runner.py PROGRAM ARGUMENT...``,
or, where a library asks, which gives no lifeline, for so long: ``... --seconds 60 PROGRAM ARGUMENT...``. A program that
tidies up only when it is interrupted is ended so: ``... --interrupt PROGRAM ARGUMENT...``.

A process that proves a backup or carries out a check may be killed at any moment, and what it started must not outlive
it, on whatever worker it ran. The other end of this script's input is held by the asker alone: when it closes, the
asker is gone or is done, and the program ends with all that it started, also what has left its process group. Stands
alone and imports nothing of Airlock, so that it starts in no time.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

END_SECONDS, TIDY_SECONDS = 5.0, 30.0
_LATE = 124  # as of timeout(1)
_DIE_WITH_PARENT, _ADOPT_ORPHANS = 1, 36  # PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER of prctl(2)


def main(command: list[str]) -> int:
    """Run *command*, without input, until it ends, or the lifeline is let go or the time is over; return its exit
    code, or 124 where it had to be ended for its time."""
    limit, first = None, signal.SIGTERM
    if command[0] == "--interrupt":
        first, command = signal.SIGINT, command[1:]
    if command[0] == "--seconds":
        limit, command = time.monotonic() + float(command[1]), command[2:]
        _die_with_parent()
    _prctl(_ADOPT_ORPHANS, 1)
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            preexec_fn=_die_with_parent,  # noqa: PLW1509 - this script has one thread
        )
    except OSError as error:
        sys.stderr.write(f"cannot start {command[0]}: {error.strerror}\n")
        return 127
    while process.poll() is None and not _over(limit):
        pass
    late = limit is not None and process.poll() is None
    _end(process, first)
    if late:
        return _LATE
    return process.returncode if process.returncode >= 0 else 128 - process.returncode


def _over(limit: float | None) -> bool:
    """Wait a moment; return whether the lifeline is let go, or the time is over where that is the *limit*."""
    if limit is None:
        return bool(select.select([0], [], [], 0.1)[0])
    time.sleep(0.05)
    return time.monotonic() > limit


def _end(process: subprocess.Popen[bytes], first: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, first)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(END_SECONDS if first == signal.SIGTERM else TIDY_SECONDS)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    while left := _descendants():
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        time.sleep(0.02)


def _descendants() -> set[int]:
    """Return every process below this one, which has adopted those whose parents are gone."""
    parents: dict[int, int] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            parents[int(stat.parent.name)] = int(stat.read_text().rpartition(")")[2].split()[1])
    found = {os.getpid()}
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return found - {os.getpid()}


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(option, value)


def _die_with_parent() -> None:
    _prctl(_DIE_WITH_PARENT, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
