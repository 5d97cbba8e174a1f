"""Which part of a large folder a restore test restores, where the service file asks for a share of it.

Parts are what lies at the top of the folder, or one folder below it. Which of them are chosen depends on the release,
so that others have their turn next time, and on nothing that is not on record. Knows neither restic nor the store.
"""

from __future__ import annotations

import hashlib
import heapq
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from airlock.backup.archive import ROOT
from airlock.backup.drivers.storage.restic_record import settled
from airlock.backup.drivers.storage.tree import WORDS
from airlock.backup.drivers.storage.tree_lines import Facts

_MOST = 200
"""restic looks at every file for every part."""
_DEPTH = 2
_NAME, _SORT, _SIZE = WORDS.index("name"), WORDS.index("sort"), WORDS.index("size")


@dataclass(frozen=True)
class Parts:
    """The parts that were chosen, by name, and which percentage of all bytes is in them."""

    names: tuple[str, ...]
    percent: float

    def hold(self, name: str) -> bool:
        """Return whether *name* is one of the parts, or lies in one."""
        steps = name.split("/")
        return any("/".join(steps[:depth]) in self.names for depth in range(1, _DEPTH + 1))


def chosen(recorded: Iterable[Facts], percent: int, token: str) -> Parts | None:
    """Return parts of what was *recorded* that hold at least so much of it, as far as so few can; ``None``: all."""
    if percent >= 100:
        return None
    lowest: list[tuple[int, str, int]] = []  # a heap whose first is the one that goes next
    total = 0
    for name, size in _parts(recorded):
        total += size
        drawn = int.from_bytes(hashlib.sha256(f"{token}\0".encode() + os.fsencode(name)).digest()[:8], "big")
        (heapq.heappushpop if len(lowest) == _MOST else heapq.heappush)(lowest, (-drawn, name, size))
    if not total:
        return None
    names, held = list[str](), 0
    for _, name, size in sorted(lowest, reverse=True):
        if held * 100 >= percent * total:
            break
        names.append(name)
        held += size
    return Parts(tuple(sorted(names)), round(100 * held / total, 3))


def _parts(recorded: Iterable[Facts]) -> Iterator[tuple[str, int]]:
    """Yield every part with the bytes in it; what is in one stands together."""
    part, size = "", 0
    for facts in settled(recorded):
        steps = str(facts[_NAME]).split("/")
        if facts[_NAME] == ROOT or (len(steps) < _DEPTH and facts[_SORT] == "folder"):
            continue
        name = "/".join(steps[:_DEPTH])
        if name != part:
            if part:
                yield part, size
            part, size = name, 0
        size += int(facts[_SIZE])
    if part:
        yield part, size
