"""Values that files may hold: names, people, times, seats. Rules that concern one value live here. Knows no file."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from functools import lru_cache
from types import MappingProxyType
from typing import Annotated, Any
from zoneinfo import ZoneInfo

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    GetJsonSchemaHandler,
    StringConstraints,
    Tag,
)
from pydantic_core import CoreSchema

from airlock.models import Name
from airlock.places.address import Address
from airlock.plain_text import LOGIN_NAME, LOGIN_NAME_RULE
from airlock.spelling import did_you_mean

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
LEVELS = ("low", "medium", "high")
CHANGE_TYPES = ("normal", "standard", "emergency")

_DAY = re.compile(r"\d{4}-\d{2}-\d{2}")
_OF_A_MACHINE = ("localtime", "Factory", "posixrules")


def zone_named(name: str) -> ZoneInfo | None:
    """Return the time zone *name* of the IANA database, which is the same on every machine; ``None`` if it is none."""
    if name in _OF_A_MACHINE or name.startswith(("posix/", "right/")):
        return None
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        return None


@lru_cache(maxsize=256)
def _zone(name: str) -> str:
    if zone_named(name) is None:
        raise ValueError(f"unknown time zone {name!r}; write a name such as UTC or Europe/Berlin")
    return name


_CRON_FIELDS = (
    ("minute", 0, 59, ()), ("hour", 0, 23, ()), ("day of month", 1, 31, ()),
    ("month", 1, 12, ("", "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")),
    ("day of week", 0, 7, ("sun", "mon", "tue", "wed", "thu", "fri", "sat")),
)  # fmt: skip
_LONGEST = (0, 31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
_CRON_ITEM = re.compile(r"(?:\*|([0-9]{1,2}|[a-z]{3})(?:-([0-9]{1,2}|[a-z]{3}))?)(?:/([0-9]{1,2}))?")


@lru_cache(maxsize=256)
def _cron(line: str) -> str:
    """Accept what every cron reads alike: five fields of numbers, names, ranges, lists and steps. What libraries add
    (``L``, ``#``, ``?``, ``H``, ranges that wrap around) is refused, because cron does not know it."""
    fields = line.lower().split()
    if len(fields) != len(_CRON_FIELDS):
        raise ValueError(f"{line!r} is no cron line; write five fields, for example '0 6 * * 2'")
    for text, (name, least, most, names) in zip(fields, _CRON_FIELDS, strict=True):
        for item in text.split(","):
            if fault := _cron_fault(item, least, most, names):
                raise ValueError(f"{line!r} is no cron line: {item!r} as {name} {fault}")
    _, _, day, month, weekday = fields
    counts_alone = day[0] == "*" or weekday[0] == "*"  # else cron runs on the days of the week besides
    least = min(_cron_values(day, _CRON_FIELDS[2]))
    if counts_alone and least > max(_LONGEST[number] for number in _cron_values(month, _CRON_FIELDS[3])):
        raise ValueError(f"{line!r} would never run: there is no such day in these months")
    return line


def _cron_values(text: str, field: tuple[str, int, int, tuple[str, ...]]) -> set[int]:
    """Return the numbers that a sound field stands for."""
    _, least, most, names = field
    found = set[int]()
    for match in filter(None, map(_CRON_ITEM.fullmatch, text.split(","))):
        first, last, step = match.groups()
        low = least if first is None else _number(first, names)
        high = most if first is None else _number(last or first, names)
        found |= set(range(low, high + 1, int(step or 1)))
    return found


def _number(part: str, names: tuple[str, ...]) -> int:
    return names.index(part) if part in names and part else int(part) if part.isdigit() else -1


def _cron_fault(item: str, least: int, most: int, names: tuple[str, ...]) -> str:
    found = _CRON_ITEM.fullmatch(item)
    if found is None:
        return "is no number, name, range or step of cron"
    first, last, step = found.groups()
    numbers = [_number(part, names) for part in (first, last) if part is not None]
    if any(not least <= number <= most for number in numbers):
        return f"is none from {least} to {most}"
    if len(numbers) == 2 and numbers[0] > numbers[1]:
        return "goes backwards; write two ranges with a comma"
    if step is not None and (len(numbers) == 1 or not 1 <= int(step) <= most - least):
        return "has a step that cron reads otherwise; write */5 or 0-30/5"
    return ""


def _plain_cron(line: str) -> str:
    """Accept a line that Airflow's own timetable reads as cron does: it always joins the fields for days by *or*."""
    _, _, day, _, weekday = _cron(line).split()
    if day != "*" and weekday != "*" and "*" in (day[0], weekday[0]):
        raise ValueError(f"{line!r} limits both days of the month and days of the week, one of them with a step: cron "
                         "runs when both fit, Airflow when one does; write one of the two as *")
    return line


CHOSEN_FROM = "x-chosen-from"
"""Where a schema says what a name is chosen from."""


@dataclass(frozen=True)
class Choice(AfterValidator):
    """A check that knows which names there are, for schemas."""

    names: tuple[str, ...]
    what: str

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {**handler(schema), "enum": list(self.names), CHOSEN_FROM: self.what}


def known(table: Collection[str], what: str, former: Mapping[str, str] = MappingProxyType({})) -> AfterValidator:
    """Return a check that a name is in *table*; *what* the table holds is for the message.

    :param former: names of earlier versions, and what is written now
    """

    def check(name: str) -> str:
        if name in former:
            raise ValueError(f"{what} {name!r} is no more; {former[name]}")
        if name not in table:
            hint = did_you_mean(name, table)
            raise ValueError(f"unknown {what} {name!r}; {hint}known are {', '.join(sorted(table))}")
        return name

    return Choice(check, tuple(table if isinstance(table, tuple) else sorted(table)), what)


def _person(name: str) -> str:
    if not LOGIN_NAME.fullmatch(name):
        raise ValueError(f"{name[:40]!a} is no log-in name; write {LOGIN_NAME_RULE}")
    return name


def moment(given: Any) -> Any:
    """Return *given*, with midnight added to a day. A number is refused, which would count seconds since 1970."""
    if isinstance(given, datetime):
        return given
    if not isinstance(given, str) or not _DAY.match(given):
        raise ValueError("is no day or moment; write such as 2026-12-20 or 2026-12-20T06:00")
    return f"{given}T00:00:00" if _DAY.fullmatch(given) else given


def _day(given: Any) -> Any:
    if not isinstance(given, date) and not (isinstance(given, str) and _DAY.fullmatch(given)):
        raise ValueError("is no day; write such as 2026-12-20")
    return given


def _clock(text: str) -> str:
    """Accept ``HH:MM`` from 00:00 to 24:00."""
    if text != "24:00" and not re.fullmatch(r"([01][0-9]|2[0-3]):[0-5][0-9]", text):
        raise ValueError(f"{text[:20]!r} is no time of day; write HH:MM, from 00:00 to 24:00")
    return text


def _time(text: str) -> str:
    if _clock(text) == "24:00":
        raise ValueError("write 00:00 and the day after")
    return text


Person = Annotated[str, AfterValidator(_person)]
TimeZone = Annotated[str, AfterValidator(_zone)]
Cron = Annotated[str, AfterValidator(_cron)]
PlainCron = Annotated[str, AfterValidator(_plain_cron)]
Clock = Annotated[str, AfterValidator(_clock)]
TimeOfDay = Annotated[str, AfterValidator(_time)]
Day = Annotated[str, known(DAYS, "day")]
Date = Annotated[date, BeforeValidator(_day)]
Moment = Annotated[datetime, BeforeValidator(moment)]
Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=4000)]
TAGS = ("(text)", "(address)")
"""What pydantic calls the two ways to name a place; no step of a path in a file."""
Folder = Annotated[str, StringConstraints(min_length=1, max_length=1000)]
PlaceSetting = Annotated[
    Annotated[Folder, Tag(TAGS[0])] | Annotated[Address, Tag(TAGS[1])],
    Discriminator(lambda given: TAGS[isinstance(given, dict | Address)]),
]
"""A local folder or an address as a text, or the address of an object store and the connection that reaches it."""
Seats = Annotated[dict[Name, Annotated[int, Field(ge=1)]], Field(min_length=1)]


class Between(BaseModel):
    """Base of models with the fields ``from`` and ``to``, which are called ``start`` and ``end`` in Python."""

    model_config = ConfigDict(frozen=True, extra="forbid", serialize_by_alias=True)
