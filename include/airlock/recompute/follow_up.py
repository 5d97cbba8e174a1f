"""What people decided after a release was sealed: votes, the approval afterwards and the review, computed again from
the evidence of the follow-up."""

from __future__ import annotations

from collections.abc import Iterator

from airlock.change.approval import check_vote, eligible, tally
from airlock.change.debt import Debt
from airlock.change.review import checked
from airlock.errors import PermanentError
from airlock.models import Vote
from airlock.recompute.history import Entry, History, Recomputed, absences_of, again, compared


def decisions(history: History) -> Iterator[Recomputed]:
    """Yield every decision of a follow-up; none for a release."""
    for kind, decision, compute in (
        ("retro_request", "who may approve afterwards", _asked), ("retro_vote", "vote counts afterwards", _vote),
        ("retro_vote_refused", "vote refused afterwards", _refused),
        ("retro_tally", "votes counted afterwards", _tally),
        ("retro_approved", "approved afterwards", _approved), ("retro_rejected", "rejected afterwards", _rejected),
        ("review", "review complete", _review),
    ):
        for entry in history.of(kind):
            yield again(history, entry, decision, entry.record.subject, compute)


def _owed(history: History, entry: Entry) -> tuple[Debt, str]:
    found = history.needed("owed", entry).data
    return Debt.model_validate(found["debt"]), str(found["requester"])


def _asked(history: History, entry: Entry) -> tuple[str, ...]:
    debt, requester = _owed(history, entry)
    return compared(entry.data, {"eligible": list(eligible(debt.approvals, requester))})


def _vote(history: History, entry: Entry) -> tuple[str, ...]:
    debt, requester = _owed(history, entry)
    vote = Vote.model_validate(entry.data["vote"])
    check_vote(debt.approvals, vote, requester, absences_of(entry))
    asked = history.needed("retro_request", entry, entry.data["request"])
    return compared({**entry.data, "person": entry.record.subject},
                    {"request": asked.record.subject, "person": vote.person})


def _refused(history: History, entry: Entry) -> tuple[str, ...]:
    debt, requester = _owed(history, entry)
    if entry.data["request"] is None:
        return ()
    try:
        check_vote(debt.approvals, Vote.model_validate(entry.data["vote"]), requester, absences_of(entry))
    except PermanentError as error:
        return compared(entry.data, {"why": str(error)})
    return ("why: the vote counts by the rules on record",)


def _votes(history: History, entry: Entry, request: str) -> list[Vote]:
    return [Vote.model_validate(one.data["vote"]) for one in history.earlier("retro_vote", entry)
            if one.data["request"] == request]


def _tally(history: History, entry: Entry) -> tuple[str, ...]:
    debt, requester = _owed(history, entry)
    votes = _votes(history, entry, entry.record.subject)
    result = tally(debt.approvals, votes, requester)
    return compared(entry.data, {"counted": [vote.person for vote in votes], "decided": result.decided,
                                 "sentence": result.sentence})


def _approved(history: History, entry: Entry) -> tuple[str, ...]:
    debt, requester = _owed(history, entry)
    votes = _votes(history, entry, entry.data["request"])
    result = tally(debt.approvals, votes, requester)
    last = history.needed("retro_vote", entry, None)
    return compared({**entry.data, "decided": "approved"}, {
        "decided": result.decided, "sentence": result.sentence, "late": last.at > debt.due_at,
        "seats": {group: list(people) for group, people in result.seats.items()},
    })


def _rejected(history: History, entry: Entry) -> tuple[str, ...]:
    debt, requester = _owed(history, entry)
    result = tally(debt.approvals, _votes(history, entry, entry.record.subject), requester)
    return compared({**entry.data, "decided": "rejected"}, {"decided": result.decided, "why": result.sentence})


def _review(history: History, entry: Entry) -> tuple[str, ...]:
    history.needed("owed", entry)
    answers = checked(entry.data["answers"], entry.data["releases"], entry.record.release)
    return compared(entry.data, {"answers": answers})
