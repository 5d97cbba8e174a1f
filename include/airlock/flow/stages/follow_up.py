"""What is owed after a release was sealed: the approval of an emergency change by its normal seats, and the review.

Level-triggered: looks at the ledgers, so it may run at any time and need not know what happened. What people answer
goes to the stream ``follow_up``, one run for each release, which is sealed when nothing is owed any more. Knows no
Airflow.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from airlock.change import review
from airlock.change.absence import attendance, plain, relevant
from airlock.change.answers import Given
from airlock.change.approval import check_vote, eligible, stands_for, tally
from airlock.change.debt import Debt
from airlock.change.review import BLAMED
from airlock.deploy.landing import BROKEN_GLASS
from airlock.errors import InvalidInput, PermanentError
from airlock.flow.stages.notices import notify
from airlock.flow.stages.outside_releases import StreamRun
from airlock.flow.stages.release import Release
from airlock.models import Absence, Frozen, Outcome, Plan, Rfc, Vote
from airlock.past import debts, ledgers
from airlock.service.find import ServiceEnvironment

log = logging.getLogger(__name__)
NEWEST = 200
"""Releases in which an outstanding review is looked for, newest first. Debts are looked for in all of them."""
ASK_AGAIN = timedelta(hours=24)
"""How long after a follow-up broke off, or was rejected, people are asked anew."""


class Owed(Frozen):
    """What is owed after one release: *review* says why one is, empty for none."""

    release: str
    debt: Debt | None = None
    review: str = ""


def owed(environment: ServiceEnvironment) -> tuple[Owed, ...]:
    """Return everything that is owed in one service environment, the newest release first.

    :raises EvidenceInvalid: a record was altered, or is not signed by a trusted key
    """
    ledger, answers = ledgers.releases(environment), ledgers.stream(environment, ledgers.FOLLOW_UP)
    unpaid = {debt.release: debt for debt in debts.debts_of(environment)}
    found = {release: Owed(release=release, debt=debt) for release, debt in unpaid.items()}
    for release in tuple(reversed(ledger.releases()))[:NEWEST]:
        ended, request = ledger.latest(release, "outcome"), ledger.latest(release, "rfc")
        if ended is None or request is None or not ledger.sealed(release):
            continue
        by_hand = ledger.latest(release, BROKEN_GLASS) is not None
        why = review.owed(Outcome(ended.data["outcome"]), Rfc.model_validate(request.data["rfc"]).change_type, by_hand)
        if why and answers.latest(release, "review") is None:
            found[release] = Owed(release=release, debt=unpaid.get(release), review=why)
    return tuple(sorted(found.values(), key=lambda one: one.release, reverse=True))


def owed_after(environment: ServiceEnvironment, release: str) -> Owed:
    """Return what is owed after *release*; nothing, if there is no such release."""
    return next((one for one in owed(environment) if one.release == release), Owed(release=release))


def may_ask_again(run: StreamRun, now: datetime) -> bool:
    """Return whether enough time has passed since somebody did something in a follow-up that broke off."""
    records = run.records()
    return not records or now - records[-1].at >= ASK_AGAIN


def begin(run: StreamRun, found: Owed) -> None:
    """Put on record, once, what is owed and until when."""
    if run.latest("owed") is None:
        run.record("owed", review=found.review, debt=found.debt.model_dump(mode="json") if found.debt else None,
                   requester=plan_of(run).rfc.requester)


def plan_of(run: StreamRun) -> Plan:
    """Return the plan that was carried out.

    :raises PermitInvalid: there is none
    """
    return Release(run.environment, run.id, run.actor).plan


def asked(run: StreamRun, debt: Debt, now: datetime) -> tuple[str, ...]:
    """Return who may approve afterwards and is there, delegates among them; opens a request, if none is open.

    :raises GateRefused: the seats cannot all be filled without the requester
    """
    requester = plan_of(run).rfc.requester
    people = eligible(debt.approvals, requester)
    if _open_request(run) is None:
        number = len(run.recorded("retro_request")) + 1
        run.record("retro_request", str(number), eligible=list(people), plan_digest=plan_of(run).digest)
    present = attendance(debt.approvals, requester, _absences(run, debt, now), now)
    log.info("%s", present.sentence)
    return present.people


def _absences(run: StreamRun, debt: Debt, now: datetime) -> tuple[Absence, ...]:
    return relevant(run.environment.absences, debt.approvals, now)


def cast(run: StreamRun, debt: Debt, vote: Vote) -> str:
    """Record *vote* and return where the approval stands: approved, rejected or waiting.

    :param vote: without ``stands_for``, which follows from the absences
    """
    requester, request, away = plan_of(run).rfc.requester, _open_request(run), _absences(run, debt, vote.at)
    instead = stands_for(debt.approvals, vote.person, requester, vote.at, away)
    vote = vote.model_copy(update={"stands_for": instead})
    data = {"request": request, "vote": vote.model_dump(mode="json"), "absences": plain(away)}
    try:
        if request is None:
            raise InvalidInput("no request for this approval is open; clear this task to ask again")
        check_vote(debt.approvals, vote, requester, away)
    except PermanentError as error:
        log.warning("the answer of %s does not count: %s; next: ask again", vote.person, error)
        run.record("retro_vote_refused", vote.person, why=str(error), **data)
        return "waiting"
    run.record("retro_vote", vote.person, **data)
    _count(run, debt, request, requester)
    return standing(run, debt)


def answers(run: StreamRun) -> tuple[Given, ...]:
    """Return every answer to the open request, oldest first, those that do not count too."""
    request = _open_request(run)
    found = [Given(Vote.model_validate(one.data["vote"]), str(one.data.get("why", "")))
             for kind in ("retro_vote", "retro_vote_refused") for one in run.recorded(kind)
             if one.data["request"] == request]
    return tuple(sorted(found, key=lambda one: one.vote.at))


def standing(run: StreamRun, debt: Debt) -> str:
    """Return where the open request stands, and record the end of it when it is decided."""
    request, requester = _open_request(run), plan_of(run).rfc.requester
    if request is None:
        return "waiting"
    result = tally(debt.approvals, _votes(run, request), requester)
    log.info("approval afterwards of %s: %s", run.id, result.sentence)
    if result.decided == "approved":
        run.record(debts.PAID, request=request, seats={group: list(people) for group, people in result.seats.items()},
                   sentence=result.sentence, late=run.recorded("retro_vote")[-1].at > debt.due_at)
    elif result.decided == "rejected":
        run.record("retro_rejected", request, why=result.sentence)
        notify(run, "alarm", f"{run.id}: the emergency change was rejected afterwards",
                   f"{result.sentence}; next: undo it by a normal change; the debt stays until the seats approve")
    return result.decided


def _votes(run: StreamRun, request: str) -> list[Vote]:
    return [Vote.model_validate(one.data["vote"]) for one in run.recorded("retro_vote")
            if one.data["request"] == request]


def _count(run: StreamRun, debt: Debt, request: str | None, requester: str) -> None:
    """Record where the request stands now. It names the vote before it, so that whoever removes a vote is noticed at
    once also where no anchor knows of it."""
    votes = _votes(run, str(request))
    result = tally(debt.approvals, votes, requester)
    run.record("retro_tally", str(request), counted=[vote.person for vote in votes], decided=result.decided,
               sentence=result.sentence)


def _open_request(run: StreamRun) -> str | None:
    requests = [record.subject for record in run.recorded("retro_request")]
    over = {record.subject for record in run.recorded("retro_rejected")}
    return requests[-1] if requests and requests[-1] not in over else None


def take_review(run: StreamRun, answers: Mapping[str, Any], person: str) -> dict[str, str]:
    """Record the answers to the review.

    :raises InvalidInput: an answer is missing or wrong
    """
    known = ledgers.releases(run.environment).releases()
    given = review.checked(answers, known, run.id)
    run.record("review", answers=given, person=person, releases=[given[BLAMED]] if BLAMED in given else [])
    log.info("%s: reviewed by %s; next: the follow-up is sealed when nothing else is owed", run.id, person)
    return given


def ended(run: StreamRun) -> str:
    """Return how the release ended, and why, as its own ledger says: for a canary its verdict."""
    found = ledgers.releases(run.environment).latest(run.id, "outcome")
    if found is None:
        return "nothing is on record"
    return f"{str(found.data['outcome']).replace('_', ' ')}: {found.data['why']}"


def brought_back_by(run: StreamRun) -> str:
    """Return who brought the release back by hand, from where and why; empty if nobody did."""
    found = ledgers.releases(run.environment).latest(run.id, BROKEN_GLASS)
    return "" if found is None else str(found.data["message"])


def reviewers(run: StreamRun) -> tuple[str, ...]:
    """Return who may answer the review: whoever is in a group of the service, and the requester."""
    members = {person for group in run.environment.groups.values() for person in group}
    return tuple(sorted(members | {plan_of(run).rfc.requester}))


def close(run: StreamRun) -> str:
    """Seal the follow-up when nothing is owed any more; return what is still missing, empty for nothing."""
    records = run.records()
    if not records or run.ledger.sealed(run.id):
        return ""
    outcome, why = review.finished(records)
    if outcome is not Outcome.COMPLETED:
        return f"{run.id}: {why}"
    log.info("%s: %s; the follow-up is sealed in %s", run.id, why, run.end(outcome, why))
    return ""
