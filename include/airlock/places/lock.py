"""Lets one process at a time into a place. Knows no purpose of it."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from upath import UPath

from airlock.errors import TemporaryError
from airlock.places.paths import clear_faults, local


@contextmanager
def locked(
    folder: UPath, name: str = "seal", patience: float = 600.0, *, shared: bool = False
) -> Iterator[None]:
    """Let one process at a time into what *name* stands for in *folder*, if it is local; an object store has no locks.

    The lock ends with the process that holds it, however that dies.

    :param patience: seconds to wait for another process
    :param shared: let any number of processes in that share it, but none that wants it alone
    :raises TemporaryError: another process did not leave in that time, or the folder cannot be reached
    """
    here = local(folder)
    if here is None:
        yield
        return
    path = here / f".{name}.lock"
    with clear_faults("locked", folder):
        here.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        _await_lock(descriptor, path, patience, shared=shared)
        yield
    finally:
        os.close(descriptor)


def _await_lock(descriptor: int, path: Path, patience: float, *, shared: bool) -> None:
    import fcntl

    limit = time.monotonic() + patience
    wanted = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    while True:
        try:
            fcntl.flock(descriptor, wanted | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > limit:
                raise TemporaryError(
                    f"another process has held {path} for {patience:.0f} s: look for a task that hangs"
                ) from None
            time.sleep(0.05)
        else:
            return
