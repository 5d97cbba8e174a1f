"""What a service file may say about time: the calendar and the release cycle, as frozen data.

Knows no YAML, no rule of a decision and no Airflow.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, ConfigDict, Field, StringConstraints, model_validator

from airlock import registry
from airlock.models import Digest, Frozen, Name
from airlock.service.values import (
    Between,
    Clock,
    Cron,
    Date,
    Day,
    Moment,
    PlaceSetting,
    Seats,
    Text,
    TimeOfDay,
    TimeZone,
    known,
)

Meaning = Literal["window", "freeze", "blackout", "maintenance", "ignore"]
"""What an event of a calendar file is."""
LiveCode = Literal["incident", "error_budget"]
"""What a live signal closes the calendar for."""


class Window(Between):
    """Local times of some weekdays in which a release may begin."""

    days: tuple[Day, ...] = Field(min_length=1)
    """Weekdays, such as mon and tue."""
    start: Clock = Field(alias="from")
    """When it begins, HH:MM."""
    end: Clock = Field(alias="to")
    """When it ends, HH:MM up to 24:00; before the beginning means on the next day."""


class NamedWindow(Window):
    """Local times of some weekdays with a name."""

    name: Text
    """What it is, for people."""


class Freeze(Between):
    """A time without releases."""

    name: Text
    """What it is, for people."""
    start: Moment = Field(alias="from")
    """When it begins; without an offset in local time of the calendar."""
    end: Moment = Field(alias="to")
    """When it is over."""


class Blackout(Frozen):
    """A whole local day without releases; in a file also just its date."""

    date: Date
    """The day, such as 2026-12-24."""
    name: Text = "blackout date"
    """What day it is, for people."""


def _blackout(value: Any) -> Any:
    return value if isinstance(value, dict | Blackout) else {"date": value}


BlackoutDate = Annotated[Blackout, BeforeValidator(_blackout, json_schema_input_type=Date | Blackout)]


@lru_cache(maxsize=256)
def _holidays_known(country: str, subdivision: str | None) -> None:
    import holidays  # only services that name a country pay for it

    countries = holidays.list_supported_countries(include_aliases=True)
    if country not in countries:
        raise ValueError(f"no public holidays are known for country {country!r}; write its ISO code such as DE")
    if subdivision is not None and subdivision not in countries[country]:
        raise ValueError(f"{country} has no subdivision {subdivision!r}; known are {', '.join(countries[country])}")


class Holidays(Frozen):
    """The public holidays of a country, or of one of its subdivisions: whole local days without releases."""

    country: Annotated[str, StringConstraints(pattern=r"^[A-Z]{2}$")]
    """ISO code of the country, such as DE."""
    subdivision: Annotated[str, StringConstraints(min_length=1, max_length=40)] | None = None
    """Its state or region, such as BY."""

    @model_validator(mode="after")
    def _known(self) -> Self:
        _holidays_known(self.country, self.subdivision)
        return self


class Maintenance(Frozen):
    """Times when the target itself is worked on: some once, some every week."""

    once: tuple[Freeze, ...] = ()
    """Times that are named one by one."""
    weekly: tuple[NamedWindow, ...] = ()
    """Times of every week."""


class CalendarFile(Frozen):
    """An iCalendar file."""

    name: Name
    """What it is called in messages."""
    path: PlaceSetting
    """Where it is; a local path or an object store."""
    events: Meaning = "freeze"
    """What an event of it is, unless its categories say otherwise."""
    categories: dict[str, Meaning] = Field(default_factory=dict, max_length=50)
    """Further words of categories -> what an event with them is."""
    timezone: TimeZone | None = None
    """Of times without one, and of whole days; left out: that of the calendar."""


class SignalSetting(Frozen):
    """A live signal by its registered name, and what it closes the calendar for."""

    name: Annotated[str, known(registry.SIGNALS, "signal")]
    """Which signal."""
    closes: LiveCode
    """What the calendar is closed for while it says so."""
    options: dict[str, Any] = Field(default_factory=dict)
    """Options of that signal."""


class Calendar(Frozen):
    """When a release may act. No window means never; whatever closes wins over a window."""

    timezone: TimeZone = "UTC"
    """Of all local times here, such as Europe/Berlin."""
    windows: tuple[Window, ...] = ()
    """When releases may begin; none: never."""
    freezes: tuple[Freeze, ...] = ()
    """Times without releases."""
    blackout_dates: tuple[BlackoutDate, ...] = ()
    """Whole days without releases: a date, or a date with a name."""
    holidays: tuple[Holidays, ...] = ()
    """Countries whose public holidays are without releases."""
    maintenance: Maintenance = Maintenance()
    """When the target itself is worked on."""
    files: tuple[CalendarFile, ...] = ()
    """iCalendar files that are asked besides."""
    signals: tuple[SignalSetting, ...] = ()
    """Live signals that close it: open incidents, error budgets."""
    override_by: Seats | None = None
    """Group -> seats that a release through a closed calendar needs besides; left out: nobody may."""


class ClosureName(Frozen):
    """Which closure is meant: its code, and its name where it has one."""

    code: str
    name: str = ""


class PlannedFile(CalendarFile):
    """A calendar file as it was when a plan was made. ``events_found`` is empty for a file of very many events."""

    digest: Digest
    events_found: dict[str, str] = Field(default_factory=dict)


class PlannedCalendar(Calendar):
    """The calendar of a plan: everything of it that is approved. ``overridden``: the closures that do not count."""

    files: tuple[PlannedFile, ...] = ()
    overridden: tuple[ClosureName, ...] = ()


class Weekly(Frozen):
    """A weekday and a local time."""

    day: Day
    """Weekday, such as tue."""
    time: TimeOfDay
    """Local time, HH:MM."""


class BiWeekly(Weekly):
    """A weekday and a local time in every second week."""

    anchor: Date
    """A day of one of these weeks (Monday to Sunday)."""


class Cycle(Frozen):
    """When releases begin by themselves; nothing is set for ``cycle: manual``, where only people begin them."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_by_name=True, serialize_by_alias=True)

    continuous: bool = False
    """As soon as a version was promoted in the environment before."""
    cron: Cron | None = None
    """Five fields of cron."""
    weekly: Weekly | None = None
    """A weekday and a time."""
    bi_weekly: BiWeekly | None = Field(None, alias="bi-weekly")
    """The same in every second week."""
    timezone: TimeZone | None = None
    """Of these times; left out: that of the calendar."""
    template: Name | None = None
    """The standard change of the requests; may be left out where there is one only."""
    when_closed: Literal["move", "skip"] = "move"
    """Whether a run whose time the calendar closes begins when it opens, or is left out."""
    late_after_minutes: int = Field(15, ge=1, le=7 * 24 * 60)
    """A run that would begin later than this is left out."""

    @model_validator(mode="after")
    def _one(self) -> Self:
        given = [name for name in ("continuous", "cron", "weekly", "bi_weekly") if getattr(self, name)]
        if len(given) > 1:
            raise ValueError(f"a cycle is one of continuous, cron, weekly and bi-weekly, found {' and '.join(given)}; "
                             "keep one")
        return self

    @property
    def timed(self) -> bool:
        """Return whether runs begin at times of the clock."""
        return bool(self.cron or self.weekly or self.bi_weekly)

    @property
    def automatic(self) -> bool:
        """Return whether runs begin by themselves."""
        return self.continuous or self.timed


CycleInput = Literal["manual", "continuous"] | Cron | Cycle
"""What a file may say of a cycle."""


def cycle_from(value: Any) -> Any:
    """Return the short forms of a cycle (``manual``, ``continuous``, a cron line) as what they stand for."""
    if isinstance(value, str):
        return {"manual": {}, "continuous": {"continuous": True}}.get(value, {"cron": value})
    return value
