"""How long people are asked: reminders, the first time-out and its escalation, the second one. Pure; asks nobody.

Level-triggered: everything follows from when people were asked and when it was escalated, so that it does not matter
how often, or how late, somebody looks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from airlock.models import ApprovalRule, ApprovalTerms

FIRST, ESCALATED = "first", "escalated"


@dataclass(frozen=True)
class Asking:
    """Where a request stands. ``rules`` are the seats in force; ``over`` says that their time has run out;
    ``reminder``: hours before the end of the newest reminder that is due, if any; ``look_at``: when to look again."""

    stage: str
    rules: tuple[ApprovalRule, ...]
    ends_at: datetime
    over: bool
    escalates: bool
    reminder: float | None
    look_at: datetime


def asking(
    approvals: Sequence[ApprovalRule], terms: ApprovalTerms, asked_at: datetime, escalated_at: datetime | None,
    now: datetime,
) -> Asking:
    """Return where a request stands at the moment *now* that was made at *asked_at*.

    :param escalated_at: when it was escalated, if it was
    """
    first = escalated_at is None
    hours = terms.timeout_hours if first else terms.escalation_hours
    ends_at = (asked_at if escalated_at is None else escalated_at) + timedelta(hours=hours)
    moments = sorted((ends_at - timedelta(hours=before), before) for before in terms.reminder_hours if before < hours)
    due = [before for moment, before in moments if moment <= now < ends_at]
    following = [moment for moment, _ in moments if moment > now]
    return Asking(
        stage=FIRST if first else ESCALATED, rules=tuple(approvals) if first else terms.escalation, ends_at=ends_at,
        over=now >= ends_at, escalates=first and bool(terms.escalation),
        reminder=due[-1] if due else None, look_at=following[0] if following else ends_at,
    )
