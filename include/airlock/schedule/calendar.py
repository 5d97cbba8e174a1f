"""When a release may begin: windows by weekday and local time, and freezes. Pure; must not know releases or wait.

Local times follow the clock of the calendar's zone across daylight-saving changes: a bound that the clock skips is the
moment of the skip, and a bound that it passes twice is the first pass.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from airlock.service_model import Calendar, Window
from airlock.service_rules import freeze_bounds
from airlock.service_values import DAYS

_HORIZON_DAYS = 800
Span = tuple[datetime, datetime]


@dataclass(frozen=True)
class Decision:
    """Whether a release may begin now. ``code`` is open, frozen, outside_window or never. ``next_open`` is in UTC, the
    moment asked for when it is open, and ``None`` when the calendar does not open within 800 days."""

    open: bool
    code: str
    sentence: str
    next_open: datetime | None


def decide(calendar: Calendar, now: datetime) -> Decision:
    """Return whether *now* (aware) is inside a window and outside every freeze, and when the calendar opens next."""
    zone = ZoneInfo(calendar.timezone)
    now = now.astimezone(UTC)
    local = f"{_shown(now, zone)} ({calendar.timezone})"
    start, _ = next(_open_spans(calendar, now), (None, None))
    if start is not None and start <= now:
        return Decision(True, "open", f"{local} is inside a window and outside every freeze", now)
    then = f"next opening {_shown(start, zone)}" if start else f"it does not open within {_HORIZON_DAYS} days"
    for freeze in calendar.freezes:
        begin, end = freeze_bounds(freeze, zone)
        if begin <= now < end:
            return Decision(False, "frozen", f"{local} is in the freeze {freeze.name!r}, which ends "
                            f"{_shown(end, zone)}; {then}", start)
    code = "outside_window" if start else "never"
    return Decision(False, code, f"{local} is outside every window; {then}", start)


def next_slots(calendar: Calendar, now: datetime, count: int) -> tuple[Span, ...]:
    """Return up to *count* times, as pairs of UTC moments, in which a release may begin from *now* on.

    The first begins at *now* when the calendar is open; a slot is never longer than its window.
    """
    now = now.astimezone(UTC)
    slots: list[Span] = []
    for start, end in _open_spans(calendar, now):
        if len(slots) >= count:
            break
        slots.append((max(start, now), end))
    return tuple(slots)


def _open_spans(calendar: Calendar, now: datetime) -> Iterator[Span]:
    """Yield what is open and ends after *now*, in order, without overlaps; freezes are cut out."""
    zone = ZoneInfo(calendar.timezone)
    freezes = sorted(freeze_bounds(freeze, zone) for freeze in calendar.freezes)
    closed = [(begin.astimezone(UTC), end.astimezone(UTC)) for begin, end in freezes]
    today = now.astimezone(zone).date()
    reached = datetime.min.replace(tzinfo=UTC)
    for offset in range(-2, _HORIZON_DAYS):
        day = _day(today, offset)
        if day is None:
            return
        spans = sorted(_span(window, day, zone) for window in calendar.windows if DAYS[day.weekday()] in window.days)
        for begin, end in spans:
            for start, stop in _without(max(begin, reached), end, closed):
                if stop > now:
                    yield start, stop
            reached = max(reached, end)


def _day(today: date, offset: int) -> date | None:
    try:
        day = today + timedelta(days=offset)
        return day if date(1, 1, 3) < day < date(9999, 12, 28) else None
    except OverflowError:
        return None


def _span(window: Window, day: date, zone: ZoneInfo) -> Span:
    overnight = window.end != "24:00" and window.end < window.start
    return _moment(day, window.start, zone), _moment(day + timedelta(days=overnight), window.end, zone)


def _moment(day: date, clock: str, zone: ZoneInfo) -> datetime:
    """Return the first moment at which the local clock shows *clock* on *day*, or later."""
    if clock == "24:00":
        day, clock = day + timedelta(days=1), "00:00"
    wall = datetime.combine(day, time.fromisoformat(clock))
    first = wall.replace(tzinfo=zone).astimezone(UTC)
    if first.astimezone(zone).replace(tzinfo=None) == wall:
        return first
    moment = wall.replace(tzinfo=zone, fold=1).astimezone(UTC)
    while moment.astimezone(zone).replace(tzinfo=None) < wall:
        moment += timedelta(minutes=1)
    return moment


def _without(begin: datetime, end: datetime, closed: list[Span]) -> Iterator[Span]:
    for start, stop in closed:
        if stop <= begin or start >= end:
            continue
        if start > begin:
            yield begin, start
        begin = max(begin, stop)
    if begin < end:
        yield begin, end


def _shown(moment: datetime, zone: ZoneInfo) -> str:
    return f"{moment.astimezone(zone):%a %d %b %Y %H:%M}"
