"""Values that files may hold: names, people, times, seats. Rules that concern one value live here. Knows no file."""

from __future__ import annotations

import re
from collections.abc import Collection
from difflib import get_close_matches
from functools import lru_cache
from typing import Annotated, Any
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

from airlock.models import Name
from airlock.plain_text import LOGIN_NAME, LOGIN_NAME_RULE

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
LEVELS = ("low", "medium", "high")
CHANGE_TYPES = ("normal", "standard", "emergency")


@lru_cache(maxsize=256)
def _zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError) as error:
        raise ValueError(f"unknown time zone {name!r}; write a name such as UTC or Europe/Berlin") from error
    return name


@lru_cache(maxsize=256)
def _cron(line: str) -> str:
    from croniter import croniter  # only services with a cycle pay for it

    if len(line.split()) != 5 or not croniter.is_valid(line):
        raise ValueError(f"{line!r} is no cron line; write five fields, for example '0 6 * * 2'")
    return line


def known(table: Collection[str], what: str) -> AfterValidator:
    """Return a check that a name is in *table*; *what* the table holds is for the message."""

    def check(name: str) -> str:
        if name not in table:
            near = get_close_matches(name, table, n=1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise ValueError(f"unknown {what} {name!r}; {hint}known are {', '.join(sorted(table))}")
        return name

    return AfterValidator(check)


def _person(name: str) -> str:
    if not LOGIN_NAME.fullmatch(name):
        raise ValueError(f"{name[:40]!a} is no log-in name; write {LOGIN_NAME_RULE}")
    return name


def moment(text: Any) -> Any:
    """Return *text*, with midnight added to a day."""
    if isinstance(text, str) and re.fullmatch(r"\d{4}-\d{2}-\d{2}", text):
        return f"{text}T00:00:00"
    return text


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
Clock = Annotated[str, AfterValidator(_clock)]
TimeOfDay = Annotated[str, AfterValidator(_time)]
Day = Annotated[str, known(DAYS, "day")]
Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=4000)]
Folder = Annotated[str, StringConstraints(min_length=1, max_length=1000)]
Seats = Annotated[dict[Name, Annotated[int, Field(ge=1)]], Field(min_length=1)]


class Between(BaseModel):
    """Base of models with the fields ``from`` and ``to``, which are called ``start`` and ``end`` in Python."""

    model_config = ConfigDict(frozen=True, extra="forbid", serialize_by_alias=True)
