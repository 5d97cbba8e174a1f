"""iCalendar files (RFC 5545): recurring events, whole days, exceptions and time zones, as entries of a calendar.

Which event means what, the settings of the file say. An event that nobody can make sense of is an error, because it
could be a freeze. Knows no decision.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo

from airlock.calendar_model import CalendarFile, Meaning
from airlock.errors import InvalidInput, TemporaryError
from airlock.plain_text import harmless
from airlock.schedule.entries import Entry, EntryCode
from airlock.schedule.local_time import day_bounds, moment_of

_LARGEST = 4 << 20
_MOST_EVENTS = 5000
_LINES_UP_TO = 200
_PERIOD = timedelta(days=32)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MARGIN = timedelta(days=2)
_CODES: dict[Meaning, EntryCode] = {
    "window": "window", "freeze": "frozen", "blackout": "blackout", "maintenance": "maintenance",
}
_WORDS: dict[str, Meaning] = {
    "window": "window", "freeze": "freeze", "blackout": "blackout", "maintenance": "maintenance",
}
_TOO_OFTEN = ("SECONDLY", "MINUTELY", "HOURLY")
_TOO_FINE = ("BYSECOND", "BYMINUTE", "BYHOUR")
# What the parsers raise for a file that is none, besides their own errors, which are ValueErrors.
_UNREADABLE = (ValueError, TypeError, KeyError, IndexError, AttributeError, ArithmeticError, RecursionError)


@dataclass(frozen=True)
class ReadFile:
    """The content of one file, and how its events are meant (``setting``, and the zone of times without one)."""

    setting: CalendarFile
    zone: str
    digest: str
    raw: bytes = field(repr=False)

    @property
    def label(self) -> str:
        """Return how messages call it."""
        return f"the calendar file {self.setting.name!r}"

    def entries(self, since: datetime, until: datetime) -> Iterator[Entry]:
        """Yield the entries that overlap the time from *since* to *until*.

        :raises InvalidInput: the file is no iCalendar file, or holds an event that cannot be made sense of
        """
        seen: set[Entry] = set()
        meanings = _meanings(self.setting)
        for number in range((since - _EPOCH) // _PERIOD, (until - _EPOCH) // _PERIOD + 1):
            for entry in _period(self.digest, _Raw(self.raw), number, self.zone, meanings, self.setting.events):
                if entry.start < until and entry.end > since and entry not in seen:
                    seen.add(entry)
                    yield entry

    def events_found(self) -> dict[str, str]:
        """Return the events in words, by their title and id; nothing for a file of more than 200, to keep plans small.

        :raises InvalidInput: as ``entries``
        """
        meanings = _meanings(self.setting)
        events = _parsed(self.digest, _Raw(self.raw))[1]
        if len(events) > _LINES_UP_TO:
            return {}
        return {f"{_title(event)} [{_text(event.get('UID', ''))[:60]} {_text(event.get('RECURRENCE-ID', ''))}]"
                .replace(" ]", "]"): _in_words(event, meanings, self.setting.events) for event in events}


def read(setting: CalendarFile, timezone: str) -> ReadFile:
    """Return the content of the file that *setting* names; *timezone* is that of the calendar.

    :raises TemporaryError: the file cannot be read now
    :raises InvalidInput: it is too large, or its path cannot be opened
    """
    from upath import UPath

    try:
        with UPath(setting.path).open("rb") as stream:
            raw = stream.read(_LARGEST + 1)
    except OSError as error:
        raise TemporaryError(f"calendar file {setting.name!r} at {setting.path} cannot be read "
                             f"({type(error).__name__}): see whether it is there") from error
    except (ValueError, ImportError) as error:
        raise InvalidInput(f"calendar file {setting.name!r} at {setting.path} cannot be opened: {error}; correct the "
                           "path, or install the library of that store") from error
    if len(raw) > _LARGEST:
        raise InvalidInput(f"calendar file {setting.name!r} is larger than {_LARGEST} bytes; split it")
    return ReadFile(setting, setting.timezone or timezone, "sha256:" + hashlib.sha256(raw).hexdigest(), raw)


class _Raw:
    """Bytes beside their digest in the key of a cache: all are equal, because the digest tells them apart."""

    def __init__(self, content: bytes) -> None:
        self.content = content

    def __hash__(self) -> int:
        return 0

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Raw)


@lru_cache(maxsize=16)
def _parsed(digest: str, raw: _Raw) -> tuple[Any, tuple[Any, ...]]:
    import icalendar
    import recurring_ical_events

    try:
        calendar: Any = icalendar.Calendar.from_ical(raw.content)
        events = tuple(calendar.walk("VEVENT"))
        _refuse(calendar, events)
        return recurring_ical_events.of(calendar), events
    except InvalidInput:
        raise
    except _UNREADABLE as error:
        raise InvalidInput(f"calendar file with digest {digest[:19]} is no iCalendar file that can be read: "
                           f"{_text(error)[:160]}; export it again") from error


def _refuse(calendar: Any, events: tuple[Any, ...]) -> None:
    if calendar.name != "VCALENDAR":
        raise InvalidInput("a calendar file does not begin with BEGIN:VCALENDAR; export it again")
    if len(events) > _MOST_EVENTS:
        raise InvalidInput(f"a calendar file has {len(events)} events, at most {_MOST_EVENTS} are read; split it")
    for component in calendar.walk():
        rules = component.get("RRULE") or []
        for rule in rules if isinstance(rules, list) else [rules]:
            if any(str(one).upper() in _TOO_OFTEN for one in rule.get("FREQ", ())) or any(part in rule
                                                                                       for part in _TOO_FINE):
                raise InvalidInput(f"the event {_title(component)} recurs more often than daily; write it as one event "
                                   "of each day")
    for event in events:
        if event.errors or "DTSTART" not in event:
            what = "; ".join(f"{name}: {fault}" for name, fault in event.errors) or "it has no DTSTART"
            raise InvalidInput(f"the event {_title(event)} cannot be made sense of ({_text(what)[:160]}); correct it")
        if event.decoded("DTSTART").year < 1900:
            raise InvalidInput(f"the event {_title(event)} begins before 1900; correct it")


@lru_cache(maxsize=512)
def _period(
    digest: str, raw: _Raw, number: int, zone_name: str, meanings: tuple[tuple[str, Meaning], ...], events: Meaning
) -> tuple[Entry, ...]:
    """Return what overlaps the 32 days with this *number*: large files are spelled out no further than needed."""
    zone, since = ZoneInfo(zone_name), _EPOCH + number * _PERIOD
    found: list[Entry] = []
    try:
        query, _ = _parsed(digest, raw)
        for event in query.between(since - _MARGIN, since + _PERIOD + _MARGIN):
            meaning = _meaning(event, meanings, events)
            if meaning == "ignore":
                continue
            start, end = _bounds(event, zone)
            if start < end and start < since + _PERIOD and end > since:
                found.append(Entry(code=_CODES[meaning], name=_title(event), start=start, end=end))
    except _UNREADABLE as error:
        raise InvalidInput(f"calendar file with digest {digest[:19]} has an event that cannot be spelled out: "
                           f"{_text(error)[:160]}; correct it") from error
    return tuple(found)


def _bounds(event: Any, zone: ZoneInfo) -> tuple[datetime, datetime]:
    start, end = event.decoded("DTSTART"), event.decoded("DTEND", None)
    if end is None and "DURATION" in event:
        end = start + event.decoded("DURATION")
    if end is None:
        end = start if isinstance(start, datetime) else start + timedelta(days=1)
    return _moment(start, zone), _moment(end, zone)


def _moment(value: date | datetime, zone: ZoneInfo) -> datetime:
    if not isinstance(value, datetime):
        return day_bounds(value, zone)[0]
    return moment_of(value, zone) if value.tzinfo is None else value.astimezone(UTC)


def _meanings(setting: CalendarFile) -> tuple[tuple[str, Meaning], ...]:
    own = {word.casefold(): meaning for word, meaning in setting.categories.items()}
    return tuple((_WORDS | own).items())


def _meaning(event: Any, meanings: tuple[tuple[str, Meaning], ...], otherwise: Meaning) -> Meaning:
    """Return what *event* is: cancelled ones are ignored; of several categories, one that closes wins."""
    if str(event.get("STATUS", "")).upper() == "CANCELLED":
        return "ignore"
    known = dict(meanings)
    given = event.get("CATEGORIES", ())
    lists = given if isinstance(given, list) else [given]
    words = [str(word).casefold() for one in lists for word in getattr(one, "cats", ())]
    found = [known[word] for word in words if word in known]
    closing = [one for one in found if one not in ("window", "ignore")]
    return (closing or found or [otherwise])[0]


def _in_words(event: Any, meanings: tuple[tuple[str, Meaning], ...], otherwise: Meaning) -> str:
    parts: list[str] = [_meaning(event, meanings, otherwise)]
    for name in ("DTSTART", "DTEND", "DURATION", "RRULE", "RDATE", "EXDATE"):
        values = event.get(name)
        if values is not None:
            texts = [_text(one.to_ical().decode("utf-8", "replace")) + _zone_of(one)
                     for one in (values if isinstance(values, list) else [values])]
            parts.append(f"{name} {', '.join(texts)}")
    return " ".join(parts)[:1000]


def _zone_of(value: Any) -> str:
    zone = getattr(value, "params", {}).get("TZID")
    return f" {_text(zone)}" if zone else ""


def _title(event: Any) -> str:
    return _text(event.get("SUMMARY", ""))[:80] or "without a title"


def _text(value: object) -> str:
    text = value.to_ical().decode("utf-8", "replace") if hasattr(value, "to_ical") and not isinstance(value, str) \
        else str(value)
    return " ".join(harmless(text).split())
