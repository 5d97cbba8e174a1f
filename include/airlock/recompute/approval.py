"""Who was asked, each vote, reminders, escalation and the end of an approval: computed again from the records."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from airlock.change.absence import attendance
from airlock.change.approval import check_vote, eligible, rejection, tally
from airlock.change.asking import Asking, asking
from airlock.errors import PermanentError
from airlock.models import ApprovalRule, Plan, Vote
from airlock.recompute.history import Entry, History, Recomputed, absences_of, again, compared


def decisions(history: History) -> Iterator[Recomputed]:
    """Yield every decision about who approves, until when."""
    for entry in history.of("approval_request"):
        yield again(history, entry, "who may vote", _listed(entry, "eligible"), _eligible)
    for entry in history.of("attendance"):
        yield again(history, entry, "approvers absent", str(entry.data.get("code")), _attendance)
    for entry in history.of("vote"):
        yield again(history, entry, "vote counts", entry.record.subject, _vote)
    for entry in history.of("vote_refused"):
        yield again(history, entry, "vote refused", entry.record.subject, _refused)
    for entry in history.of("tally"):
        yield again(history, entry, "votes counted", str(entry.data.get("decided")), _tally)
    for entry in history.of("reminder"):
        yield again(history, entry, "reminder", str(entry.data.get("key")), _reminder)
    for entry in history.of("escalation"):
        yield again(history, entry, "escalation", str(entry.data.get("ended_at")), _escalation)
    for entry in history.of("approval_over"):
        yield again(history, entry, "time to decide is over", str(entry.data.get("stage")), _over)


def seats_in_force(history: History, entry: Entry, plan: Plan) -> tuple[ApprovalRule, ...]:
    """Return the seats that had to be filled when *entry* was written: those of the escalation after it."""
    return plan.approvals if _escalated(history, entry) is None else plan.terms.escalation


def _eligible(history: History, entry: Entry) -> tuple[str, ...]:
    plan = history.plan(entry)
    return compared(entry.data, {"plan_digest": plan.digest,
                                 "eligible": list(eligible(plan.approvals, plan.rfc.requester))})


def _attendance(history: History, entry: Entry) -> tuple[str, ...]:
    plan, now = history.plan(entry), entry.moment()
    rules = _state(history, entry, now).rules
    voted = {vote.person for vote in cast(history, entry)}
    known = [one for one in absences_of(entry) if one.person not in voted]
    seen = attendance(rules, plan.rfc.requester, known, now)
    return compared(entry.data, {"code": seen.code, "sentence": seen.sentence,
                                 "back": [moment.isoformat() for moment in seen.back]})


def _vote(history: History, entry: Entry) -> tuple[str, ...]:
    plan, vote = history.plan(entry), Vote.model_validate(entry.data["vote"])
    state = _state(history, entry, vote.at)
    check_vote(state.rules, vote, plan.rfc.requester, absences_of(entry))
    asked = history.needed("approval_request", entry)
    found = compared({**entry.data, "person": entry.record.subject},
                     {"plan_digest": plan.digest, "request": asked.data["request"], "person": vote.person})
    late = (f"at: {vote.at.isoformat()} is not before the end of the time, {state.ends_at.isoformat()}",)
    return found if vote.at < state.ends_at else (*found, *late)


def _refused(history: History, entry: Entry) -> tuple[str, ...]:
    plan, vote = history.plan(entry), Vote.model_validate(entry.data["vote"])
    state = _state(history, entry, vote.at)
    if vote.at >= state.ends_at:
        return () if "after the time was up" in str(entry.data["why"]) else ("why: it came after the time was up",)
    try:
        check_vote(state.rules, vote, plan.rfc.requester, absences_of(entry))
    except PermanentError as error:
        return compared(entry.data, {"why": str(error)})
    return ("why: the vote counts by the rules on record",)


def _tally(history: History, entry: Entry) -> tuple[str, ...]:
    counted = entry.data.get("counted")
    # What was answered elsewhere in the same moment may be on record before it, and not be among them.
    votes = [vote for vote in cast(history, entry) if isinstance(counted, list) and vote.person in counted]
    rules = _state(history, entry, votes[-1].at).rules if votes else history.plan(entry).approvals
    result = tally(rules, votes, history.plan(entry).rfc.requester)
    return compared(entry.data, {"counted": [vote.person for vote in votes], "decided": result.decided,
                                 "sentence": result.sentence,
                                 "request": history.needed("approval_request", entry).data["request"]})


def _reminder(history: History, entry: Entry) -> tuple[str, ...]:
    state = _state(history, entry, entry.moment())
    due = "none" if state.reminder is None else f"{state.stage}-{state.reminder:g}"
    return compared(entry.data, {"key": due, "ends_at": state.ends_at.isoformat(),
                                 "missing": _missing(history, entry, state)})


def _escalation(history: History, entry: Entry) -> tuple[str, ...]:
    plan, state = history.plan(entry), _state(history, entry, entry.moment())
    found = compared(entry.data, {
        "ended_at": state.ends_at.isoformat(), "missing": _missing(history, entry, state),
        "seats": [rule.model_dump(mode="json") for rule in plan.terms.escalation],
    })
    if not state.over or not state.escalates:
        found += (f"at: the request could not be escalated then; its time ends at {state.ends_at.isoformat()}",)
    return found


def _over(history: History, entry: Entry) -> tuple[str, ...]:
    state = _state(history, entry, entry.moment())
    found = compared(entry.data, {"stage": state.stage})
    if not state.over or state.escalates:
        found += (f"at: the time was not over then; it ends at {state.ends_at.isoformat()}",)
    result = tally(state.rules, cast(history, entry), history.plan(entry).rfc.requester)
    return found if result.decided == "waiting" else (*found, f"the votes on record: {result.decided}")


def _missing(history: History, entry: Entry, state: Asking) -> str:
    return tally(state.rules, cast(history, entry), history.plan(entry).rfc.requester).sentence


def _state(history: History, entry: Entry, now: datetime) -> Asking:
    plan, asked = history.plan(entry), history.needed("approval_request", entry)
    moment = datetime.fromisoformat(asked.data["at"]) if "at" in asked.data else asked.at
    return asking(plan.approvals, plan.terms, moment, _escalated(history, entry), now)


def _escalated(history: History, entry: Entry) -> datetime | None:
    asked = history.newest("approval_request", entry)
    found = history.newest("escalation", entry)
    if asked is None or found is None or found.data["request"] != asked.data["request"]:
        return None
    return found.moment()


def cast(history: History, entry: Entry) -> list[Vote]:
    """Return the votes on the request that was open when *entry* was written."""
    asked = history.needed("approval_request", entry)
    return [history.once("vote", one, _vote_of) for one in history.earlier("vote", entry)
            if one.data["request"] == asked.data["request"]]


def rejected(history: History, entry: Entry) -> str:
    """Return who rejected the release before *entry*, on whatever request: that stays so; empty if nobody did."""
    return rejection(history.once("vote", one, _vote_of) for one in history.earlier("vote", entry))


def _vote_of(entry: Entry) -> Vote:
    return Vote.model_validate(entry.data["vote"])


def _listed(entry: Entry, field: str) -> str:
    value = entry.data.get(field)
    return ", ".join(map(str, value)) if isinstance(value, list) else ""
