"""When a release may act: inside a window, and while nothing closes the calendar. Pure; must not know releases or wait.

What stands in the settings is spelled out here; what files, holidays and live signals say is given. Local times follow
the clock of the calendar's zone, see ``local_time``.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import NamedTuple
from zoneinfo import ZoneInfo

from airlock.schedule.entries import Entry, Spelled, own_entries
from airlock.schedule.local_time import shown
from airlock.schedule.signal import Answer
from airlock.service.calendar import Calendar, ClosureName

HORIZON_DAYS = 800
LOOK_AGAIN = timedelta(seconds=60)
"""How long to wait before live signals, whose end nobody knows, are asked again."""
_HORIZONS = (14, 60, 240, HORIZON_DAYS)
_SHOWN_REASONS = 20
_ORDER = ("frozen", "blackout", "holiday", "maintenance", "incident", "error_budget", "unreadable", "outside_window")
_SAID = {
    "frozen": "is in the freeze {name!r}, which ends {end}",
    "blackout": "is on the blackout date {name!r}, which ends {end}",
    "holiday": "is on the public holiday {name!r}, which ends {end}",
    "maintenance": "is in the maintenance {name!r}, which ends {end}",
}
OUTSIDE = "outside_window"


@dataclass(frozen=True)
class Closure:
    """One reason why the calendar is closed: a code, the name of what closes it, and words that explain it."""

    code: str
    name: str
    words: str

    @property
    def key(self) -> ClosureName:
        """Return which closure it is."""
        return ClosureName(code=self.code, name=self.name)


@dataclass(frozen=True)
class Decision:
    """Whether a release may act now.

    ``code`` is open, never, or that of the first of ``closures``: frozen, blackout, holiday, maintenance, incident,
    error_budget, unreadable, outside_window. ``next_open`` is in UTC: the moment asked for when it is open, ``None``
    when the calendar does not open within 800 days, or when nobody knows because only live signals close it.
    ``look_again``: when it is worth asking again. ``by_entries``: when it would be open but for live signals.
    """

    open: bool
    code: str
    sentence: str
    next_open: datetime | None
    look_again: datetime | None
    by_entries: datetime | None
    closures: tuple[Closure, ...] = ()


class Slot(NamedTuple):
    """A time in which a release may act, in UTC, and what closes the time before it (since the slot before, or now)."""

    start: datetime
    end: datetime
    before: tuple[Entry, ...]


def joined(slots: Iterable[Slot]) -> tuple[Slot, ...]:
    """Return *slots*, with those that follow each other without a pause as one: windows are of one day each."""
    found: list[Slot] = []
    for slot in slots:
        if found and slot.start == found[-1].end:
            found[-1] = found[-1]._replace(end=slot.end)
        else:
            found.append(slot)
    return tuple(found)


class OpenTime(NamedTuple):
    """A time in which a release may act, in UTC, and what closes the time before it.

    ``end`` is when the calendar closes, ``None`` if not within 800 days.
    """

    start: datetime
    end: datetime | None
    before: tuple[Entry, ...]


def nothing_else(since: datetime, until: datetime) -> Iterable[Entry]:  # noqa: ARG001 - fulfils ``Spelled``
    """Return no entry: of a calendar without files and holidays."""
    return ()


def decide(
    calendar: Calendar,
    now: datetime,
    spelled: Spelled = nothing_else,
    answers: Sequence[Answer] = (),
    overridden: Collection[ClosureName] = (),
    incident: str | None = None,
) -> Decision:
    """Return whether *now* (aware) is inside a window and nothing closes it, and when the calendar opens next.

    :param spelled: what files and holidays say
    :param answers: what live signals said
    :param overridden: closures that do not count, because people approved that
    :param incident: the open incident that the change mends, which does not stop it
    """
    zone, now = ZoneInfo(calendar.timezone), now.astimezone(UTC)
    local = f"{shown(now, zone)} ({calendar.timezone})"
    standing, start = _standing(calendar, now, spelled, overridden)
    closures = [*_spoken(standing, zone), *_live(answers, incident)]
    found = sorted(closures, key=lambda one: _ORDER.index(one.code))
    counted = tuple(one for one in found if one.key not in overridden)
    if not counted:
        ignored = "; ".join(one.words for one in found)
        return Decision(True, "open", f"{local} {ignored}, which an approved override allows" if ignored
                        else f"{local} is inside a window and outside every freeze", now, now, now)
    again: datetime | None = now + LOOK_AGAIN
    next_open = start
    if start is not None and start <= now:
        next_open = None
        then = "it opens when that is over, which is asked again every minute"
    else:
        again = start if start or not any(one.code == "unreadable" for one in counted) else again
        then = f"next opening {shown(start, zone)}" if start else f"it does not open within {HORIZON_DAYS} days"
    code = "never" if again is None and counted[0].code == OUTSIDE else counted[0].code
    sentence = f"{local} {', and '.join(one.words for one in counted)}; {then}"
    return Decision(False, code, sentence, next_open, again, start, counted)


def next_slots(
    calendar: Calendar,
    now: datetime,
    count: int,
    spelled: Spelled = nothing_else,
    overridden: Collection[ClosureName] = (),
) -> tuple[Slot, ...]:
    """Return up to *count* times in which a release may act from *now* on, and why the times before them are closed.

    The first begins at *now* when the calendar is open; a slot is never longer than its window. Live signals are not
    asked: nobody knows what they will say then.
    """
    now = now.astimezone(UTC)
    for days in _HORIZONS:
        until = _later(now, days)
        entries = [*own_entries(calendar, now, until), *spelled(now, until)]
        # What goes on beyond the horizon is cut off by nothing that is known yet: look further before it is believed.
        spans = [span for span in _spans(entries, now, until, overridden) if span[1] < until or days == _HORIZONS[-1]]
        if len(spans) >= count or days == _HORIZONS[-1]:
            starts = [now, *(end for _, end in spans)]
            return tuple(Slot(start, end, _between(entries, since, start))
                         for since, (start, end) in zip(starts, spans[:count], strict=False))
    return ()


def open_times(
    calendar: Calendar,
    now: datetime,
    count: int,
    spelled: Spelled = nothing_else,
    overridden: Collection[ClosureName] = (),
) -> tuple[OpenTime, ...]:
    """Return what ``next_slots`` does, with windows that follow each other without a pause as one time."""
    asked, beyond = 8 * count, _later(now.astimezone(UTC), HORIZON_DAYS)
    while True:
        slots = next_slots(calendar, now, asked, spelled, overridden)
        found = joined(slots)
        # The last one may go on in slots that were not asked for; fewer slots than asked for are all there are.
        if len(found) > count or len(slots) < asked:
            return tuple(OpenTime(one.start, one.end if one.end < beyond else None, one.before)
                         for one in found[:count])
        asked *= 8


def _standing(
    calendar: Calendar, now: datetime, spelled: Spelled, overridden: Collection[ClosureName]
) -> tuple[list[Entry], datetime | None]:
    """Return the entries that hold *now*, and when the entries are open next."""
    standing: list[Entry] = []
    for days in _HORIZONS:
        until = _later(now, days)
        entries = [*own_entries(calendar, now, until), *spelled(now, until)]
        standing = [one for one in entries if one.start <= now < one.end]
        spans = _spans(entries, now, until, overridden)
        if spans:
            return standing, spans[0][0]
    return standing, None


def _later(now: datetime, days: int) -> datetime:
    try:
        return now + timedelta(days=days)
    except OverflowError:
        return datetime.max.replace(tzinfo=UTC) - timedelta(days=3)


def _spoken(standing: Sequence[Entry], zone: ZoneInfo) -> Iterator[Closure]:
    for entry in sorted(standing, key=lambda one: (one.end, one.name)):
        if entry.code != "window":
            yield Closure(entry.code, entry.name, _SAID[entry.code].format(name=entry.name, end=shown(entry.end, zone)))
    if not any(one.code == "window" for one in standing):
        yield Closure(OUTSIDE, "", "is outside every window")


def _live(answers: Iterable[Answer], incident: str | None) -> Iterator[Closure]:
    for answer in answers:
        if answer.unreadable:
            yield Closure("unreadable", answer.signal,
                          f"cannot be judged, because {answer.signal} cannot be read: {answer.unreadable}")
        for stop in answer.stops:
            if answer.closes == "incident" and incident is not None and stop.name == incident:
                continue
            what = "the incident" if answer.closes == "incident" else "the error budget"
            state = "is open" if answer.closes == "incident" else "is spent"
            yield Closure(answer.closes, stop.name, f"comes while {what} {stop.name!r} {state}: {stop.words}")


def _spans(
    entries: Iterable[Entry], now: datetime, until: datetime, overridden: Collection[ClosureName]
) -> list[tuple[datetime, datetime]]:
    """Return what is open and ends after *now*, in order, without overlaps; closures are cut out."""
    windows: list[tuple[datetime, datetime]] = []
    closed: list[tuple[datetime, datetime]] = []
    for entry in entries:
        if entry.code == "window":
            windows.append((entry.start, entry.end))
        elif ClosureName(code=entry.code, name=entry.name) not in overridden:
            closed.append((entry.start, entry.end))
    if ClosureName(code=OUTSIDE) in overridden:
        windows = [(now, until)]
    found = _without(sorted(windows), _merged(closed), now)
    return [span for span in found if span[0] < until]  # beyond the horizon, not every closure is known


def _merged(spans: list[tuple[datetime, datetime]]) -> list[tuple[datetime, datetime]]:
    merged: list[tuple[datetime, datetime]] = []
    for start, end in sorted(spans):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], end))
        else:
            merged.append((start, end))
    return merged


def _without(
    windows: list[tuple[datetime, datetime]], closed: list[tuple[datetime, datetime]], now: datetime
) -> list[tuple[datetime, datetime]]:
    """Cut *closed* out of *windows*; both are sorted, so that one walk through both is enough."""
    found: list[tuple[datetime, datetime]] = []
    at, first = now, 0
    for begin, end in windows:
        at = max(at, begin)
        while first < len(closed) and closed[first][1] <= at:
            first += 1
        following = first
        while at < end:
            start, stop = closed[following] if following < len(closed) else (end, end)
            if start > at:
                found.append((at, min(start, end)))
            at = max(at, min(stop, end) if start < end else end)
            following += 1
    return found


def _between(entries: Iterable[Entry], since: datetime, until: datetime) -> tuple[Entry, ...]:
    """Return what closes the time from *since* to *until*, at most 20 entries, in order."""
    closing = [one for one in entries if one.code != "window" and one.start < until and one.end > since]
    return tuple(sorted(closing, key=lambda one: (one.start, one.end, one.name))[:_SHOWN_REASONS])
