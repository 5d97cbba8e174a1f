"""Ask a calendar, all of it: read its files and signals, decide, and keep what the decision was made from.

``again`` makes the same decision from what was kept, without files, signals or the library of holidays.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from airlock import registry
from airlock.errors import AirlockError
from airlock.models import Frozen
from airlock.schedule.calendar import HORIZON_DAYS, Decision, OpenTime, Slot, decide, next_slots
from airlock.schedule.calendar import open_times as times_of
from airlock.schedule.entries import Entry, holiday_entries, holidays_version
from airlock.schedule.icalendar import file as icalendar_file
from airlock.schedule.icalendar.file import ReadFile
from airlock.schedule.signal import Answer, Signal
from airlock.service.calendar import Calendar, CalendarFile, ClosureName, PlannedCalendar, PlannedFile

_MOMENT = timedelta(seconds=1)


class Basis(Frozen):
    """What a decision was made from beside the calendar's own settings.

    ``entries`` are those of files and holidays from the moment asked for until the next opening: no other matters.
    """

    entries: tuple[Entry, ...] = ()
    files: dict[str, str] = {}
    holidays_version: str = ""
    answers: tuple[Answer, ...] = ()


@dataclass(frozen=True)
class Asked:
    """A decision, the moment it was made for, and what it was made from."""

    at: datetime
    decision: Decision
    basis: Basis

    def as_record(self) -> dict[str, Any]:
        """Return the data of a ledger record."""
        said = self.decision
        return {
            "at": self.at.isoformat(), "code": said.code, "sentence": said.sentence,
            "next_open": said.next_open.isoformat() if said.next_open else None,
            "closures": [one.key.model_dump(mode="json") for one in said.closures],
            "basis": self.basis.model_dump(mode="json"),
        }


@dataclass(frozen=True)
class Opened:
    """A calendar with its files read; those that cannot be read are in ``faults``."""

    calendar: Calendar
    files: tuple[ReadFile, ...] = ()
    faults: tuple[Answer, ...] = field(default=())

    def spelled(self, since: datetime, until: datetime) -> Iterator[Entry]:
        """Yield what files and holidays say about the time from *since* to *until*."""
        yield from holiday_entries(self.calendar, since, until)
        for one in self.files:
            yield from one.entries(since, until)


def open_calendar(calendar: Calendar) -> Opened:
    """Return *calendar* with its files read. A file that is not as it was approved counts as unreadable."""
    files: list[ReadFile] = []
    faults: list[Answer] = []
    for setting in calendar.files:
        try:
            found = icalendar_file.read(setting, calendar.timezone)
            found.events_found()  # parses it
            fault = _changed(setting, found)
        except AirlockError as error:
            fault = str(error)
        if fault:
            faults.append(Answer(signal=f"the calendar file {setting.name!r}", closes="file", unreadable=fault))
        else:
            files.append(found)
    return Opened(calendar, tuple(files), tuple(faults))


def _changed(setting: CalendarFile, found: ReadFile) -> str:
    if isinstance(setting, PlannedFile) and setting.digest != found.digest:
        return f"it is not as it was approved ({setting.digest[:19]}), now it is {found.digest[:19]}"
    return ""


def ask(
    calendar: Calendar, service: str, environment: str, now: datetime, incident: str | None = None
) -> Asked:
    """Return whether a release of *service* to *environment* may act *now*.

    :param incident: the open incident that the change mends, which does not stop it
    """
    opened = open_calendar(calendar)
    answers = (*opened.faults, *(_answer(setting.name, setting.closes, setting.options, service, environment)
                                 for setting in calendar.signals))
    try:
        decision = _decided(opened, now, answers, incident)
    except AirlockError as error:  # a recurrence of a file that cannot be spelled out
        broken = Answer(signal="a calendar file", closes="file", unreadable=str(error))
        opened, answers = Opened(calendar), (*answers, broken)
        decision = _decided(opened, now, answers, incident)
    until = (decision.by_entries or now + timedelta(days=HORIZON_DAYS)) + _MOMENT
    return Asked(now, decision, Basis(
        entries=tuple(opened.spelled(now, until)),
        files={one.setting.name: one.digest for one in opened.files},
        holidays_version=holidays_version() if calendar.holidays else "",
        answers=answers,
    ))


def _decided(opened: Opened, now: datetime, answers: Sequence[Answer], incident: str | None) -> Decision:
    return decide(opened.calendar, now, opened.spelled, answers, overridden_in(opened.calendar), incident)


def _answer(name: str, closes: Any, options: dict[str, Any], service: str, environment: str) -> Answer:
    label = f"signal {name}"
    try:
        signal: Signal = registry.resolve(registry.SIGNALS, "signal", name)(options)
        label = f"{label} {signal.where()}"
        return Answer(signal=label, closes=closes, stops=signal.stops(service, environment))
    except AirlockError as error:
        return Answer(signal=label, closes=closes, unreadable=str(error)[:500])


def again(calendar: Calendar, at: datetime, basis: Basis, incident: str | None = None) -> Decision:
    """Return the decision for *at* from what was kept of it: see ``ask``."""

    def kept(since: datetime, until: datetime) -> Iterator[Entry]:
        return (one for one in basis.entries if one.start < until and one.end > since)

    return decide(calendar, at, kept, basis.answers, overridden_in(calendar), incident)


def slots(calendar: Calendar, now: datetime, count: int) -> tuple[Slot, ...]:
    """Return the next times in which the calendar is open by all but its live signals: see ``calendar.next_slots``.

    Nobody knows any while a file cannot be read.
    """
    opened = open_calendar(calendar)
    if opened.faults:
        return ()
    return next_slots(calendar, now, count, opened.spelled, overridden_in(calendar))


def open_times(calendar: Calendar, now: datetime, count: int) -> tuple[OpenTime, ...]:
    """As ``slots``, for people: windows that follow each other are one time, which ends when the calendar closes."""
    opened = open_calendar(calendar)
    if opened.faults:
        return ()
    return times_of(calendar, now, count, opened.spelled, overridden_in(calendar))


def overridden_in(calendar: Calendar) -> tuple[ClosureName, ...]:
    """Return the closures that people approved to override, if *calendar* is that of a plan."""
    return calendar.overridden if isinstance(calendar, PlannedCalendar) else ()


def planned(calendar: Calendar, overridden: Sequence[ClosureName] = ()) -> PlannedCalendar:
    """Return *calendar* as a plan holds it: with the digests and events of its files, and what is *overridden*.

    :raises TemporaryError: a file cannot be read now
    :raises InvalidInput: a file is no iCalendar file
    """
    files = []
    for setting in calendar.files:
        found = icalendar_file.read(setting, calendar.timezone)
        given = CalendarFile.model_validate({name: getattr(setting, name) for name in CalendarFile.model_fields})
        files.append(PlannedFile(**dict(given), digest=found.digest, events_found=found.events_found()))
    own = {name: getattr(calendar, name) for name in Calendar.model_fields}
    return PlannedCalendar.model_validate({**own, "files": tuple(files), "overridden": tuple(overridden)})
