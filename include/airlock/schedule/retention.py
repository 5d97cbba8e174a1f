"""Which recovery points a policy keeps, and why each other one may go. Pure; must not know a store or a ledger.

Every rule keeps; what no rule keeps expires. Two rules cannot be set aside: what an open change may need stays, and so
does the last good one of each resource, however old.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from pydantic import AwareDatetime

from airlock.models import Frozen
from airlock.service.model import RetentionPolicy


class KeptPoint(Frozen):
    """One recovery point on record. ``proved``: its last restore test passed. ``open_change``: what it was taken for is
    not sealed yet."""

    id: str
    resource: str
    taken_at: AwareDatetime
    proved: bool = False
    open_change: bool = False


class Fate(Frozen):
    """What becomes of one recovery point, and why."""

    id: str
    resource: str
    keep: bool
    why: str


def fates(policy: RetentionPolicy, points: Sequence[KeptPoint], now: datetime) -> tuple[Fate, ...]:
    """Return the fate of each of *points*, by resource, newest first. The same points in any order give the same."""
    found: list[Fate] = []
    for resource in sorted({one.resource for one in points}):
        mine = sorted((one for one in points if one.resource == resource), key=lambda one: (one.taken_at, one.id))
        found += _fates(policy, mine[::-1], now)
    return tuple(found)


def _fates(policy: RetentionPolicy, newest_first: Sequence[KeptPoint], now: datetime) -> list[Fate]:
    reasons: dict[str, str] = {}

    def keep(points: Sequence[KeptPoint], why: str) -> None:
        for one in points:
            reasons.setdefault(one.id, why)

    good = [one for one in newest_first if one.proved]
    keep([one for one in newest_first if one.open_change], "the change that it was taken for is open")
    keep(good[:1], "it is the last good one: its restore was proved")
    if not good:
        keep(newest_first, "no recovery point of this resource is proved, so none is given up")
    limit = now - timedelta(days=policy.days)
    keep([one for one in newest_first if one.taken_at >= limit], f"it is not older than {policy.days:g} days")
    keep(good[: policy.newest], f"it is one of the {policy.newest} newest that are proved")
    keep(_one_each(good, policy.weekly, _week), f"it is the last proved one of one of {policy.weekly} weeks")
    keep(_one_each(good, policy.monthly, _month), f"it is the last proved one of one of {policy.monthly} months")
    return [Fate(id=one.id, resource=one.resource, keep=one.id in reasons,
                 why=reasons.get(one.id, "no rule of the policy keeps it")) for one in newest_first]


def _one_each(newest_first: Sequence[KeptPoint], count: int, period: Callable[[datetime], str]) -> list[KeptPoint]:
    """Return the newest point of each of the *count* newest periods that have one."""
    chosen: dict[str, KeptPoint] = {}
    for one in newest_first:
        chosen.setdefault(period(one.taken_at), one)
    return list(chosen.values())[:count]


def _week(moment: datetime) -> str:
    year, week, _ = moment.isocalendar()
    return f"{year}-{week}"


def _month(moment: datetime) -> str:
    return f"{moment.year}-{moment.month}"
