"""Which iCalendar files (RFC 5545) can be read surely. Everything else is refused, because a library that makes the
best of it may leave out a freeze, cut it short, or open a window that nobody meant.

Knows the parsed file and what an event is meant as. Must not know what is decided from it.
"""

from __future__ import annotations

import re
from calendar import monthrange
from collections.abc import Iterable, Iterator
from datetime import date, datetime, timedelta
from typing import Any

from airlock.calendar_model import Meaning
from airlock.errors import InvalidInput
from airlock.schedule import icalendar_zones
from airlock.schedule.icalendar_text import text_of, title_of

MOST_EVENTS = 5000
_FREQUENCIES = ("DAILY", "WEEKLY", "MONTHLY", "YEARLY")
_PARTS = frozenset({
    "FREQ", "INTERVAL", "COUNT", "UNTIL", "WKST", "BYDAY", "BYMONTH", "BYMONTHDAY", "BYYEARDAY", "BYWEEKNO", "BYSETPOS",
})  # fmt: skip
_DAYS = ("MO", "TU", "WE", "TH", "FR", "SA", "SU")
_SEARCHED_DAYS = 28 * 366
"""After 28 years the same days of the week fall on the same days of the year again."""
_NOT_READ = ("VFREEBUSY", "VAVAILABILITY")
_METHODS = ("", "PUBLISH", "REQUEST", "ADD")


def refuse_file(raw: bytes, calendar: Any, events: Iterable[Any]) -> None:
    """Refuse a file as a whole.

    :raises InvalidInput: it cannot be read surely
    """
    events = tuple(events)
    if calendar.name != "VCALENDAR":
        raise InvalidInput("a calendar file does not begin with BEGIN:VCALENDAR; export it again")
    try:
        raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InvalidInput(f"a calendar file is no UTF-8 text (byte {error.start}); export it as UTF-8") from error
    if len(events) > MOST_EVENTS:
        raise InvalidInput(f"a calendar file has {len(events)} events, at most {MOST_EVENTS} are read; split it")
    if str(calendar.get("METHOD", "")).upper() not in _METHODS:
        raise InvalidInput(f"a calendar file is a message (METHOD {text_of(calendar['METHOD'])[:40]}) about events, "
                           "and no calendar; export the calendar itself")
    for component in calendar.walk():
        if component.name in _NOT_READ:
            raise InvalidInput(f"a calendar file holds {component.name}, which is not read; write it as events")
    for event in events:
        for rule in _rules(event):
            if fault := _endless(rule, event.decoded("DTSTART", None)):
                raise InvalidInput(f"the event {title_of(event)} cannot be made sense of: RRULE {text_of(rule)[:120]}: "
                                   f"{fault}; correct it")
    icalendar_zones.refuse_zones(calendar, events)
    _refuse_twins(events)


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
    if "RECURRENCE-ID" in event and "UID" not in event:
        yield "it changes another one (RECURRENCE-ID), but has no UID that says which"
    yield from _wrong_length(event, start)
    for name in ("RDATE", "EXDATE"):
        yield from _wrong_dates(event, name, start)
    if "EXRULE" in event:
        yield "EXRULE is not read; write EXDATE"
    if "RRULE" in event and not any(_rules(event)):
        yield "its RRULE is empty"
    for rule in _rules(event):
        yield from _wrong_rule(rule, start, meaning)


def _rules(event: Any) -> list[Any]:
    rules = event.get("RRULE") or []
    return rules if isinstance(rules, list) else [rules]


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
        elif _sort_of(end) != _sort_of(start) and "floating" in (_sort_of(end), _sort_of(start)):
            yield "one of DTSTART and DTEND has a time zone and the other none"
        elif end <= start:
            yield "it has no length: DTEND is not later than DTSTART" + (
                " (the end of a whole day is the day after)" if whole_day else "")
    elif not whole_day:
        yield "it has no length: neither DTEND nor DURATION"


def _wrong_dates(event: Any, name: str, start: date) -> Iterator[str]:
    """Values that do not fit DTSTART: a library takes them for a time that may be another one."""
    for value in _dates(event, name):
        if isinstance(value, tuple):
            times = [one for one in (start, *value) if isinstance(one, datetime)]
            if not all(_sort_of(one) == "UTC" for one in times) or not isinstance(start, datetime):
                yield f"{name} with periods is read in UTC only"
        elif _sort_of(value) == "day" and _sort_of(start) != "day":
            yield f"{name} is a day, but the event begins at a time of day"
        elif (_sort_of(value) in ("day", "floating")) != (_sort_of(start) in ("day", "floating")) or (
            _sort_of(start) == "day" and _sort_of(value) != "day"
        ):
            yield f"{name} is of another sort than DTSTART (a day, a time, a time of a zone)"


def _dates(event: Any, name: str) -> Iterator[Any]:
    given = event.get(name, [])
    for one in given if isinstance(given, list) else [given]:
        yield from (value.dt for value in one.dts)


def _parts(rule: Any) -> dict[str, list[Any]]:
    return {str(name).upper(): value if isinstance(value, list) else [value] for name, value in rule.items()}


def _endless(rule: Any, start: Any) -> str:
    """Return why a search for the days of *rule* might not end, or nothing. Asked of every event, whatever it means:
    the library that repeats events looks for their first days at once."""
    parts = _parts(rule)
    frequency = str(parts.get("FREQ", [""])[0]).upper()
    if len(parts.get("FREQ", [])) != 1 or frequency not in _FREQUENCIES:
        return "it recurs otherwise than daily, weekly, monthly or yearly; write one event of each day"
    if unknown := sorted(set(parts) - _PARTS):
        return f"{', '.join(unknown)[:60]} is not read"
    for name in ("INTERVAL", "COUNT"):
        if name in parts and (len(parts[name]) != 1 or int(parts[name][0]) < 1):
            return f"{name} must be 1 or more"
    if frequency == "DAILY":
        if set(parts) & {"BYYEARDAY", "BYWEEKNO", "BYSETPOS"}:
            return "a daily rule has neither BYYEARDAY nor BYWEEKNO nor BYSETPOS"
        return "" if not isinstance(start, date) or _some_day(parts, start) else "there is no such day"
    if frequency == "WEEKLY" and set(parts) & {"BYMONTHDAY", "BYYEARDAY", "BYWEEKNO"}:
        return "a weekly rule has neither BYMONTHDAY nor BYYEARDAY nor BYWEEKNO"
    return ""


def _some_day(parts: dict[str, list[Any]], start: date) -> bool:
    """Return whether a day of a daily rule is in its months, on its days of the month and of the week."""
    months, days = [int(one) for one in parts.get("BYMONTH", [])], [int(one) for one in parts.get("BYMONTHDAY", [])]
    weekdays = [str(one).upper() for one in parts.get("BYDAY", [])]
    interval = int(parts.get("INTERVAL", [1])[0])
    if not (months or days or weekdays):
        return True
    first = date(start.year, start.month, start.day).toordinal()
    for ordinal in range(first, min(first + _SEARCHED_DAYS * interval, date.max.toordinal()), interval):
        day = date.fromordinal(ordinal)
        backwards = day.day - monthrange(day.year, day.month)[1] - 1
        if ((not months or day.month in months) and (not days or day.day in days or backwards in days)
                and (not weekdays or _DAYS[day.weekday()] in weekdays)):
            return True
    return False


def _wrong_rule(rule: Any, start: date, meaning: Meaning) -> Iterator[str]:
    parts, said = _parts(rule), text_of(rule)[:120]
    if "COUNT" in parts and "UNTIL" in parts:
        yield f"RRULE {said}: it has both COUNT and UNTIL"
    elif str(parts["FREQ"][0]).upper() in ("DAILY", "WEEKLY") and any(
        re.search(r"\d", str(day)) for day in parts.get("BYDAY", [])
    ):
        yield f"RRULE {said}: a number in BYDAY has a meaning in monthly and yearly rules only"
    else:
        yield from _wrong_until(parts.get("UNTIL"), start, said) or _never(rule, start, meaning)


def _wrong_until(until: list[Any] | None, start: date, said: str) -> tuple[str, ...]:
    if until is None:
        return ()
    wanted = {"day": "a day", "floating": "a time without a zone"}.get(_sort_of(start), "a time in UTC")
    found = {"day": "a day", "floating": "a time without a zone", "UTC": "a time in UTC"}.get(_sort_of(until[0]), "")
    if len(until) != 1 or wanted != found:
        return (f"RRULE {said}: UNTIL must be {wanted} as DTSTART is, or it is not sure which day is the last",)
    if until[0] < start:
        return (f"RRULE {said}: it ends before the event begins",)
    return ()


def _never(rule: Any, start: date, meaning: Meaning) -> Iterator[str]:
    """A rule that no day fits, or, where a window would open on it, whose first day is none of the rule's."""
    from dateutil.rrule import rrulestr

    said = text_of(rule)[:120]
    if not any(name.startswith("BY") for name in _parts(rule)):
        return
    begins = datetime(start.year, start.month, start.day)
    unbounded = {name: value for name, value in rule.items() if str(name).upper() not in ("COUNT", "UNTIL")}
    found = next(iter(rrulestr(type(rule)(unbounded).to_ical().decode(), dtstart=begins)), None)
    if found is None:
        yield f"RRULE {said}: there is no such day"
    elif meaning == "window" and found != begins:
        yield f"RRULE {said}: DTSTART is no day of the rule, so it is not sure whether a window opens then"


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


def _sort_of(value: Any) -> str:
    """Return ``day``, ``floating``, ``UTC`` or ``zone``."""
    if not isinstance(value, datetime):
        return "day"
    if value.tzinfo is None:
        return "floating"
    return "UTC" if str(value.tzinfo) == "UTC" else "zone"
