"""What a change ticket may say in a release: fields of its request, and answers of people whom the plan knows.

Pure; must not know any ticket system. A ticket is a form and a ballot that strangers can write on: whatever it says
goes through the rules of the trigger form and of votes, and an account that is mapped to no log-in name is nobody.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from pydantic import AwareDatetime

from airlock.change.form import FIELD_OF
from airlock.errors import GateRefused, InvalidInput
from airlock.models import Frozen, Plan, Vote
from airlock.service.model import Tickets

_LONGEST = 5000
"""More than any field of the form may have, so that what was cut is refused there."""


class TicketAnswer(Frozen):
    """What one account answered in a ticket, as the ticket system told it. ``doubt``: why it may not be its own."""

    system: str
    ticket: str
    id: str
    account: str
    choice: str
    reason: str = ""
    decided_at: AwareDatetime | None = None
    doubt: str = ""


def said_by_ticket(tickets: Tickets, found: Mapping[str, str]) -> dict[str, str]:
    """Return field of the form -> what the ticket says there; *found* is field of the ticket -> text."""
    said = {}
    for name, source in tickets.fields.items():
        text = found.get(source, "").strip()[:_LONGEST]
        if text:
            choices = {given.casefold(): meant for given, meant in tickets.values.get(name, {}).items()}
            said[name] = choices.get(text.casefold(), text)
    return said


def form_with_ticket(form: Mapping[str, Any], said: Mapping[str, str]) -> dict[str, Any]:
    """Return *form* with its empty fields filled from the ticket.

    :raises InvalidInput: form and ticket contradict each other; every such field is named
    """
    filled, faults = dict(form), []
    for name, text in said.items():
        given = form.get(name)
        default = FIELD_OF[name].default if name in FIELD_OF else None
        if given is None or (isinstance(given, str) and given.strip() in ("", default)):
            filled[name] = text
        elif not isinstance(given, str) or given.strip() != text:
            faults.append(f"{name}: the form says {str(given)[:60]!a}, the ticket {text[:60]!a}; empty the field, or "
                          "mend the ticket")
    if faults:
        raise InvalidInput(f"form and ticket contradict each other: {' | '.join(faults)}")
    return filled


def tickets_of(plan: Plan) -> Tickets:
    """Return what *plan* says of tickets, which is what its approvers signed.

    :raises GateRefused: it says nothing
    """
    setting = plan.settings.get("tickets")
    if setting is None:
        raise GateRefused(f"{plan.release}: the plan names no ticket system, so no ticket can carry it")
    return Tickets.model_validate(setting)


def vote_in_ticket(answer: TicketAnswer, people: Mapping[str, str], at: datetime) -> Vote:
    """Return *answer* as the vote of the person whose account it is; *at* is when it was seen.

    An unknown account gets a name that nobody can have as a log-in, whatever it calls itself.
    """
    person = people.get(answer.account) or f"{answer.system}:{answer.account}"
    silent = f"rejected in ticket {answer.ticket}, which says why" if answer.choice == "reject" else ""
    return Vote(person=person, choice=answer.choice, at=at, reason=answer.reason.strip()[:2000] or silent)


def doubt_in(answer: TicketAnswer, vote: Vote) -> str:
    """Return why *answer* must not be cast as *vote*; empty if it may."""
    if not answer.doubt:
        return ""
    return f"the answer of {vote.person} in {answer.ticket} does not count: {answer.doubt}; let them answer themselves"
