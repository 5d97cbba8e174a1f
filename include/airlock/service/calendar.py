"""What a service file may say about time: the calendar and the release cycle, as frozen data.

Knows no YAML, no rule of a decision and no Airflow.
"""

from __future__ import annotations

from datetime import date, datetime
from functools import lru_cache
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, ConfigDict, Field, StringConstraints, model_validator

from airlock import registry
from airlock.models import Digest, Frozen, Name
from airlock.service.values import (
    Between,
    Clock,
    Cron,
    Day,
    Folder,
    Seats,
    Text,
    TimeOfDay,
    TimeZone,
    known,
    moment,
)

Meaning = Literal["window", "freeze", "blackout", "maintenance", "ignore"]
"""What an event of a calendar file is."""
LiveCode = Literal["incident", "error_budget"]
"""What a live signal closes the calendar for."""


class Window(Between):
    """Local times of some weekdays in which a release may begin. An ``end`` before ``start`` is on the next day."""

    days: tuple[Day, ...] = Field(min_length=1)
    start: Clock = Field(alias="from")
    end: Clock = Field(alias="to")


class NamedWindow(Window):
    """Local times of some weekdays with a name."""

    name: Text


class Freeze(Between):
    """A time without releases. Times without an offset are local times of the calendar; ``end`` is exclusive."""

    name: Text
    start: Annotated[datetime, BeforeValidator(moment)] = Field(alias="from")
    end: Annotated[datetime, BeforeValidator(moment)] = Field(alias="to")


class Blackout(Frozen):
    """A whole local day without releases; in a file also just its date."""

    date: date
    name: Text = "blackout date"


def _blackout(value: Any) -> Any:
    return {"date": value} if isinstance(value, str) else value


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
    subdivision: Annotated[str, StringConstraints(min_length=1, max_length=40)] | None = None

    @model_validator(mode="after")
    def _known(self) -> Self:
        _holidays_known(self.country, self.subdivision)
        return self


class Maintenance(Frozen):
    """Times when the target itself is worked on: some once, some every week."""

    once: tuple[Freeze, ...] = ()
    weekly: tuple[NamedWindow, ...] = ()


class CalendarFile(Frozen):
    """An iCalendar file. What an event is, its categories say, else ``events``; ``categories`` adds further words.

    ``timezone`` is that of times without one and of whole days; without it, that of the calendar.
    """

    name: Name
    path: Folder
    events: Meaning = "freeze"
    categories: dict[str, Meaning] = Field(default_factory=dict, max_length=50)
    timezone: TimeZone | None = None


class SignalSetting(Frozen):
    """A live signal by its registered name, and what it closes the calendar for."""

    name: Annotated[str, known(registry.SIGNALS, "signal")]
    closes: LiveCode
    options: dict[str, Any] = Field(default_factory=dict)


class Calendar(Frozen):
    """When a release may act. No window means never; whatever closes wins over a window.

    ``override_by``: group -> seats that a release through a closed calendar needs besides; without it, nobody may.
    """

    timezone: TimeZone = "UTC"
    windows: tuple[Window, ...] = ()
    freezes: tuple[Freeze, ...] = ()
    blackout_dates: tuple[Annotated[Blackout, BeforeValidator(_blackout)], ...] = ()
    holidays: tuple[Holidays, ...] = ()
    maintenance: Maintenance = Maintenance()
    files: tuple[CalendarFile, ...] = ()
    signals: tuple[SignalSetting, ...] = ()
    override_by: Seats | None = None


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
    time: TimeOfDay


class BiWeekly(Weekly):
    """The same in every second week, counted from the week (Monday to Sunday) of ``anchor``."""

    anchor: date


class Cycle(Frozen):
    """When releases begin by themselves; nothing is set for ``cycle: manual``, where only people begin them.

    ``timezone``: without it, that of the calendar. ``when_closed``: a run whose time the calendar closes begins when it
    opens (``move``), or is left out (``skip``). A run that begins later than ``late_after_minutes`` is left out too.
    ``template`` names the standard change of its requests, and may be left out where there is one.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", validate_by_name=True, serialize_by_alias=True)

    continuous: bool = False
    cron: Cron | None = None
    weekly: Weekly | None = None
    bi_weekly: BiWeekly | None = Field(None, alias="bi-weekly")
    timezone: TimeZone | None = None
    template: Name | None = None
    when_closed: Literal["move", "skip"] = "move"
    late_after_minutes: int = Field(15, ge=1, le=7 * 24 * 60)

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


def cycle_from(value: Any) -> Any:
    """Return the short forms of a cycle (``manual``, ``continuous``, a cron line) as what they stand for."""
    if isinstance(value, str):
        return {"manual": {}, "continuous": {"continuous": True}}.get(value, {"cron": value})
    return value
