"""Lets one process at a time into a place. Knows no purpose of it."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
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
    path, limit = here / f".{name}.lock", time.monotonic() + patience
    with clear_faults("locked", folder):
        here.mkdir(parents=True, exist_ok=True)
        while (descriptor := _locked(path, shared=shared)) is None:
            if time.monotonic() > limit:
                raise TemporaryError(
                    f"another process has held {path} for {patience:.0f} s: look for a task that hangs"
                )
            time.sleep(0.05)
    try:
        yield
    finally:
        os.close(descriptor)


def _locked(path: Path, *, shared: bool) -> int | None:
    """Return a descriptor that holds the lock; ``None`` while another process does, or if *path* is another file
    now: who holds the lock of a file that was removed keeps nobody out."""
    import fcntl

    descriptor = _opened(path)
    with ExitStack() as unless_held, suppress(BlockingIOError, FileNotFoundError):
        unless_held.callback(os.close, descriptor)
        fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(descriptor), path.lstat()):
            unless_held.pop_all()
            return descriptor
    return None


def _opened(path: Path) -> int:
    """Open the file of the lock. One that is there needs no right to write: a place that may only be read is locked."""
    always = os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | always, 0o644)
    except OSError as error:
        if error.errno not in (errno.EROFS, errno.EACCES):
            raise
        return os.open(path, os.O_RDONLY | always)
