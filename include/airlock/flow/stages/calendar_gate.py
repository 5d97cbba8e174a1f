"""Whether the calendar of a release is open, asked and recorded. Knows the ledger and the calendar, no Airflow.

The calendar is the one of the plan: what people approved, with the closures that they approved to override.
"""

from __future__ import annotations

import logging
from datetime import datetime

from airlock.change.override import mended_incident
from airlock.errors import CalendarClosed, GateRefused
from airlock.flow.stages.release import Release, calendar_of
from airlock.models import utc_now
from airlock.schedule.asking import Asked, open_times
from airlock.schedule.asking import ask as ask_calendar
from airlock.schedule.words import open_lines

log = logging.getLogger(__name__)
UNREADABLE = "unreadable"
_TIMES = 3


def ask(release: Release, now: datetime) -> Asked:
    """Return whether the release may act *now*: every file and live signal of its calendar is asked."""
    plan = release.plan
    return ask_calendar(calendar_of(plan), plan.service, plan.environment, now, mended_incident(plan.rfc))


def calendar_section(release: Release, now: datetime) -> tuple[str, tuple[str, ...]]:
    """Return what approvers read of the calendar: what it says now, or of the time asked for, and the next times."""
    calendar = calendar_of(release.plan)
    at = max(now, release.rfc.start_after or now)
    lines = tuple(line for time in open_times(calendar, at, _TIMES) for line in open_lines(time, calendar.timezone))
    return "Calendar", (ask(release, at).decision.sentence, *lines)


def require_open(release: Release, act: str, *, obeyed: bool = True) -> None:
    """Ask in the very moment of *act*, and record the answer.

    :param obeyed: whether a closed calendar stops the act; otherwise it is on record and in the log only
    :raises CalendarClosed: the calendar is closed
    """
    asked = ask(release, utc_now())
    if asked.decision.open or not obeyed:
        release.record("calendar", act, **asked.as_record())
    if asked.decision.open:
        return
    if obeyed:
        raise CalendarClosed(f"{act}: the calendar closed a moment ago: {asked.decision.sentence}")
    log.warning("%s: the calendar is closed, which does not stop what only ends the release: %s", act,
                asked.decision.sentence)


def held_until(release: Release, act: str, now: datetime) -> datetime | None:
    """Return until when *act*, the next step forward, must wait because the calendar has closed; ``None``: go on.

    That is when the calendar opens or is asked again, or when the permit ends, which then refuses the step. A signal or
    file that cannot be read never sends a release back: it is held.

    :raises GateRefused: the calendar has closed and the plan says to roll back, or no permit is valid any more
    """
    permit = release.permitted(act)
    asked = ask(release, now)
    decision = asked.decision
    if decision.open:
        return None
    closed = f"{act}: the calendar closed while the release ran: {decision.sentence}"
    if release.plan.rollout.on_freeze == "roll_back" and any(one.code != UNREADABLE for one in decision.closures):
        raise GateRefused(f"{closed}; the plan says roll back")
    until = min(decision.look_again or permit.expires_at, permit.expires_at)
    ends = decision.next_open and until.isoformat(timespec="seconds")
    held = release.latest("hold", act) or {}
    if not held or (held["until"], held["code"]) != (ends, decision.code):
        release.record("hold", act, until=ends, **asked.as_record())
    why = ("then the permit has ended, and the release goes back" if until == permit.expires_at
           else "then it goes on" if decision.next_open else "then it is asked again")
    log.warning(
        "%s; the plan says hold: traffic stays as it is until %s UTC, %s", closed, f"{until:%a %d %b %H:%M:%S}", why
    )
    return until
