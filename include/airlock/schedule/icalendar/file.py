"""iCalendar files (RFC 5545): recurring events, whole days, exceptions and time zones, as entries of a calendar.

Which event means what, the settings of the file say. What cannot be read surely is an error, because it could be a
freeze: see ``rules``. Knows no decision.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from airlock.errors import AirlockError, InvalidInput, TemporaryError
from airlock.places import paths, streams
from airlock.schedule.entries import Entry, EntryCode
from airlock.schedule.icalendar import event_length
from airlock.schedule.icalendar import rules as icalendar_rules
from airlock.schedule.icalendar.lines import read_only, refuse_lines, unfolded
from airlock.schedule.icalendar.series import Occurrence, Series, length_of, series_of
from airlock.schedule.icalendar.text import text_of, title_of
from airlock.schedule.icalendar.zones import Definitions, zone_of_file
from airlock.schedule.local_time import clock_on, moment_of
from airlock.service.calendar import CalendarFile, Meaning

_LARGEST = 4 << 20
_LINES_UP_TO = 200
_PERIOD = timedelta(days=32)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MOST_AT_ONCE = 20_000
"""So many occurrences a file may have in 32 days: more would keep everybody waiting who asks the calendar."""
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
        key = (self.digest, _Raw(self.raw), self.zone, _meanings(self.setting), self.setting.events)
        for entry in _once(*key):
            if entry.start < until and entry.end > since:
                yield entry
        seen: set[Entry] = set()
        for number in range((since - _EPOCH) // _PERIOD, (until - _EPOCH) // _PERIOD + 1):
            for entry in _period(*key, number):
                if entry.start < until and entry.end > since and entry not in seen:
                    seen.add(entry)
                    yield entry

    def events_found(self) -> dict[str, str]:
        """Return the events in words, by their title and id; nothing for a file of more than 200, to keep plans small.

        :raises InvalidInput: as ``entries``
        """
        meanings = _meanings(self.setting)
        events = _sure(self.digest, _Raw(self.raw), meanings, self.setting.events).events
        if len(events) > _LINES_UP_TO:
            return {}
        return {_name_of(event): _in_words(event, meanings, self.setting.events) for event in events}


def read(setting: CalendarFile, timezone: str) -> ReadFile:
    """Return the content of the file that *setting* names; *timezone* is that of the calendar.

    :raises TemporaryError: the file cannot be read now
    :raises InvalidInput: it is too large, or its path cannot be opened
    """
    try:
        with streams.opened(paths.root_path(setting.path)) as stream:
            raw = stream.read(_LARGEST + 1)
    except InvalidInput as error:
        raise InvalidInput(f"calendar file {setting.name!r} cannot be opened: {error}; correct the path, or install "
                           "the library of that store") from error
    except AirlockError as error:
        raise TemporaryError(f"calendar file {setting.name!r} cannot be read ({error}): see whether it is there"
                             ) from error
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


class _Parsed(NamedTuple):
    """What a file holds: its events, which of them recur and which do not, and its time zones."""

    events: tuple[Any, ...]
    series: tuple[Series, ...]
    single: tuple[Any, ...]
    zones: Definitions
    own_zone: ZoneInfo | None


@lru_cache(maxsize=16)
def _parsed(digest: str, raw: _Raw) -> _Parsed:
    import icalendar

    content = unfolded(raw.content)
    try:
        icalendar_rules.refuse_text(content)
        refuse_lines(content)
        content = read_only(content)
        icalendar.use_zoneinfo()  # type: ignore[no-untyped-call]  # forgets zones that another file defined
        calendar: Any = icalendar.Calendar.from_ical(content)
        events = tuple(calendar.walk("VEVENT"))
        icalendar_rules.refuse_file(calendar, events)
        event_length.keep_lengths(content, events)
        series, single = series_of(events)
        return _Parsed(events, series, single, Definitions(calendar), zone_of_file(calendar))
    except OSError as error:  # of the time zone database
        raise _refusal(digest, ValueError("a time zone (TZID) is none")) from error
    except _UNREADABLE as error:
        raise _refusal(digest, error) from error


@lru_cache(maxsize=32)
def _sure(digest: str, raw: _Raw, meanings: tuple[tuple[str, Meaning], ...], otherwise: Meaning) -> _Parsed:
    """Return what ``_parsed`` does, where every event that counts can be read surely; the others are left out."""
    parsed = _parsed(digest, raw)

    def counts(event: Any) -> bool:
        unsure = any(name in (None, "CATEGORIES", "STATUS") for name, _ in event.errors)
        return unsure or _meaning(event, meanings, otherwise) != "ignore"

    try:
        for event in (*parsed.events, *parsed.single):
            if counts(event):
                icalendar_rules.refuse_event(event, _meaning(event, meanings, otherwise))
        series = tuple(one for one in parsed.series if any(map(counts, (one.event, *one.later))))
        icalendar_rules.refuse_series(series)
        of_uid = {str(one.event.get("UID")): one for one in series}
        for event in parsed.single:
            # A window would open as it was, and changed besides.
            if "RECURRENCE-ID" in event and _meaning(event, meanings, otherwise) == "window" and (
                    master := of_uid.get(str(event["UID"]))) and not master.occurs(event.decoded("RECURRENCE-ID")):
                icalendar_rules.refuse_lost_change(event)
    except _UNREADABLE as error:
        raise _refusal(digest, error) from error
    return parsed._replace(series=series, single=tuple(filter(counts, parsed.single)))


def _refusal(digest: str, error: Exception) -> InvalidInput:
    return InvalidInput(f"calendar file with digest {digest[:19]} is no iCalendar file that can be read: "
                        f"{text_of(error)[:160]}; export it again")


@lru_cache(maxsize=32)
def _once(
    digest: str, raw: _Raw, zone_name: str, meanings: tuple[tuple[str, Meaning], ...], otherwise: Meaning
) -> tuple[Entry, ...]:
    """Return the events that do not recur, as entries."""
    parsed = _sure(digest, raw, meanings, otherwise)
    occurrences = (Occurrence(event, event.decoded("DTSTART")) for event in parsed.single)
    return _entries(digest, parsed, occurrences, zone_name, meanings, otherwise)


@lru_cache(maxsize=512)
def _period(
    digest: str, raw: _Raw, zone_name: str, meanings: tuple[tuple[str, Meaning], ...], otherwise: Meaning, number: int
) -> tuple[Entry, ...]:
    """Return what recurs and overlaps the 32 days with this *number*: rules are followed no further than needed."""
    parsed, since = _sure(digest, raw, meanings, otherwise), _EPOCH + number * _PERIOD
    until = since + _PERIOD
    occurrences = (one for series in parsed.series for one in series.between(since, until))
    found = _entries(digest, parsed, occurrences, zone_name, meanings, otherwise)
    return tuple(entry for entry in found if entry.start < until and entry.end > since)


def _entries(
    digest: str, parsed: _Parsed, occurrences: Iterable[Occurrence], zone_name: str,
    meanings: tuple[tuple[str, Meaning], ...], otherwise: Meaning,
) -> tuple[Entry, ...]:  # fmt: skip
    zone, found, known = ZoneInfo(zone_name), list[Entry](), dict[int, Meaning]()
    try:
        for occurrence in occurrences:
            event = occurrence.event
            meaning = known.get(id(event)) or known.setdefault(id(event), _meaning(event, meanings, otherwise))
            if meaning == "ignore":
                continue
            parsed.zones.refuse_contradiction(event, occurrence.start)
            start, end = _bounds(occurrence, zone, parsed.own_zone or zone, closes=meaning != "window")
            if start < end:
                found.append(Entry(code=_CODES[meaning], name=title_of(event), start=start, end=end))
            if len(found) > _MOST_AT_ONCE:
                raise InvalidInput(f"more than {_MOST_AT_ONCE} occurrences at once; split the file")
    except _UNREADABLE as error:
        raise InvalidInput(f"calendar file with digest {digest[:19]} has an event that cannot be spelled out: "
                           f"{text_of(error)[:160]}; correct it") from error
    return tuple(found)


def _bounds(occurrence: Occurrence, zone: ZoneInfo, own: ZoneInfo, *, closes: bool) -> tuple[datetime, datetime]:
    """Return both ends in UTC: whole days are of *zone*, and times without a zone of the file's *own*."""
    start, length = occurrence.start, occurrence.length
    if not isinstance(start, datetime):
        return _moment(start, zone), _moment(start + (length or length_of(occurrence.event)), zone)
    begins = _moment(start, own)
    if length is not None:
        return begins, begins + length
    end = start + length_of(occurrence.event)
    return begins, event_length.ends(occurrence.event, start, end, own, closes=closes)


def _moment(value: date, zone: ZoneInfo) -> datetime:
    if not isinstance(value, datetime):
        return clock_on(value, "00:00", zone)
    return moment_of(value, zone) if value.tzinfo is None else value.astimezone(UTC)


def _meanings(setting: CalendarFile) -> tuple[tuple[str, Meaning], ...]:
    own = {word.casefold(): meaning for word, meaning in setting.categories.items()}
    return tuple((_WORDS | own).items())


def _meaning(event: Any, meanings: tuple[tuple[str, Meaning], ...], otherwise: Meaning) -> Meaning:
    """Return what *event* is: cancelled ones are ignored, and tentative ones open nothing; of several categories, one
    that closes wins."""
    status = str(event.get("STATUS", "")).upper()
    if status == "CANCELLED":
        return "ignore"
    known = dict(meanings)
    given = event.get("CATEGORIES", ())
    lists = given if isinstance(given, list) else [given]
    words = [str(word).strip().casefold() for one in lists for word in getattr(one, "cats", ())]
    found = [known[word] for word in words if word in known]
    closing = [one for one in found if one not in ("window", "ignore")]
    meaning = (closing or found or [otherwise])[0]
    return "ignore" if meaning == "window" and status == "TENTATIVE" else meaning


def _name_of(event: Any) -> str:
    uid, at = text_of(event.get("UID", ""))[:60], text_of(event.get("RECURRENCE-ID", ""))
    return f"{title_of(event)} [{uid} {at}]".replace(" ]", "]")


def _in_words(event: Any, meanings: tuple[tuple[str, Meaning], ...], otherwise: Meaning) -> str:
    parts: list[str] = [_meaning(event, meanings, otherwise)]
    for name in ("DTSTART", "DTEND", "DURATION", "RRULE", "RDATE", "EXDATE"):
        values = event.get(name)
        if values is not None:
            texts = [_as_written(one) + _zone_of(one) for one in (values if isinstance(values, list) else [values])]
            parts.append(f"{name} {', '.join(texts)}")
    return " ".join(parts)[:1000]


def _as_written(value: Any) -> str:
    try:
        return text_of(value.to_ical().decode("utf-8", "replace"))
    except _UNREADABLE:  # of an event that is ignored
        return "(unreadable)"


def _zone_of(value: Any) -> str:
    zone = getattr(value, "params", {}).get("TZID")
    return f" {text_of(zone)}" if zone else ""
