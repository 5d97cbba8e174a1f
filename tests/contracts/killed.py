"""Work that is killed half-way, as by the kernel: in a process of its own, with SIGKILL."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from airlock.backup.store import BackupStore
from airlock.models import RecoveryPoint, StoredObject


def killed(work: Callable[[], object], when: Callable[[], bool] | None = None) -> None:
    """Do *work* in a child process that dies of SIGKILL: by its own hand or, with *when*, as soon as that is true."""
    child = os.fork()
    if child == 0:
        try:
            work()
            while when is not None:
                time.sleep(1)
        finally:
            os._exit(1)  # never back into the test
    deadline = time.monotonic() + 120
    while when is not None and not when():
        assert os.waitpid(child, os.WNOHANG) == (0, 0), "it ended by itself"
        assert time.monotonic() < deadline, "it left nothing to see"
        time.sleep(0.005)
    if when is not None:
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL, status


class DyingStore(BackupStore):
    """A store whose process dies in the middle of a stream, or between the streams and the end of a backup."""

    def __init__(
        self, store: BackupStore, *, reading: bool = False, writing: bool = False, saving: bool = False
    ) -> None:
        self.__dict__ |= {**store.__dict__, "_reading": reading, "_writing": writing, "_saving": saving}

    def read(self, stored: StoredObject, **options: Any) -> Iterator[bytes]:
        chunks = super().read(stored, **options)
        return _half(chunks) if self._reading else chunks

    def write(self, point_id: str, name: str, chunks: Iterable[bytes], **options: Any) -> StoredObject:
        return super().write(point_id, name, _half(chunks) if self._writing else chunks, **options)

    def save_point(self, point: RecoveryPoint) -> RecoveryPoint:
        if self._saving:
            BackupStore.save_point(self.from_replica(), point)
            os.kill(os.getpid(), signal.SIGKILL)
        return super().save_point(point)


def _half(chunks: Iterable[bytes]) -> Iterator[bytes]:
    first = next(iter(chunks))
    yield first[: len(first) // 2]
    os.kill(os.getpid(), signal.SIGKILL)
