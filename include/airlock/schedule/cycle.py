"""Release cycles: when they run, and the request that a scheduled run makes from the standard-change template.

Pure; must not know how promotions are stored or how a request is judged.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, date, datetime, time, timedelta
from itertools import groupby
from typing import Any
from zoneinfo import ZoneInfo

from airlock.errors import InvalidInput
from airlock.schedule.calendar import HORIZON_DAYS, decide, nothing_else
from airlock.schedule.entries import Spelled
from airlock.schedule.local_time import moment_of
from airlock.schedule.promotion import Candidate
from airlock.service.calendar import BiWeekly, Calendar, Cycle
from airlock.service.model import ServiceEnvironment
from airlock.service.values import DAYS

_MOST_LEFT_OUT = 400
"""So many times in a row may be closed before a cycle counts as one that never runs."""


def standard_form(environment: ServiceEnvironment, chosen: Candidate) -> dict[str, Any]:
    """Return the trigger form of the standard change that releases *chosen*.

    :raises InvalidInput: the environment has no template
    """
    templates = environment.standard_changes
    name = environment.cycle.template or next(iter(templates), "")
    if name not in templates:
        raise InvalidInput(f"{environment.source}: {environment.environment} has no template {name!r} under "
                           "standard_changes, so a scheduled cycle cannot make its request; add it, or set cycle: "
                           "manual")
    return {"version": chosen.version, "change_type": "standard", "template": name}


def next_run(
    cycle: Cycle, calendar: Calendar, after: datetime, spelled: Spelled = nothing_else
) -> datetime | None:
    """Return, in UTC, the first moment after *after* at which the cycle runs; ``None`` if there is none.

    A time that *calendar* closes moves to the next opening, and several such become one, or is left out, as the cycle
    says. Live signals are not asked.
    """
    if not cycle.timed:
        return None
    zone, after = ZoneInfo(cycle.timezone or calendar.timezone), after.astimezone(UTC)
    if cycle.when_closed == "move":
        before = _tick_before(cycle, zone, after)
        moved = None if before is None else decide(calendar, before, spelled).by_entries
        if moved is not None and moved > after:
            return moved
        tick = next(_ticks(cycle, zone, after), None)
        return None if tick is None else decide(calendar, tick, spelled).by_entries
    for _ in range(_MOST_LEFT_OUT):
        tick = next(_ticks(cycle, zone, after), None)
        if tick is None:
            return None
        opening = decide(calendar, tick, spelled).by_entries
        if opening is None or opening == tick:
            return opening
        after = opening - timedelta.resolution
    return None


def due_times(
    cycle: Cycle, calendar: Calendar, after: datetime, count: int, spelled: Spelled = nothing_else
) -> tuple[datetime, ...]:
    """Return the next *count* moments after *after* at which the cycle runs; none when only people begin it."""
    times: list[datetime] = []
    while len(times) < count and (
        due := next_run(cycle, calendar, times[-1] if times else after, spelled)
    ) is not None:
        times.append(due)
    return tuple(times)


def described(cycle: Cycle, calendar: Calendar) -> str:
    """Return when the cycle runs, in a few words, for people."""
    if not cycle.timed:
        return "continuous" if cycle.continuous else "manual"
    zone = cycle.timezone or calendar.timezone
    if cycle.bi_weekly is not None:
        words = (f"every second {cycle.bi_weekly.day.capitalize()} {cycle.bi_weekly.time}, "
                 f"as in the week of {cycle.bi_weekly.anchor}")
    elif cycle.weekly is not None:
        words = f"every {cycle.weekly.day.capitalize()} {cycle.weekly.time}"
    else:
        words = f"cron {cycle.cron}"
    return f"{words} ({zone})"


def too_late(cycle: Cycle, due: datetime, now: datetime) -> str:
    """Return why a run that was *due* is left out *now*, or nothing: schedules that were missed are not made up for."""
    late = now - due
    if late <= timedelta(minutes=cycle.late_after_minutes):
        return ""
    return (f"it was due on {due:%d %b %Y %H:%M} UTC, {late.total_seconds() / 60:.0f} min ago, and the cycle allows "
            f"{cycle.late_after_minutes} min: what was missed while Airflow stood still is not made up for")


def _ticks(cycle: Cycle, zone: ZoneInfo, after: datetime) -> Iterator[datetime]:
    """Yield the moments after *after* at which the clock says so, the calendar aside."""
    start = datetime.combine(after.astimezone(zone).date(), time())
    for _, walls in groupby(_walls(cycle, start, 1), key=datetime.date):
        yield from sorted({moment for wall in walls for moment in _moments(cycle, wall, zone) if moment > after})


def _tick_before(cycle: Cycle, zone: ZoneInfo, at: datetime) -> datetime | None:
    """Return the last of these moments until *at*, it included."""
    end = datetime.combine(at.astimezone(zone).date() + timedelta(days=1), time())
    for _, walls in groupby(_walls(cycle, end, -1), key=datetime.date):
        found = [moment for wall in walls for moment in _moments(cycle, wall, zone) if moment <= at]
        if found:
            return max(found)
    return None


def _walls(cycle: Cycle, start: datetime, direction: int) -> Iterator[datetime]:
    """Yield what the clock on the wall shows at each run, from *start* on or before it, for as long as makes sense."""
    if cycle.cron is not None:
        from croniter import croniter
        from croniter.croniter import CroniterBadDateError

        # A moment before, so that the start itself is found too. Without a zone: the clock on the wall, and only that.
        # Days of the month and of the week: cron runs on both kinds of days, or, where one field begins with *, on days
        # that are both (crontab(5), and the source of cron); the library calls that cron's bug.
        lines = croniter(cycle.cron, start - timedelta(seconds=direction > 0), implement_cron_bug=True)
        with suppress(CroniterBadDateError, OverflowError):
            while True:
                yield (lines.get_next if direction > 0 else lines.get_prev)(datetime)
        return
    rule = cycle.bi_weekly or cycle.weekly
    if rule is None:
        return
    for days in range(HORIZON_DAYS):
        day = start.date() + timedelta(days=direction * days)
        if DAYS[day.weekday()] == rule.day and (not isinstance(rule, BiWeekly) or _same_fortnight(day, rule.anchor)):
            yield datetime.combine(day, time.fromisoformat(rule.time))


def _same_fortnight(day: date, anchor: date) -> bool:
    weeks = (day.toordinal() - day.weekday() - anchor.toordinal() + anchor.weekday()) // 7
    return weeks % 2 == 0


def _moments(cycle: Cycle, wall: datetime, zone: ZoneInfo) -> tuple[datetime, ...]:
    """Return the moments that *wall* stands for on the day the clock changes.

    A time of day runs once: at the first pass, or at the moment of the skip. What runs in every hour (a cron line whose
    hours begin with ``*``) runs in each hour that passes, and in none that is skipped. This is what cron does.
    """
    if cycle.cron is None or not cycle.cron.split()[1].startswith("*"):
        return (moment_of(wall, zone),)
    both = (wall.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1))
    return tuple(moment for moment in both if moment.astimezone(zone).replace(tzinfo=None) == wall)
