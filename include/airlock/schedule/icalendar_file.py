"""iCalendar files (RFC 5545): recurring events, whole days, exceptions and time zones, as entries of a calendar.

Which event means what, the settings of the file say. What cannot be read surely is an error, because it could be a
freeze: see ``icalendar_rules``. Knows no decision.
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
from airlock.schedule import event_length, icalendar_rules
from airlock.schedule.entries import Entry, EntryCode
from airlock.schedule.icalendar_text import text_of, title_of
from airlock.schedule.local_time import day_bounds, moment_of

_LARGEST = 4 << 20
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
        events = _sure(self.digest, _Raw(self.raw), meanings, self.setting.events)[1]
        if len(events) > _LINES_UP_TO:
            return {}
        return {f"{title_of(event)} [{text_of(event.get('UID', ''))[:60]} {text_of(event.get('RECURRENCE-ID', ''))}]"
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
        icalendar.use_zoneinfo()  # type: ignore[no-untyped-call]  # forgets zones that another file defined
        calendar: Any = icalendar.Calendar.from_ical(raw.content)
        events = tuple(calendar.walk("VEVENT"))
        icalendar_rules.refuse_file(raw.content, calendar, events)
        event_length.keep_lengths(raw.content, events)
        return recurring_ical_events.of(calendar), events
    except _UNREADABLE as error:
        raise _refusal(digest, error) from error


@lru_cache(maxsize=32)
def _sure(
    digest: str, raw: _Raw, meanings: tuple[tuple[str, Meaning], ...], otherwise: Meaning
) -> tuple[Any, tuple[Any, ...]]:
    """Return what ``_parsed`` does, where every event that counts can be read surely."""
    query, events = _parsed(digest, raw)
    masters = {str(event.get("UID")): event for event in events if "RECURRENCE-ID" not in event}
    try:
        for event in events:
            meaning = _meaning(event, meanings, otherwise)
            if meaning != "ignore":
                icalendar_rules.refuse_event(event, meaning)
            if meaning == "window" and "RECURRENCE-ID" in event and str(event["UID"]) in masters:
                _refuse_lost_change(event, masters[str(event["UID"])])
    except _UNREADABLE as error:
        raise _refusal(digest, error) from error
    return query, events


def _refuse_lost_change(change: Any, master: Any) -> None:
    """Refuse a change of an occurrence that there is not: the window would open as it was, and changed besides."""
    import icalendar
    import recurring_ical_events

    alone, at = icalendar.Calendar(), change.decoded("RECURRENCE-ID")
    alone.add_component(master)
    around = recurring_ical_events.of(alone).between(at - timedelta(days=1), at + timedelta(days=2))
    if at not in [one.decoded("DTSTART") for one in around]:
        raise InvalidInput(f"the event {title_of(change)} changes an occurrence that there is not (RECURRENCE-ID "
                           f"{text_of(change['RECURRENCE-ID'])[:40]}); correct it")


def _refusal(digest: str, error: Exception) -> InvalidInput:
    return InvalidInput(f"calendar file with digest {digest[:19]} is no iCalendar file that can be read: "
                        f"{text_of(error)[:160]}; export it again")


@lru_cache(maxsize=512)
def _period(
    digest: str, raw: _Raw, number: int, zone_name: str, meanings: tuple[tuple[str, Meaning], ...], events: Meaning
) -> tuple[Entry, ...]:
    """Return what overlaps the 32 days with this *number*: large files are spelled out no further than needed."""
    zone, since = ZoneInfo(zone_name), _EPOCH + number * _PERIOD
    found: list[Entry] = []
    try:
        query, _ = _sure(digest, raw, meanings, events)
        for event in query.between(since - _MARGIN, since + _PERIOD + _MARGIN):
            meaning = _meaning(event, meanings, events)
            if meaning == "ignore":
                continue
            start, end = _bounds(event, zone, closes=meaning != "window")
            if start < end and start < since + _PERIOD and end > since:
                found.append(Entry(code=_CODES[meaning], name=title_of(event), start=start, end=end))
    except _UNREADABLE as error:
        raise InvalidInput(f"calendar file with digest {digest[:19]} has an event that cannot be spelled out: "
                           f"{text_of(error)[:160]}; correct it") from error
    return tuple(found)


def _bounds(event: Any, zone: ZoneInfo, *, closes: bool) -> tuple[datetime, datetime]:
    start, end = event.decoded("DTSTART"), event.decoded("DTEND", None)
    if end is None and "DURATION" in event:
        end = start + event.decoded("DURATION")
    if end is None:
        end = start + timedelta(days=1)
    if isinstance(start, datetime) and isinstance(end, datetime):
        return _moment(start, zone), event_length.ends(event, start, end, zone, closes=closes)
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
    words = [str(word).strip().casefold() for one in lists for word in getattr(one, "cats", ())]
    found = [known[word] for word in words if word in known]
    closing = [one for one in found if one not in ("window", "ignore")]
    return (closing or found or [otherwise])[0]


def _in_words(event: Any, meanings: tuple[tuple[str, Meaning], ...], otherwise: Meaning) -> str:
    parts: list[str] = [_meaning(event, meanings, otherwise)]
    for name in ("DTSTART", "DTEND", "DURATION", "RRULE", "RDATE", "EXDATE"):
        values = event.get(name)
        if values is not None:
            texts = [text_of(one.to_ical().decode("utf-8", "replace")) + _zone_of(one)
                     for one in (values if isinstance(values, list) else [values])]
            parts.append(f"{name} {', '.join(texts)}")
    return " ".join(parts)[:1000]


def _zone_of(value: Any) -> str:
    zone = getattr(value, "params", {}).get("TZID")
    return f" {text_of(zone)}" if zone else ""
