"""How long an event of an iCalendar file is: days by the calendar, and hours by the clock (RFC 5545, 3.3.6). Where the
clock changes, a day has 23 or 25 hours and 24 hours are 24 hours; the library knows one kind of length only.

Knows one event at a time. Must not know what an event means, but for whether it closes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from airlock.schedule.icalendar.lines import lines
from airlock.schedule.local_time import moment_of

_KEPT_AS = "X-AIRLOCK-LENGTH"
_DURATION = re.compile(r"\+?P(?:(\d+)W)?(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+)S)?)?")


def keep_lengths(raw: bytes, events: Sequence[Any]) -> None:
    """Keep in each of *events*, which a library made of *raw* and is to repeat, how long it is said to be."""
    if b"DURATION" in raw.upper():
        for event, text in zip(events, _durations(raw), strict=True):
            found = _DURATION.fullmatch(text.upper())
            if found is not None and "DURATION" in event and not event.errors and not _has_periods(event):
                weeks, days, hours, minutes, seconds = (int(part or 0) for part in found.groups())
                event[_KEPT_AS] = f"{weeks * 7 + days} {(hours * 60 + minutes) * 60 + seconds}"
    for event in (one for one in events if not one.errors):
        start, end = event.decoded("DTSTART", None), event.decoded("DTEND", None)
        if isinstance(start, datetime) and isinstance(end, datetime) and not _has_periods(event):
            recurs = "RRULE" in event or "RDATE" in event
            event[_KEPT_AS] = f"{start.isoformat()} {end.isoformat()} {'again' if recurs else 'once'}"


def ends(event: Any, start: datetime, end: datetime, zone: ZoneInfo, *, closes: bool) -> datetime:
    """Return when an occurrence ends, in UTC.

    An event that recurs with a DTEND is as long by the clock each time (3.8.5.3), though calendars often show the same
    hours of the day: the later of both counts where it closes, and the earlier where it opens.

    :param start: when it starts: with a time zone, or in *zone*
    :param end: when it ends by the calendar
    """
    begins, by_calendar = _moment(start, zone), _moment(end, zone)
    kept = str(event.get(_KEPT_AS, "")).split()
    if not kept:
        return by_calendar
    if len(kept) == 2:
        days, seconds = map(int, kept)
        return _moment(start + timedelta(days=days), zone) + timedelta(seconds=seconds)
    first, last, recurs = kept
    length = _moment(datetime.fromisoformat(last), zone) - _moment(datetime.fromisoformat(first), zone)
    if recurs == "once":
        return begins + length
    return (max if closes else min)(by_calendar, begins + length)


def _has_periods(event: Any) -> bool:
    """Return whether dates are added with a length of their own (which are read in UTC only)."""
    given = event.get("RDATE", [])
    return any(isinstance(value.dt, tuple) for one in (given if isinstance(given, list) else [given])
               for value in one.dts)


def _moment(value: datetime, zone: ZoneInfo) -> datetime:
    return moment_of(value, zone) if value.tzinfo is None else value.astimezone(UTC)


def _durations(raw: bytes) -> Iterator[str]:
    """Yield the text of DURATION of each event, in their order; empty for one without."""
    found = ""
    for inside, name, _, value in lines(raw):
        if name == "END" and value.upper() == "VEVENT":
            yield found
            found = ""
        elif name == "DURATION" and inside[-1:] == ("VEVENT",):
            found = value.strip()
