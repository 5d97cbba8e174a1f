"""Which times of a schedule passed without a run. Pure: it compares what was due with what is on record.

Level-triggered, so that it finds what was missed while the scheduler itself was down, when nothing could fail.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from airlock.service.model import Schedule

_MOST = 1000


def due_between(schedule: Schedule, after: datetime, until: datetime) -> tuple[datetime, ...]:
    """Return the newest 1000 moments of *schedule* later than *after* and not later than *until*, in UTC, in order."""
    from croniter import croniter

    ticks = croniter(schedule.cron, until.astimezone(ZoneInfo(schedule.timezone)) + timedelta(microseconds=1))
    found: list[datetime] = []
    while len(found) < _MOST and (tick := ticks.get_prev(datetime).astimezone(UTC)) > after:
        found.append(tick)
    return tuple(sorted(found))


def unmet(
    due: Sequence[datetime], begun: Sequence[datetime], now: datetime, late: timedelta
) -> tuple[datetime, ...]:
    """Return the moments of *due* (in order) that have no run, and whose time to begin *late* is over.

    A run stands for the last moment before it began: two runs after three moments leave one missed.

    :param begun: for when the runs on record were due, or when they began; any order
    """
    found = []
    for position, tick in enumerate(due):
        following = due[position + 1] if position + 1 < len(due) else None
        if any(tick <= one <= now and (following is None or one < following) for one in begun):
            continue
        if now - tick > late:
            found.append(tick)
    return tuple(found)
