"""Times in which a calendar is open, and what closes it before them, as people read them. Pure; decides nothing."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from zoneinfo import ZoneInfo

from airlock.schedule.calendar import HORIZON_DAYS, OpenTime
from airlock.schedule.entries import Entry
from airlock.schedule.local_time import shown


def open_lines(time: OpenTime, timezone: str) -> Iterator[str]:
    """Yield the line of *time* and, after it, one for each reason why it does not begin earlier."""
    yield f"open {span(time, timezone)}"
    for entry in time.before:
        yield f"not earlier because of {reason(entry, timezone)}"


def span(time: OpenTime, timezone: str) -> str:
    """Return from when to when it is open, in local words."""
    if time.end is not None:
        return between(time.start, time.end, timezone)
    return f"from {shown(time.start, ZoneInfo(timezone))} ({timezone}) on, without an end within {HORIZON_DAYS} days"


def between(start: datetime, end: datetime, timezone: str) -> str:
    """Return a time in local words, with the zone and its offset."""
    zone = ZoneInfo(timezone)
    last = f"{end.astimezone(zone):%H:%M}" if _same_day(start, end, zone) else shown(end, zone)
    offset = f"{start.astimezone(zone):%z}"
    return f"{shown(start, zone)} to {last} ({timezone}, UTC{offset[:3]}:{offset[3:5]})"


def reason(entry: Entry, timezone: str) -> str:
    """Return one closure in words."""
    return f"{entry.code} {entry.name!r}, {between(entry.start, entry.end, timezone)}"


def _same_day(start: datetime, end: datetime, zone: ZoneInfo) -> bool:
    return start.astimezone(zone).date() == end.astimezone(zone).date()
