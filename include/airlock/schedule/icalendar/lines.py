"""An iCalendar file as lines (RFC 5545, 3.1), and what only they show: a parser keeps neither a part of a rule that is
written twice, nor the Z of a time that has a time zone besides, and follows the rules of a time zone before it returns.

Must not know what an event means.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from airlock.errors import InvalidInput
from airlock.schedule.icalendar.text import text_of

_LINE = re.compile(r'([^;:]+)((?:;(?:[^":]|"[^"]*")*)?):(.*)', re.DOTALL)
_TIMES = ("DTSTART", "DTEND", "RDATE", "EXDATE", "RECURRENCE-ID")
_LEFT_OUT = ("VTODO", "VJOURNAL", "VALARM", "VTIMEZONE", "STANDARD", "DAYLIGHT", "VFREEBUSY", "VAVAILABILITY",
             "AVAILABLE", "PARTICIPANT", "VLOCATION", "VRESOURCE")
"""What takes no time of anybody, or is refused elsewhere. Whatever is called otherwise may be a misspelt event."""
_UTC = ("UTC", "ETC/UTC", "GMT", "ETC/GMT", "Z")
_OF_A_CALENDAR = frozenset({"VERSION", "PRODID", "CALSCALE", "METHOD", "X-WR-TIMEZONE"})
_OF_AN_EVENT = frozenset({
    "UID", "SUMMARY", "CATEGORIES", "STATUS", "RECURRENCE-ID", "DTSTART", "DTEND", "DURATION", "RRULE", "EXRULE",
    "RDATE", "EXDATE",
})  # fmt: skip
_READ = {"VCALENDAR": _OF_A_CALENDAR, "VEVENT": _OF_AN_EVENT}
"""What is read, of what is read in part. All else may be of any form: programs write the strangest alarms and dates of
creation, and a freeze is none the less sure."""
_NOT_READ = frozenset({"VTODO", "VJOURNAL", "VALARM"})
_LONGEST_RULE = 4000
_ZONE_RULE = frozenset({"FREQ", "INTERVAL", "COUNT", "UNTIL", "WKST", "BYMONTH", "BYMONTHDAY", "BYDAY"})


def unfolded(raw: bytes) -> bytes:
    """Return *raw* with its folded lines whole: as bytes, because a line may be folded inside of a character."""
    return re.sub(rb"\r?\n[ \t]", b"", raw)


def lines(raw: bytes) -> Iterator[tuple[tuple[str, ...], str, dict[str, str], str]]:
    """Yield the components that a line is in, its name, its parameters and its value, for each line of unfolded *raw*
    that is one. (A line ends with a line feed only: other characters that end lines are text.)"""
    inside: list[str] = []
    for line in raw.decode("utf-8-sig", "replace").split("\n"):
        match = _LINE.fullmatch(line.removesuffix("\r"))
        if match is None:
            continue
        name, parameters, value = match[1].upper(), match[2], match[3]
        if name == "END" and inside:
            inside.pop()
        yield tuple(inside), name, _parameters(parameters), value
        if name == "BEGIN":
            inside.append(value.upper())


def read_only(raw: bytes) -> bytes:
    """Return those lines of unfolded *raw* that count; all of them, where components do not end as they begin."""
    inside: list[str] = []
    kept: list[bytes] = []
    for line in raw.split(b"\n"):
        match = _LINE.fullmatch(line.decode("utf-8-sig", "replace").removesuffix("\r"))
        name, value = (match[1].upper(), match[3].upper()) if match else ("", "")
        if name == "BEGIN":
            inside.append(value)
        if not any(one in _NOT_READ or one.startswith("X-") for one in inside) and (
                not inside or name in ("", "BEGIN", "END") or name in _READ.get(inside[-1], (name,))):
            kept.append(line)
        if name == "END" and (not inside or inside.pop() != value):
            return raw
    return raw if inside else b"\n".join(kept)


def refuse_lines(raw: bytes) -> None:
    """Refuse a file by what its lines say.

    :raises InvalidInput: it cannot be read surely
    """
    for inside, name, parameters, value in lines(raw):
        if fault := _fault(inside, name, parameters, value):
            raise InvalidInput(f"{text_of(name)[:40]}: {text_of(value)[:120]}: {fault}; correct it")


def _fault(inside: tuple[str, ...], name: str, parameters: dict[str, str], value: str) -> str:
    if name == "BEGIN":
        return _wrong_component(inside, value.upper())
    if name == "RRULE" and inside[-1:] in (("VEVENT",), ("STANDARD",), ("DAYLIGHT",)):
        return _wrong_rule(value.upper(), of_zone=inside[-1] != "VEVENT")
    if name in _TIMES and inside[-1:] == ("VEVENT",):
        return _wrong_time(parameters, value.upper())
    return ""


def _wrong_component(inside: tuple[str, ...], name: str) -> str:
    if name in ("VCALENDAR", "VEVENT"):
        wanted = () if name == "VCALENDAR" else ("VCALENDAR",)
        return "" if inside == wanted else f"a {name} is inside of something else"
    return "" if name in _LEFT_OUT or re.fullmatch(r"X-[A-Z0-9-]+", name) else "a component of this name is not known"


def _wrong_rule(value: str, *, of_zone: bool) -> str:
    if len(value) > _LONGEST_RULE:
        return f"it is longer than {_LONGEST_RULE} characters"
    parts = [part.partition("=") for part in value.split(";") if part]
    names = [name.strip() for name, *_ in parts]
    if len(set(names)) < len(names):
        return "a part of the rule is there twice"
    if not of_zone:
        return ""
    given = {name.strip(): text.strip() for name, _, text in parts}
    if given.get("FREQ") != "YEARLY" or given.get("INTERVAL", "1") != "1" or set(given) - _ZONE_RULE:
        return "the clock of a time zone changes by a rule for every year"
    return ""


def _wrong_time(parameters: dict[str, str], value: str) -> str:
    zone = parameters.get("TZID")
    if zone is not None and not zone.strip():
        return "its TZID is empty"
    if zone is not None and zone.upper() not in _UTC and any(one.strip().endswith("Z") for one in value.split(",")):
        return "it is in UTC (Z) and in a time zone (TZID) at once"
    if parameters.get("VALUE", "").upper() == "DATE" and "T" in value:
        return "it is called a day (VALUE=DATE) and has a time"
    return ""


def _parameters(text: str) -> dict[str, str]:
    found = re.findall(r';([^=;:"]+)=((?:[^";]|"[^"]*")*)', text)
    return {name.strip().upper(): value.replace('"', "") for name, value in found}
