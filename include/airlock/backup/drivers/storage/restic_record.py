"""The manifest of a folder that ``restic`` backs up: made by our own look at the origin, beside restic's.

A file that is as it was when an earlier backup recorded it (inode, size, times of the system itself) is not read again,
as restic does not; so the second backup of a large folder costs a walk. Knows neither restic nor the store.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import IO, Any

from airlock.backup.drivers.storage.tree import WORDS, Entry, Walk, digest_of, line_of
from airlock.backup.drivers.storage.tree_lines import Comparison, Facts, beside, place_of
from airlock.errors import TemporaryError

_SURE_NANOSECONDS = 2_000_000_000
"""A file that changed more recently may change again without a new time: clocks of file systems are coarse."""
_NAME, _SORT, _DIGEST, _TIME = (WORDS.index(one) for one in ("name", "sort", "hash or target", "time"))
_STATE = len(WORDS)
_UNSETTLED = "unsettled"


class Changed(TemporaryError):
    """A file is not what it was when the backup began."""


@dataclass
class Record:
    """A manifest under way. *latest* is when the system last saw a change of anything in it; *size* is what restic
    counts: every name of a file; *odd_link* is the name of a link that leads to no text."""

    entries: int = 0
    size: int = 0
    latest: int = 0
    read: int = 0
    odd_link: str = ""

    def write(self, walk: Walk, known: Iterable[Facts], lines: IO[bytes]) -> None:
        """Write a line for each entry of *walk*; *known* is an earlier manifest.

        :raises TemporaryError: a file changed while it was read
        """
        earlier = iter(known)
        before = next(earlier, None)
        for entry in walk:
            here = place_of([entry.name])
            while before is not None and place_of(before) < here:
                before = next(earlier, None)
            facts = entry.facts("")
            if entry.sort == "file":
                facts[_DIGEST] = self._digest(walk, entry, facts, before)
            lines.write(line_of([*facts, _state(entry)]))
            self.entries += 1
            if entry.sort == "link" and not _is_text(entry.target):
                self.odd_link = entry.name
            self.size += entry.seen.st_size if entry.sort in ("file", "hard link") else 0
            self.latest = max(self.latest, entry.seen.st_ctime_ns)

    def _digest(self, walk: Walk, entry: Entry, facts: Facts, before: Facts | None) -> str:
        state = _state(entry)
        same = before is not None and len(before) > _STATE and before[_STATE] == state and state[2]
        if same and before is not None and before[: _DIGEST] == facts[: _DIGEST] and before[_TIME] == facts[_TIME]:
            return str(before[_DIGEST])
        self.read += entry.size
        return digest_of(entry, walk.label)


def _is_text(target: str) -> bool:
    try:
        target.encode()
    except UnicodeEncodeError:
        return False
    return True


def _state(entry: Entry) -> list[Any]:
    changed = entry.seen.st_ctime_ns
    return [entry.seen.st_ino, changed, time.time_ns() - changed > _SURE_NANOSECONDS]


@dataclass
class Settled:
    """A manifest in which only stands what was the same before and after restic read it: *unsettled* entries came or
    went meanwhile, and of folders where they did nobody knows the time."""

    label: str
    unsettled: int = 0
    comparison: Comparison = field(default_factory=Comparison)

    def lines(self, recorded: Iterable[Facts], walk: Walk | None) -> Iterator[bytes]:
        """Yield every line; *walk* is the look afterwards, without which nothing can have changed.

        :raises Changed: something did that had been there
        """
        now = recorded if walk is None else ([*entry.facts(""), _state(entry)] for entry in walk)
        pairs = ((one, one) for one in recorded) if walk is None else beside(recorded, now)
        for before, after in pairs:
            if before is None or after is None:
                self.unsettled += 1
                yield line_of([(before or after or [""])[_NAME], _UNSETTLED])
                continue
            kept = self._kept(before, after)
            self.comparison.look(kept, None)
            yield line_of(kept)

    def _kept(self, before: Facts, after: Facts) -> Facts:
        if before[_STATE][:2] == after[_STATE][:2]:
            return before
        same = [before[n] == after[n] for n in range(_STATE) if n != _TIME]
        if before[_SORT] == "folder" and all(same) and before[_STATE][0] == after[_STATE][0]:
            return [*before[:_TIME], None, *before[_TIME + 1 :]]
        raise Changed(f"{self.label}: {before[_NAME]!r} changed while it was backed up; take the backup again")


def settled(recorded: Iterable[Facts]) -> Iterator[Facts]:
    """Yield what of a manifest can be compared."""
    return (one for one in recorded if not unsettled(one))


def unsettled(facts: Facts) -> bool:
    """Return whether an entry came or went while the backup was taken."""
    return bool(facts[_SORT] == _UNSETTLED)
