"""Rules that turn a measured value into a finding: clocks, versions, room on a disk. Measures nothing."""

from __future__ import annotations

import re
from datetime import datetime, timedelta

from airlock.doctor.finding import Finding, Gravity, Subject

_NUMBER = re.compile(r"\d+(?:\.\d+)*")
_RESOLUTION = timedelta(seconds=1)
"""HTTP tells whole seconds."""
CLOCK_WARNING, CLOCK_FAULT = timedelta(seconds=5), timedelta(seconds=60)
_ROOM_FACTOR = 1.5


def version_in(text: str) -> tuple[int, ...]:
    """Return the first version in what a program says of itself, without what vendors add behind its numbers:
    ``git version 2.39.2 (Apple Git-143)``, ``v1.19.6-eks-49a6c0``. Empty if there is none."""
    found = _NUMBER.search(text)
    return tuple(int(part) for part in found[0].split(".")) if found else ()


def at_least(found: tuple[int, ...], least: str) -> bool:
    """Return whether the version *found* is *least* or later; ``2`` is ``2.0``."""
    wanted = version_in(least)
    length = max(len(found), len(wanted))
    return found + (0,) * (length - len(found)) >= wanted + (0,) * (length - len(wanted))


def clock(subject: Subject, server: datetime, before: datetime, after: datetime) -> Finding:
    """Judge the clock of a server that said *server* at a moment between *before* and *after* of this machine's: the
    time on the way, and whole seconds, are nobody's fault."""
    ahead = server - after
    behind = before - (server + _RESOLUTION)
    off = max(ahead, behind, timedelta(0))
    if off < CLOCK_WARNING:
        return subject.fine("its clock agrees with this machine's")
    side = "ahead of" if ahead > behind else "behind"
    gravity = Gravity.FAULT if off >= CLOCK_FAULT else Gravity.WARNING
    return subject.found(
        gravity, f"its clock is {off.total_seconds():.0f} s {side} this machine's",
        why="windows, permits and signed requests end by the clock, and ages of backups are counted by it",
        mend="see which of the two is wrong (timedatectl), and let it follow a time server",
    )  # fmt: skip


def room(subject: Subject, free: int, wanted: int | None) -> Finding:
    """Judge *free* bytes of a disk by the size of what was last kept there, in bytes; ``None``: nothing was yet."""
    if free <= 0:
        return subject.fault("the disk is full", "no backup can be written", "free some space")
    if not wanted:
        return subject.fine(f"{in_words(free)} free; nothing tells yet how much a backup takes")
    if free < wanted:
        return subject.fault(f"{in_words(free)} free, and the last backup took {in_words(wanted)}",
                             "the next one would fill the disk, and a release stops there",
                             "free some space, or let older recovery points expire (retention)")  # fmt: skip
    if free < wanted * _ROOM_FACTOR:
        return subject.found(Gravity.WARNING, f"{in_words(free)} free, and the last backup took {in_words(wanted)}",
                             "little more would fill the disk",
                             "free some space, or let older recovery points expire (retention)")  # fmt: skip
    return subject.fine(f"{in_words(free)} free; the last backup took {in_words(wanted)}")


def in_words(size: float) -> str:
    """Return a size as people read it."""
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.0f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"
