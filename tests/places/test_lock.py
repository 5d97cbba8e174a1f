"""The lock of a place, when somebody removes or swaps its file."""

from __future__ import annotations

import errno
import fcntl
import threading
from pathlib import Path

import pytest
from upath import UPath

from airlock.errors import PermanentError, TemporaryError
from airlock.places import lock


def test_who_waited_for_a_lock_whose_file_was_removed_holds_the_new_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, kept_out, inside, leave = UPath(tmp_path), *(threading.Event() for _ in range(3))
    flock = fcntl.flock

    def noticed(descriptor: int, operation: int) -> None:
        try:
            flock(descriptor, operation)
        except BlockingIOError:
            kept_out.set()
            raise

    def wait() -> None:
        with lock.locked(place, patience=60):
            inside.set()
            leave.wait(60)

    monkeypatch.setattr(fcntl, "flock", noticed)
    waiting = threading.Thread(target=wait)
    with lock.locked(place):
        waiting.start()
        assert kept_out.wait(60)
        (tmp_path / ".seal.lock").unlink()
    try:
        assert inside.wait(60)
        with pytest.raises(TemporaryError, match="has held"), lock.locked(place, patience=0):
            pass
    finally:
        leave.set()
        waiting.join()


def test_a_link_in_place_of_the_lock_leads_nowhere(tmp_path: Path) -> None:
    (tmp_path / "place").mkdir()
    (tmp_path / "place/.seal.lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(PermanentError, match="cannot be locked"), lock.locked(UPath(tmp_path / "place")):
        pass
    assert not (tmp_path / "elsewhere").exists()


def test_a_disk_that_knows_no_locks_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(TemporaryError, match="cannot be locked: No locks available"), lock.locked(UPath(tmp_path)):
        pass
