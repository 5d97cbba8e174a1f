"""Which iCalendar files (RFC 5545) can be read surely. Everything else is refused, because a library that makes the
best of it may leave out a freeze, cut it short, or open a window that nobody meant.

Knows the parsed file and what an event is meant as. Must not know what is decided from it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import date, datetime, timedelta
from typing import Any

from airlock.errors import InvalidInput
from airlock.schedule.icalendar import zones as icalendar_zones
from airlock.schedule.icalendar.recurrence import endless, wrong_rule
from airlock.schedule.icalendar.series import MOST_COUNTED, Series, dates_of, rules_of, sort_of
from airlock.schedule.icalendar.text import text_of, title_of
from airlock.service.calendar import Meaning

MOST_EVENTS = 5000
_NOT_READ = ("VFREEBUSY", "VAVAILABILITY")
_METHODS = ("", "PUBLISH", "REQUEST", "ADD")


def refuse_text(raw: bytes) -> None:
    """Refuse a file that is no text.

    :raises InvalidInput: it is none
    """
    try:
        raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InvalidInput(f"a calendar file is no UTF-8 text (byte {error.start}); export it as UTF-8") from error


def refuse_file(calendar: Any, events: Sequence[Any]) -> None:
    """Refuse a file as a whole.

    :raises InvalidInput: it cannot be read surely
    """
    if calendar.name != "VCALENDAR":
        raise InvalidInput("a calendar file does not begin with BEGIN:VCALENDAR; export it again")
    if str(calendar.get("CALSCALE", "GREGORIAN")).strip().upper() != "GREGORIAN":
        raise InvalidInput(f"a calendar file is of another calendar (CALSCALE {text_of(calendar['CALSCALE'])[:40]}); "
                           "export it as GREGORIAN")
    if len(events) > MOST_EVENTS:
        raise InvalidInput(f"a calendar file has {len(events)} events, at most {MOST_EVENTS} are read; split it")
    if str(calendar.get("METHOD", "")).upper() not in _METHODS:
        raise InvalidInput(f"a calendar file is a message (METHOD {text_of(calendar['METHOD'])[:40]}) about events, "
                           "and no calendar; export the calendar itself")
    for component in calendar.walk():
        if component.name in _NOT_READ:
            raise InvalidInput(f"a calendar file holds {component.name}, which is not read; write it as events")
    for event in events:
        for rule in () if event.errors else rules_of(event):
            if fault := endless(rule, event.decoded("DTSTART", None)):
                raise InvalidInput(f"the event {title_of(event)} cannot be made sense of: RRULE {text_of(rule)[:120]}: "
                                   f"{fault}; correct it")
    icalendar_zones.refuse_zones(calendar, events)
    _refuse_twins(events)


def refuse_series(series: Iterable[Series]) -> None:
    """Refuse the occurrences of events as a whole.

    :raises InvalidInput: there are too many to count, or some are changed from one on that there is not
    """
    series = tuple(series)
    if (counted := sum(one.counted for one in series)) > MOST_COUNTED:
        raise InvalidInput(f"the rules with COUNT of a calendar file have {counted} occurrences, at most "
                           f"{MOST_COUNTED} are counted; correct it: write UNTIL")
    for one in series:
        for change in one.later:
            if not one.occurs(change.decoded("RECURRENCE-ID")):
                refuse_lost_change(change)


def refuse_lost_change(change: Any) -> None:
    """Refuse a change of an occurrence that there is not.

    :raises InvalidInput: always
    """
    raise InvalidInput(f"the event {title_of(change)} changes an occurrence that there is not (RECURRENCE-ID "
                       f"{text_of(change['RECURRENCE-ID'])[:40]}); correct it")


def refuse_event(event: Any, meaning: Meaning) -> None:
    """Refuse an event that counts, if it cannot be read surely.

    :raises InvalidInput: it cannot
    """
    for fault in _faults(event, meaning):
        raise InvalidInput(f"the event {title_of(event)} cannot be made sense of: {fault}; correct it")


# --- one event --------------------------------------------------------------------------------------------------------


def _faults(event: Any, meaning: Meaning) -> Iterator[str]:
    if event.errors or "DTSTART" not in event:
        yield "; ".join(f"{name}: {text_of(fault)[:160]}" for name, fault in event.errors) or "it has no DTSTART"
        return
    start = event.decoded("DTSTART")
    if not isinstance(start, date):
        yield "it has several DTSTART"
        return
    if start.year < 1900:
        yield "it begins before 1900"
    if "RECURRENCE-ID" in event:
        yield from _wrong_change(event, start)
    yield from _wrong_length(event, start)
    for name in ("RDATE", "EXDATE"):
        yield from _wrong_dates(event, name, start)
    if "EXRULE" in event:
        yield "EXRULE is not read; write EXDATE"
    if "RRULE" in event and not any(rules_of(event)):
        yield "its RRULE is empty"
    for rule in rules_of(event):
        yield from wrong_rule(rule, start, meaning)


def _wrong_change(event: Any, start: date) -> Iterator[str]:
    if "UID" not in event:
        yield "it changes another one (RECURRENCE-ID), but has no UID that says which"
    if any(name in event for name in ("RRULE", "RDATE", "EXDATE")):
        yield "it changes an occurrence (RECURRENCE-ID) and recurs itself"
    given = event["RECURRENCE-ID"].params.get("RANGE", "THISANDFUTURE")
    if given != "THISANDFUTURE":
        yield f"it changes occurrences in a RANGE that is not read ({text_of(given)[:40]})"
    elif "RANGE" in event["RECURRENCE-ID"].params and (
        isinstance(start, datetime) != isinstance(event.decoded("RECURRENCE-ID"), datetime)
        or "floating" in {sort_of(start), sort_of(event.decoded("RECURRENCE-ID"))} - {sort_of(start)}
    ):
        yield "its DTSTART is of another sort than its RECURRENCE-ID (a day, a time, a time of a zone)"


def _wrong_length(event: Any, start: date) -> Iterator[str]:
    end, length = event.decoded("DTEND", None), event.decoded("DURATION", None)
    whole_day = not isinstance(start, datetime)
    if end is not None and length is not None:
        yield "it has both DTEND and DURATION"
    elif length is not None:
        if not isinstance(length, timedelta) or length <= timedelta(0):
            yield "its DURATION is none that is longer than nothing"
        elif whole_day and length % timedelta(days=1):
            yield "it is of whole days, but its DURATION is not"
    elif end is not None:
        if not isinstance(end, date) or isinstance(end, datetime) == whole_day:
            yield "one of DTSTART and DTEND is a day and the other a time"
        elif sort_of(end) != sort_of(start) and "floating" in (sort_of(end), sort_of(start)):
            yield "one of DTSTART and DTEND has a time zone and the other none"
        elif end <= start:
            yield "it has no length: DTEND is not later than DTSTART" + (
                " (the end of a whole day is the day after)" if whole_day else "")
    elif not whole_day:
        yield "it has no length: neither DTEND nor DURATION"


def _wrong_dates(event: Any, name: str, start: date) -> Iterator[str]:
    """Values that do not fit DTSTART: a library takes them for a time that may be another one."""
    for value in dates_of(event, name):
        if isinstance(value, tuple):
            times = [one for one in (start, *value) if isinstance(one, datetime)]
            if not all(sort_of(one) == "UTC" for one in times) or not isinstance(start, datetime):
                yield f"{name} with periods is read in UTC only"
            elif value[1] <= (timedelta(0) if isinstance(value[1], timedelta) else value[0]):
                yield f"a period of {name} has no length"
        elif sort_of(value) == "day" and sort_of(start) != "day":
            yield f"{name} is a day, but the event begins at a time of day"
        elif (sort_of(value) in ("day", "floating")) != (sort_of(start) in ("day", "floating")) or (
            sort_of(start) == "day" and sort_of(value) != "day"
        ):
            yield f"{name} is of another sort than DTSTART (a day, a time, a time of a zone)"


# --- events of a file -------------------------------------------------------------------------------------------------


def _refuse_twins(events: Iterable[Any]) -> None:
    seen: dict[tuple[str, str], Any] = {}
    for event in events:
        if "UID" not in event:
            continue
        at = event.get("RECURRENCE-ID")
        key = (str(event["UID"]), text_of(at) if at is not None else "")
        first = seen.setdefault(key, event)
        if first is not event and first.to_ical() != event.to_ical():
            raise InvalidInput(f"the events {title_of(first)} and {title_of(event)} have one UID "
                               f"({text_of(key[0])[:60]}), so that only one of them would count; give each its own")
