"""What a manifest of a folder says, line by line: read, put beside another one, and compared in words.

Both sides are in the order of one walk, so that memory is constant however many files there are. Knows no file system.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from airlock.backup.archive import ROOT
from airlock.backup.drivers.storage.tree import SORTS, WORDS, line_of
from airlock.errors import BackupDamaged

Facts = list[Any]
"""What ``WORDS`` name, of one entry; a recorded one may say more behind it."""
_SHOWN = 5
_NAME, _SORT, _TIME = WORDS.index("name"), WORDS.index("sort"), WORDS.index("time")


def place_of(facts: Facts) -> list[bytes]:
    """Return where an entry comes in a walk."""
    name = str(facts[_NAME])
    return [] if name == ROOT else os.fsencode(name).split(b"/")


def facts_of(chunks: Iterable[bytes], label: str) -> Iterator[Facts]:
    """Yield what each line of a manifest says.

    :raises BackupDamaged: it is no manifest
    """
    for line in _lines(chunks):
        try:
            facts = json.loads(line)
            place_of(facts)
        except (ValueError, LookupError, TypeError, RecursionError) as error:
            raise BackupDamaged(
                f"{label}: the list of what was taken cannot be read ({type(error).__name__}); "
                "next: take the backup again"
            ) from error
        yield facts


def _lines(chunks: Iterable[bytes]) -> Iterator[bytes]:
    rest = b""
    for chunk in chunks:
        *whole, rest = (rest + chunk).split(b"\n")
        yield from whole
    if rest:
        yield rest


def beside(left: Iterable[Facts], right: Iterable[Facts]) -> Iterator[tuple[Facts | None, Facts | None]]:
    """Yield every entry of both sides, with what each says of it, or ``None`` where it is not there."""
    lefts, rights = iter(left), iter(right)
    one, other = next(lefts, None), next(rights, None)
    while one is not None or other is not None:
        if other is None or (one is not None and place_of(one) < place_of(other)):
            yield one, None
            one = next(lefts, None)
        elif one is None or place_of(other) < place_of(one):
            yield None, other
            other = next(rights, None)
        else:
            yield one, other
            one, other = next(lefts, None), next(rights, None)


@dataclass
class Comparison:
    """What was found beside what was recorded: how many of each sort, a digest of each side, the first differences.

    A recorded time of ``None`` is one that nobody knows, as of a folder in which something was made meanwhile.
    """

    expected: dict[str, int] = field(default_factory=lambda: dict.fromkeys(SORTS, 0))
    found: dict[str, int] = field(default_factory=lambda: dict.fromkeys(SORTS, 0))
    differences: list[str] = field(default_factory=list)
    recorded: Any = field(default_factory=hashlib.sha256)
    seen: Any = field(default_factory=hashlib.sha256)

    def compare(self, recorded: Iterable[Facts], found: Iterable[Facts]) -> None:
        """Look at all of both."""
        for one, other in beside(recorded, found):
            self.look(one, other)

    def look(self, recorded: Facts | None, found: Facts | None) -> None:
        """Look at one entry of both."""
        recorded = None if recorded is None else recorded[: len(WORDS)]
        if recorded is not None and found is not None and recorded[_TIME] is None:
            found = [*found[:_TIME], None, *found[_TIME + 1 :]]
        for facts, counts, digest in ((recorded, self.expected, self.recorded), (found, self.found, self.seen)):
            if facts is not None:
                counts[facts[_SORT]] = counts.get(facts[_SORT], 0) + 1
                digest.update(line_of(facts))
        if recorded != found and len(self.differences) < _SHOWN:
            self.differences.append(_difference(recorded, found))

    @property
    def told(self) -> str:
        """What was found, as the digest of it or, where it differs, in words."""
        return "; ".join(self.differences) or str(self.seen.hexdigest())


def _difference(expected: Facts | None, found: Facts | None) -> str:
    """Return the difference of two entries in words; one may be missing."""
    if expected is None or found is None:
        name = (expected or found or [""])[_NAME]
        return f"{name!r} is {'missing' if found is None else 'not in the backup'}"
    which = [word for word, a, b in zip(WORDS, expected, found, strict=True) if a != b]
    return f"{expected[_NAME]!r} differs in {', '.join(which)}"
