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


def test_who_waited_for_a_lock_whose_file_was_removed_holds_the_new_one(tmp_path: Path) -> None:
    place, inside, leave = UPath(tmp_path), threading.Event(), threading.Event()

    def wait() -> None:
        with lock.locked(place, patience=10):
            inside.set()
            leave.wait(10)

    with lock.locked(place):
        waiting = threading.Thread(target=wait)
        waiting.start()
        while _openings(tmp_path / ".seal.lock") < 2:
            assert waiting.is_alive()
        (tmp_path / ".seal.lock").unlink()
    assert inside.wait(10)
    try:
        with pytest.raises(TemporaryError, match="has held"), lock.locked(place, patience=0):
            pass
    finally:
        leave.set()
        waiting.join()


def _openings(path: Path) -> int:
    """Return how often this process has *path* open."""
    links = []
    for link in Path("/proc/self/fd").iterdir():
        try:
            links.append(link.readlink())
        except FileNotFoundError:
            continue
    return links.count(path)


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
