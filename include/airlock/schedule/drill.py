"""Which recovery points a restore drill restores: the newest, and some older ones by chance. Pure.

Chance is a digest of the drill's seed and the point's id, so that nobody can choose it, and anybody can repeat it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from pydantic import AwareDatetime

from airlock.models import Frozen


class DrillPoint(Frozen):
    """One recovery point that a drill may restore."""

    id: str
    resource: str
    taken_at: AwareDatetime


def chosen(points: Sequence[DrillPoint], newest: int, random: int, seed: str) -> tuple[str, ...]:
    """Return the ids of the *newest* newest points, then of *random* older ones, of each resource."""
    found: list[str] = []
    for resource in sorted({one.resource for one in points}):
        mine = sorted((one for one in points if one.resource == resource), key=lambda one: (one.taken_at, one.id))
        mine.reverse()
        older = sorted((one.id for one in mine[newest:]), key=lambda point: _lot(seed, point))
        found += [*(one.id for one in mine[:newest]), *older[:random]]
    return tuple(found)


def _lot(seed: str, point: str) -> str:
    return hashlib.sha256(f"{seed}\0{point}".encode()).hexdigest()
