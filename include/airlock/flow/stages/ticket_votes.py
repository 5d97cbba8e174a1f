"""Approval that is decided in a ticket: ask there, and cast the answers of known people as votes.

Knows no Airflow: waiting is the operators' part. What a vote counts for, reminders and time-outs are those of every
approval (``stages.approval``). An answer counts once it is on record, whatever the ticket says later.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from airlock.change.approval import eligible, tally
from airlock.change.conflicts import WAITS
from airlock.change.difference import difference
from airlock.change.ticket import TicketAnswer, doubt_in, tickets_of, vote_in_ticket
from airlock.errors import GateRefused, PermanentError, TemporaryError, TicketGone
from airlock.flow.stages import approval, conflicts
from airlock.flow.stages.change import escalated_at, open_request, votes_of
from airlock.flow.stages.following_release import approved_before
from airlock.flow.stages.notices import notify
from airlock.flow.stages.release import Release
from airlock.flow.stages.tickets import open_ticket, plan_text, system_of
from airlock.itsm.ticket_system import Decision, TicketState, TicketSystem, fingerprint
from airlock.models import Plan, Vote, utc_now

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Seen:
    """What a look at the ticket brought; ``fingerprint`` is of its status and of all answers in it."""

    key: str
    status: str
    closed: bool
    fingerprint: str


def asked(release: Release, plan: Plan) -> str:
    """Return the request for approval of *plan*, which is shown in the ticket.

    Answers that were there before it was shown do not count: nobody who gave them had seen the plan.

    :raises GateRefused: the people whose accounts are known cannot fill the seats
    :raises TemporaryError: the ticket system is out of reach
    """
    _refuse_unknown(plan)
    key, system = open_ticket(release), system_of(release.environment)
    now = utc_now()
    conflicts.register(release, plan, WAITS, now)
    request = open_request(release, plan, now)
    if request is None:
        request = approval.opened(release, plan, now, conflicts.note(release, plan, now))
    if release.latest("ticket_request", request) is None:
        before = approved_before(release)
        changed = difference(before.model_copy(update={"release": plan.release}), plan) if before else ()
        system.note(key, plan_text(plan, changed, approval.sections_of(release, request)))
        ignored = [one.id for one in system.decisions(key) if one.choice != "pending"]
        release.record("ticket_request", request, request=request, plan_digest=plan.digest, key=key, ignored=ignored)
        log.info("plan %s is shown in ticket %s, where people are asked to approve it", plan.digest, key)
    if release.latest("ticket_asked", request) is None:
        _offer(release, system, key, anew=bool(_shown(release, request)["ignored"]))
        release.record("ticket_asked", request, key=key)
    return request


def _offer(release: Release, system: TicketSystem, key: str, *, anew: bool) -> None:
    """Bring the ticket to where people answer; *anew*: by way of its draft, so that they are asked once more."""
    try:
        if anew:
            log.info("%s holds answers to something else than this plan: they do not count, people are asked anew", key)
            system.move(key, TicketState.DRAFT)
        system.move(key, TicketState.APPROVAL)
    except TicketGone:
        raise
    except PermanentError as error:
        log.warning("%s cannot be brought to its approval: %s; next: wait until somebody asks for it there by hand",
                    key, error)
        release.record("ticket_stuck", key, message=str(error))


def carried(release: Release, plan: Plan, request: str) -> bool:
    """Return whether the votes on record carry *plan*, whatever the ticket says."""
    rules = plan.approvals if escalated_at(release, request) is None else plan.terms.escalation
    return tally(rules, votes_of(release, request), plan.rfc.requester).decided == "approved"


def copy_answers(release: Release, plan: Plan, request: str) -> Seen:
    """Cast every answer that is new in the ticket as a vote.

    :raises GateRefused: the ticket is gone
    :raises TemporaryError: the ticket system is out of reach
    """
    system, shown = system_of(release.environment), _shown(release, request)
    key = str(shown["key"])
    try:
        ticket, decisions = system.read(key), system.decisions(key)
    except TicketGone as error:
        raise GateRefused(f"the ticket that was to be approved is gone: {error}; nothing was changed; clear this task "
                          "to ask again once it is back, or trigger a new run") from None
    known = {*shown["ignored"], *_cast_before(release, request)}
    for decision in decisions:
        if decision.choice != "pending" and decision.id not in known:
            refused = _cast(release, plan, request, key, decision)
            if refused:
                _tell(system, key, refused)
    return Seen(key, ticket.status, ticket.closed, fingerprint(ticket, decisions))


def _tell(system: TicketSystem, key: str, why: str) -> None:
    """Say in the ticket that an answer does not count, because there it looks as if it did."""
    try:
        system.note(key, f"This answer does not count: {why}.")
    except TemporaryError as error:
        log.warning("%s could not be told that an answer does not count: %s", key, error)


def _cast(release: Release, plan: Plan, request: str, key: str, decision: Decision) -> str:
    """Cast *decision* as a vote; return why it does not count, empty if it does."""
    tickets = tickets_of(plan)
    answer = TicketAnswer(system=tickets.name, ticket=key, **decision.model_dump())
    vote, source = vote_in_ticket(answer, tickets.people, utc_now()), answer.model_dump(mode="json")
    if doubt := doubt_in(answer, vote):
        log.warning("%s", doubt)
        release.record("ticket_doubt", vote.person, request=request, ticket=source, why=doubt)
        return doubt
    refused = approval.cast(release, plan, vote, via=f"ticket {key}", ticket=source)
    if not refused:
        notify(release, "vote", f"{vote.person} answered {vote.choice} in {key}", vote.reason)
    return refused


def _cast_before(release: Release, request: str) -> Sequence[str]:
    records = [one for kind in ("vote", "vote_refused", "ticket_doubt") for one in release.recorded(kind)]
    cast = [one.data["ticket"] for one in records if one.data["request"] == request and one.data.get("ticket")]
    return [str(one["id"]) for one in cast]


def refuse_closed(seen: Seen, missing: str) -> None:
    """Refuse to wait for a ticket that people ended.

    :raises GateRefused: it is closed
    """
    if seen.closed:
        raise GateRefused(f"ticket {seen.key} was closed as {seen.status!r} before the plan was approved: {missing}; "
                          "nothing was changed; reopen it and clear this task to ask again")


def _refuse_unknown(plan: Plan) -> None:
    """Refuse to ask where those who have an account in the ticket system cannot fill the seats.

    :raises GateRefused: they cannot
    """
    known = set(tickets_of(plan).people.values())
    able = [Vote(person=person, choice="approve", at=utc_now())
            for person in eligible(plan.approvals, plan.rfc.requester) if person in known]
    result = tally(plan.approvals, able, plan.rfc.requester)
    if result.decided != "approved":
        raise GateRefused(f"the approval cannot be given in tickets: with the accounts in tickets.people, "
                          f"{result.sentence}; add the accounts of more members, or decide in Airflow")


def _shown(release: Release, request: str) -> Mapping[str, Any]:
    shown = release.latest("ticket_request", request)
    if shown is None:
        raise GateRefused(f"{release.id}: the plan was not shown in a ticket; clear the task change.approve")
    return shown
