"""The debt of an emergency change: faster people let it through, so the normal seats approve it afterwards.

Pure. While one is overdue, the standard changes of its team are refused: the standing of a team that leaves papers
undone does not carry changes that nobody looks at.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

from pydantic import AwareDatetime

from airlock.models import ApprovalRule, Frozen

_SHOWN = 5


class Debt(Frozen):
    """One emergency change that landed and is not approved by its normal seats (*approvals*) yet."""

    service: str
    environment: str
    release: str
    incident: str
    landed_at: AwareDatetime
    due_at: AwareDatetime
    approvals: tuple[ApprovalRule, ...]


def overdue(debts: Iterable[Debt], now: datetime) -> tuple[Debt, ...]:
    """Return those of *debts* whose time is over at *now*, the oldest first."""
    return tuple(sorted((debt for debt in debts if debt.due_at <= now), key=lambda debt: (debt.due_at, debt.release)))


def refusal(owner: str, debts: Iterable[Debt], now: datetime) -> str:
    """Return why the team *owner* may make no standard change at *now*; empty if it may."""
    late = overdue(debts, now)
    if not late:
        return ""
    shown = "; ".join(f"{debt.release} (incident {debt.incident}), due on {_at(debt.due_at)}" for debt in late[:_SHOWN])
    more = f"; and {len(late) - _SHOWN} more" if len(late) > _SHOWN else ""
    return (f"{owner} makes no standard change while an emergency change of the team waits for its approval "
            f"afterwards: {shown}{more}; approve it in the DAG follow_up_release, or ask for a normal change")


def _at(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%d %b %Y %H:%M} UTC"
