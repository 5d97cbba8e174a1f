"""What a calendar says about a stretch of time, spelled out: windows and closures with a beginning and an end. Pure.

Knows the settings of a calendar; must not know files, signals, or what is decided from the entries.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import Literal
from zoneinfo import ZoneInfo

from pydantic import AwareDatetime

from airlock.models import Frozen
from airlock.schedule.local_time import clock_on, day_bounds, days_between
from airlock.service.calendar import Calendar, Window
from airlock.service.calendar_rules import freeze_bounds
from airlock.service.values import DAYS

EntryCode = Literal["window", "frozen", "blackout", "holiday", "maintenance"]


class Entry(Frozen):
    """A time that a calendar opens (``window``) or closes (every other code); ``end`` is exclusive."""

    code: EntryCode
    name: str = ""
    start: AwareDatetime
    end: AwareDatetime


Spelled = Callable[[datetime, datetime], Iterable[Entry]]
"""Returns the entries that overlap a stretch of time."""


def own_entries(calendar: Calendar, since: datetime, until: datetime) -> Iterator[Entry]:
    """Yield what the settings of *calendar* themselves say about the time from *since* to *until*."""
    zone = ZoneInfo(calendar.timezone)
    for freeze in calendar.freezes:
        yield from _within("frozen", freeze.name, freeze_bounds(freeze, zone), since, until)
    for freeze in calendar.maintenance.once:
        yield from _within("maintenance", freeze.name, freeze_bounds(freeze, zone), since, until)
    for blackout in calendar.blackout_dates:
        if abs(blackout.date.toordinal() - since.toordinal()) <= 2 + (until - since).days:
            yield from _within("blackout", blackout.name, day_bounds(blackout.date, zone), since, until)
    for day in days_between(since, until, zone, before=2):
        name = DAYS[day.weekday()]
        for window in calendar.windows:
            if name in window.days:
                yield from _within("window", "", _bounds(window, day.toordinal(), zone), since, until)
        for upkeep in calendar.maintenance.weekly:
            if name in upkeep.days:
                yield from _within("maintenance", upkeep.name, _bounds(upkeep, day.toordinal(), zone), since, until)


def holiday_entries(calendar: Calendar, since: datetime, until: datetime) -> Iterator[Entry]:
    """Yield the public holidays that *calendar* names."""
    if not calendar.holidays:
        return
    zone = ZoneInfo(calendar.timezone)
    days = set(days_between(since, until, zone))
    for setting in calendar.holidays:
        for year in sorted({day.year for day in days}):
            for day, name in _holidays_of(setting.country, setting.subdivision, year):
                if day in days:
                    label = f"{name} ({'-'.join(filter(None, (setting.country, setting.subdivision)))})"
                    yield from _within("holiday", label, day_bounds(day, zone), since, until)


def holidays_version() -> str:
    """Return the version of the library that knows the public holidays."""
    from importlib.metadata import version

    return version("holidays")


@lru_cache(maxsize=512)
def _holidays_of(country: str, subdivision: str | None, year: int) -> tuple[tuple[date, str], ...]:
    import holidays

    return tuple(sorted(holidays.country_holidays(country, subdiv=subdivision, years=year).items()))


@lru_cache(maxsize=65_536)
def _bounds(window: Window, ordinal: int, zone: ZoneInfo) -> tuple[datetime, datetime]:
    day = datetime.fromordinal(ordinal).date()
    overnight = window.end != "24:00" and window.end < window.start
    return clock_on(day, window.start, zone), clock_on(day + timedelta(days=overnight), window.end, zone)


def _within(
    code: EntryCode, name: str, bounds: tuple[datetime, datetime], since: datetime, until: datetime
) -> Iterator[Entry]:
    start, end = bounds
    if start < until and end > since and start < end:
        yield Entry(code=code, name=name, start=start.astimezone(UTC), end=end.astimezone(UTC))
