"""Rules between the values of a calendar. Pure; must not read a file or know YAML.

Each rule yields ``(place, text)``: where in the file, and what is wrong with what to do about it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from typing import Protocol
from zoneinfo import ZoneInfo

from airlock.service.calendar import Calendar

Place = tuple[str | int, ...]
Fault = tuple[Place, str]


class Span(Protocol):
    """What has a beginning and an end that may lack an offset."""

    @property
    def start(self) -> datetime: ...
    @property
    def end(self) -> datetime: ...


def calendar_faults(calendar: Calendar) -> Iterator[Fault]:
    """Yield every fault of *calendar* in itself; places begin below it."""
    if not calendar.windows and not calendar.files:
        yield ("windows",), "is empty, so no release could ever begin; add a window, or a file that has some"
    for name, windows in (("windows", calendar.windows), ("maintenance", calendar.maintenance.weekly)):
        for index, window in enumerate(windows):
            if window.start in (window.end, "24:00"):
                place: Place = (name, index) if name == "windows" else (name, "weekly", index)
                yield place, "has no length; for a whole day write from 00:00 to 24:00"
    zone = ZoneInfo(calendar.timezone)
    for place, freezes in ((("freezes",), calendar.freezes), (("maintenance", "once"), calendar.maintenance.once)):
        for index, freeze in enumerate(freezes):
            start, end = freeze_bounds(freeze, zone)
            if end <= start:
                yield (*place, index), "ends before it begins; swap from and to"
    names = Counter(one.name for one in calendar.files)
    for index, one in enumerate(calendar.files):
        if names[one.name] > 1:
            yield ("files", index, "name"), f"{one.name!r} is used {names[one.name]} times; rename one"


def freeze_bounds(freeze: Span, zone: ZoneInfo) -> tuple[datetime, datetime]:
    """Return both ends of *freeze* as aware times; those without an offset are local times in *zone*."""
    start, end = (at if at.tzinfo else at.replace(tzinfo=zone) for at in (freeze.start, freeze.end))
    return start, end
