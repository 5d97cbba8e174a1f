"""Local times as moments, across daylight-saving changes. Pure; knows no calendar.

A time that the clock skips is the moment of the skip, and a time that it passes twice is the first pass.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

FIRST_DAY = date(1, 1, 3)
LAST_DAY = date(9999, 12, 28)


def moment_of(wall: datetime, zone: ZoneInfo) -> datetime:
    """Return, in UTC, the first moment at which the local clock shows *wall* (without a zone), or later."""
    first = wall.replace(tzinfo=zone).astimezone(UTC)
    if first.astimezone(zone).replace(tzinfo=None) == wall:
        return first
    moment = wall.replace(tzinfo=zone, fold=1).astimezone(UTC)
    while moment.astimezone(zone).replace(tzinfo=None) < wall:
        moment += timedelta(minutes=1)
    return moment


def clock_on(day: date, clock: str, zone: ZoneInfo) -> datetime:
    """Return the same for the time ``HH:MM`` of *day*; 24:00 is the end of the day."""
    if clock == "24:00":
        day, clock = day + timedelta(days=1), "00:00"
    return moment_of(datetime.combine(day, time.fromisoformat(clock)), zone)


def day_bounds(day: date, zone: ZoneInfo) -> tuple[datetime, datetime]:
    """Return both ends of a local day."""
    return clock_on(day, "00:00", zone), clock_on(day, "24:00", zone)


def days_between(since: datetime, until: datetime, zone: ZoneInfo, before: int = 0) -> tuple[date, ...]:
    """Return the local days from *since* to *until*, both included, and some days *before* them."""
    first, last = since.astimezone(zone).date(), until.astimezone(zone).date()
    days = (date.fromordinal(number) for number in range(max(1, first.toordinal() - before), last.toordinal() + 1))
    return tuple(day for day in days if FIRST_DAY < day < LAST_DAY)


def shown(moment: datetime, zone: ZoneInfo) -> str:
    """Return a moment as people read it in *zone*."""
    return f"{moment.astimezone(zone):%a %d %b %Y %H:%M}"
