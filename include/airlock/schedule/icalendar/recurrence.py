"""Which recurrence rules (RRULE, RFC 5545, 3.3.10) can be followed surely, and to an end.

Knows one rule at a time, the first day, and what the event is meant as.
"""

from __future__ import annotations

import re
from calendar import monthrange
from collections.abc import Iterator
from datetime import date, datetime
from typing import Any

from airlock.schedule.icalendar.series import parts_of, sort_of
from airlock.schedule.icalendar.text import text_of
from airlock.service.calendar import Meaning

_FREQUENCIES = ("DAILY", "WEEKLY", "MONTHLY", "YEARLY")
_PARTS = frozenset({
    "FREQ", "INTERVAL", "COUNT", "UNTIL", "WKST", "BYDAY", "BYMONTH", "BYMONTHDAY", "BYYEARDAY", "BYWEEKNO", "BYSETPOS",
})  # fmt: skip
_DAYS = ("MO", "TU", "WE", "TH", "FR", "SA", "SU")
_SEARCHED_DAYS = 28 * 366
"""After 28 years the same days of the week fall on the same days of the year again."""
_RANGES = {"BYMONTH": 12, "BYMONTHDAY": 31, "BYYEARDAY": 366, "BYWEEKNO": 53, "BYSETPOS": 366}
_SURE_WEEKS = 51
"""``dateutil`` takes some first days of January for days of the 52nd or 53rd week when they are not (dateutil#1537)."""
_ONE_YEAR_ONLY = frozenset({"BYYEARDAY", "BYWEEKNO"})



def endless(rule: Any, start: Any) -> str:
    """Return why *rule* is none, or a search for its days might not end; or nothing. Asked of every event, whatever it
    means."""
    parts = parts_of(rule)
    frequency = str(parts.get("FREQ", [""])[0]).upper()
    if len(parts.get("FREQ", [])) != 1 or frequency not in _FREQUENCIES:
        return "it recurs otherwise than daily, weekly, monthly or yearly; write one event of each day"
    if unknown := sorted(set(parts) - _PARTS):
        return f"{', '.join(unknown)[:60]} is not read"
    for name in ("INTERVAL", "COUNT"):
        if name in parts and (len(parts[name]) != 1 or int(parts[name][0]) < 1):
            return f"{name} must be 1 or more"
    if fault := _out_of_range(frequency, parts):
        return fault
    if frequency == "DAILY":
        if "BYSETPOS" in parts:
            return "a daily rule has no BYSETPOS"
        return "" if not isinstance(start, date) or _some_day(parts, start) else "there is no such day"
    if frequency == "WEEKLY" and "BYMONTHDAY" in parts:
        return "a weekly rule has no BYMONTHDAY"
    if frequency == "WEEKLY" and "BYSETPOS" in parts and isinstance(start, date) and (
            _DAYS[start.weekday()] != str(parts.get("WKST", ["MO"])[0]).upper()):
        # The first week would be counted from its first day on, and not from the start of the week (dateutil#1398).
        return "BYSETPOS in a weekly rule needs a DTSTART on the first day of the week (WKST)"
    return ""


def _out_of_range(frequency: str, parts: dict[str, list[Any]]) -> str:
    """Return which part has a value that there is none of, or no meaning in a rule of this *frequency*."""
    for name, most in _RANGES.items():
        if any(not 1 <= abs(int(one)) <= most or (name == "BYMONTH" and int(one) < 0) for one in parts.get(name, [])):
            return f"{name} is out of range"
    numbers = [int(match[0]) for day in parts.get("BYDAY", []) if (match := re.match(r"[+-]?\d+", str(day)))]
    if any(not 1 <= abs(one) <= (5 if frequency == "MONTHLY" else 53) for one in numbers):
        return "a number in BYDAY is out of range"
    if numbers and "BYWEEKNO" in parts:
        return "a number in BYDAY has no meaning beside BYWEEKNO"
    if frequency != "YEARLY" and (found := sorted(_ONE_YEAR_ONLY & set(parts))):
        return f"{found[0]} has a meaning in yearly rules only"
    if "BYWEEKNO" in parts and ("BYDAY" not in parts or any(abs(int(one)) > _SURE_WEEKS for one in parts["BYWEEKNO"])):
        return "BYWEEKNO is read with BYDAY only, and for the weeks 1 to 51 and -1 to -51"
    if "BYSETPOS" in parts and not any(name.startswith("BY") for name in set(parts) - {"BYSETPOS"}):
        return "BYSETPOS chooses among days, and no other part says which"
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


def wrong_rule(rule: Any, start: date, meaning: Meaning) -> Iterator[str]:
    """Yield what makes it unsure on which days an event that counts recurs by *rule*."""
    parts, said = parts_of(rule), text_of(rule)[:120]
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
    wanted = {"day": "a day", "floating": "a time without a zone"}.get(sort_of(start), "a time in UTC")
    found = {"day": "a day", "floating": "a time without a zone", "UTC": "a time in UTC"}.get(sort_of(until[0]), "")
    if len(until) != 1 or wanted != found:
        return (f"RRULE {said}: UNTIL must be {wanted} as DTSTART is, or it is not sure which day is the last",)
    if until[0] < start:
        return (f"RRULE {said}: it ends before the event begins",)
    return ()


def _never(rule: Any, start: date, meaning: Meaning) -> Iterator[str]:
    """A rule that no day fits, or, where a window would open on it, whose first day is none of the rule's."""
    from dateutil.rrule import rrulestr

    said = text_of(rule)[:120]
    if not any(name.startswith("BY") for name in parts_of(rule)):
        return
    begins = datetime(start.year, start.month, start.day)
    unbounded = {name: value for name, value in rule.items() if str(name).upper() not in ("COUNT", "UNTIL")}
    found = next(iter(rrulestr(type(rule)(unbounded).to_ical().decode(), dtstart=begins)), None)
    if found is None:
        yield f"RRULE {said}: there is no such day"
    elif meaning == "window" and found != begins:
        yield f"RRULE {said}: DTSTART is no day of the rule, so it is not sure whether a window opens then"
