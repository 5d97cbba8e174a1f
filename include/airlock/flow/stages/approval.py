"""Stage ``approve``: who is asked now, what an answer counts for, reminders, and what happens when time runs out.

Level-triggered: everything follows from the records, so that the task that asks may be killed, tried again or wake up
late, and an answer may come from elsewhere (``cast``). Knows no Airflow and no form.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from airlock.change.absence import ABSENT, Attendance, attendance, plain, relevant
from airlock.change.absence import refusal as absence_refuses
from airlock.change.answers import Given
from airlock.change.approval import check_vote, eligible, stands_for, tally
from airlock.change.asking import Asking, asking
from airlock.change.text import Section
from airlock.errors import GateRefused, PermanentError
from airlock.flow.stages import inspect
from airlock.flow.stages.calendar_gate import calendar_section
from airlock.flow.stages.change import escalated_at, open_request, request_record, votes_of
from airlock.flow.stages.notices import notify
from airlock.flow.stages.release import Release
from airlock.models import Absence, ApprovalRule, Plan, Vote

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Standing:
    """Where the request stands: ``decided`` is approved or waiting; ``look_at`` is when to look again."""

    request: str
    decided: str
    sentence: str
    asking: Asking
    present: Attendance
    look_at: datetime


def opened(release: Release, plan: Plan, now: datetime, sections: Sequence[Section] = ()) -> str:
    """Return the request that votes on *plan* belong to; a new one where people must be asked anew.

    :param sections: what approvers are shown beside a new request's plan
    :raises GateRefused: the seats can never be filled
    """
    request = open_request(release, plan, now)
    if request is None:
        request = uuid.uuid4().hex
        known = relevant(release.environment.absences, _all_rules(plan), now)
        seen = attendance(plan.approvals, plan.rfc.requester, known, now).sentence if known else ""
        away: tuple[Section, ...] = (("Approvers away", (seen,)),) if seen else ()
        release.record(
            "approval_request", request=request, plan_digest=plan.digest, at=now.isoformat(),
            eligible=list(eligible(plan.approvals, plan.rfc.requester)), absences=plain(known),
            sections=[[title, list(lines)] for title, lines in (
                calendar_section(release, now), *inspect.section(release), *sections, *away)],
        )
    return request


def look(release: Release, plan: Plan, now: datetime) -> Standing:
    """Return where the open request stands, after reminding and escalating as the plan's terms say.

    :raises GateRefused: somebody rejected it, nobody decided in time, or too few approvers are there and the policy
        does not wait for them
    """
    while True:
        request, state = _state(release, plan, now)
        votes = votes_of(release, request)
        result = tally(state.rules, votes, plan.rfc.requester)
        if result.decided == "rejected":
            raise GateRefused(f"{result.sentence}; nothing was changed")
        if not state.over or result.decided == "approved":
            break
        if not state.escalates:
            _give_up(release, plan, request, state, now, result.sentence if votes else "")
        _escalate(release, plan, request, state, now, result.sentence)
    voted = {vote.person for vote in votes}
    known = relevant(release.environment.absences, state.rules, now)
    present = attendance(state.rules, plan.rfc.requester, [one for one in known if one.person not in voted], now)
    if result.decided == "waiting":
        _attend(release, plan, request, present, known, now)
        _remind(release, plan, request, state, now, result.sentence)
    moments = [moment for one in known for moment in (one.start, one.end) if moment > now]
    return Standing(request, result.decided, result.sentence, state, present, min((state.look_at, *moments)))


def cast(
    release: Release, plan: Plan, vote: Vote, *, via: str = "Airflow", ticket: Mapping[str, Any] | None = None
) -> str:
    """Record *vote* on the open request, or why it does not count; return that reason, empty if it counts.

    :param vote: without ``stands_for``, which follows from the absences
    :param via: where the answer was given
    :param ticket: the answer as the ticket system told it, if it was given there
    :raises GateRefused: there is no open request
    """
    if open_request(release, plan, vote.at) is None:
        raise GateRefused(f"the answer of {vote.person} belongs to no open request; clear this task to ask again")
    request, state = _state(release, plan, vote.at)
    known = relevant(release.environment.absences, state.rules, vote.at)
    instead = stands_for(state.rules, vote.person, plan.rfc.requester, vote.at, known)
    vote = vote.model_copy(update={"stands_for": instead})
    data = {"request": request, "vote": vote.model_dump(mode="json"), "absences": plain(known), "via": via}
    if ticket is not None:
        data["ticket"] = dict(ticket)
    try:
        check_in_time(state, vote)
        check_vote(state.rules, vote, plan.rfc.requester, known)
    except PermanentError as error:
        log.warning("the answer of %s does not count: %s; next: ask again", vote.person, error)
        release.record("vote_refused", vote.person, why=str(error), **data)
        return str(error)
    release.record("vote", vote.person, plan_digest=plan.digest, **data)
    _count(release, request, state, plan.rfc.requester)
    seat = f" for {', '.join(vote.stands_for)}" if vote.stands_for else ""
    log.info("%s%s answered %s through %s", vote.person, seat, vote.choice, via)
    return ""


def answers(release: Release, request: str) -> tuple[Given, ...]:
    """Return every answer to *request* that is on record, oldest first, those that do not count too."""
    found = [Given(vote) for vote in votes_of(release, request)]
    found += [Given(Vote.model_validate(one.data["vote"]), str(one.data["why"]))
              for one in release.recorded("vote_refused") if one.data["request"] == request]
    return tuple(sorted(found, key=lambda one: one.vote.at))


def _count(release: Release, request: str, state: Asking, requester: str) -> None:
    """Record where the request stands now. It names the vote before it, so that whoever removes a vote is noticed at
    once also where no anchor knows of it."""
    votes = votes_of(release, request)
    result = tally(state.rules, votes, requester)
    release.record("tally", request=request, counted=[vote.person for vote in votes], decided=result.decided,
                   sentence=result.sentence)


def check_in_time(state: Asking, vote: Vote) -> None:
    """Refuse a vote that came after the time of its request.

    :raises GateRefused: it did
    """
    if vote.at >= state.ends_at:
        raise GateRefused(f"{vote.person} answered at {_at(vote.at)}, after the time was up at {_at(state.ends_at)}; "
                          "silence was no consent, and this comes too late")


def sections_of(release: Release, request: str) -> tuple[Section, ...]:
    """Return what approvers are shown beside the plan of *request*."""
    found = request_record(release, request)
    stored = found.data.get("sections", ()) if found else ()
    return tuple((str(title), tuple(map(str, lines))) for title, lines in stored)


def _state(release: Release, plan: Plan, now: datetime) -> tuple[str, Asking]:
    record = request_record(release)
    if record is None:
        raise GateRefused(f"{release.id}: nobody was asked to approve; clear the task change.approve")
    request = str(record.data["request"])
    asked_at = datetime.fromisoformat(record.data["at"]) if "at" in record.data else record.at
    return request, asking(plan.approvals, plan.terms, asked_at, escalated_at(release, request), now)


def _give_up(release: Release, plan: Plan, request: str, state: Asking, now: datetime, missing: str) -> None:
    terms = plan.terms
    hours = terms.timeout_hours + (terms.escalation_hours if terms.escalation else 0)
    who = f"not enough people decided within {hours:g} h ({missing})" if missing else (
        f"nobody decided within {hours:g} h")
    also = ", also not whom it was escalated to" if terms.escalation else ""
    sentence = f"{who}{also}; silence is not consent: clear this task to ask again"
    release.record("approval_over", request=request, at=now.isoformat(), stage=state.stage, sentence=sentence)
    notify(release, "approval_over", f"Approval of {plan.service} {plan.artifact.version}: time is up", sentence)
    raise GateRefused(sentence)


def _escalate(release: Release, plan: Plan, request: str, state: Asking, now: datetime, missing: str) -> None:
    seats = "; ".join(f"{rule.quorum} of {rule.group}" for rule in plan.terms.escalation)
    release.record("escalation", request=request, at=now.isoformat(), ended_at=state.ends_at.isoformat(),
                   missing=missing, seats=[rule.model_dump(mode="json") for rule in plan.terms.escalation])
    log.warning("nobody decided until %s (%s): escalated to %s, who have %g h", _at(state.ends_at), missing, seats,
                plan.terms.escalation_hours)
    title = f"Escalated: approval of {plan.service} {plan.artifact.version} to {plan.environment}"
    notify(release, "approval_escalated", title, f"plan {plan.digest}: {missing}; asked now: {seats}", seats=seats)


def _remind(release: Release, plan: Plan, request: str, state: Asking, now: datetime, missing: str) -> None:
    if state.reminder is None:
        return
    key = f"{state.stage}-{state.reminder:g}"
    if any(one.data["request"] == request and one.data["key"] == key for one in release.recorded("reminder")):
        return
    release.record("reminder", request=request, key=key, at=now.isoformat(), ends_at=state.ends_at.isoformat(),
                   missing=missing)
    log.info("reminder: %s; time is up at %s", missing, _at(state.ends_at))
    title = (f"Reminder: approval of {plan.service} {plan.artifact.version} to {plan.environment} is wanted until "
             f"{_at(state.ends_at)}")
    notify(release, "approval_reminder", title, f"plan {plan.digest}: {missing}")


def _attend(
    release: Release, plan: Plan, request: str, present: Attendance, known: Sequence[Absence], now: datetime
) -> None:
    """Say it once when too few approvers are there.

    :raises GateRefused: and the policy does not wait for them
    """
    if present.code != ABSENT:
        return
    before = release.latest("attendance")
    if before is None or (before["request"], before["sentence"]) != (request, present.sentence):
        release.record("attendance", request=request, at=now.isoformat(), code=present.code, sentence=present.sentence,
                       back=[moment.isoformat() for moment in present.back], absences=plain(known))
        log.warning("%s: %s", present.code, present.sentence)
        notify(release, "approver_absent", f"Too few approvers for {plan.service} {plan.artifact.version}",
                       present.sentence)
    if why := absence_refuses(plan.terms, present):
        raise GateRefused(why)


def _all_rules(plan: Plan) -> tuple[ApprovalRule, ...]:
    return (*plan.approvals, *plan.terms.escalation)


def _at(moment: datetime) -> str:
    return f"{moment:%a %d %b %Y %H:%M} UTC"
