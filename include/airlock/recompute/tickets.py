"""Answers that were given in tickets, and requests that came from one: computed again from the records."""

from __future__ import annotations

from collections.abc import Iterator
from unicodedata import normalize

from airlock.change.ticket import TicketAnswer, doubt_in, tickets_of, vote_in_ticket
from airlock.models import Rfc, Vote
from airlock.recompute.history import Entry, History, Recomputed, again, compared

_TAKEN = ("version", "change_type", "title", "incident", "rollback_plan")
"""Fields of a request that are what its form says, word for word."""


def decisions(history: History) -> Iterator[Recomputed]:
    """Yield every decision about what a ticket said."""
    for entry in history.of("rfc"):
        if isinstance(rfc := entry.data.get("rfc"), dict) and rfc.get("ticket") and "continues" not in entry.data:
            yield again(history, entry, "request from ticket", str(rfc["ticket"]), _request)
    for kind in ("vote", "vote_refused"):
        for entry in history.of(kind):
            if "ticket" in entry.data:
                yield again(history, entry, "answer in ticket", entry.record.subject, _answer)
    for entry in history.of("ticket_doubt"):
        yield again(history, entry, "answer in doubt", entry.record.subject, _doubt)


def _request(history: History, entry: Entry) -> tuple[str, ...]:
    rfc = Rfc.model_validate(entry.data["rfc"])
    read = history.needed("ticket_read", entry, str(rfc.ticket)).data
    said = {name: _words(text) for name, text in read["said"].items() if name in _TAKEN}
    return compared({name: _words(getattr(rfc, name)) for name in said}, said)


def _words(text: object) -> str:
    return " ".join(normalize("NFC", str(text)).split())


def _answer(history: History, entry: Entry) -> tuple[str, ...]:
    answer, vote = TicketAnswer.model_validate(entry.data["ticket"]), Vote.model_validate(entry.data["vote"])
    shown = history.needed("ticket_request", entry, str(entry.data["request"])).data
    plan = history.plan(entry)
    meant = vote_in_ticket(answer, tickets_of(plan).people, vote.at)
    found = compared(
        {"person": vote.person, "choice": vote.choice, "reason": vote.reason, "via": entry.data["via"],
         "ticket": answer.ticket, "shown": shown["plan_digest"], "doubt": answer.doubt},
        {"person": meant.person, "choice": meant.choice, "reason": meant.reason, "via": f"ticket {shown['key']}",
         "ticket": shown["key"], "shown": plan.digest, "doubt": ""},
    )  # fmt: skip
    if answer.id in shown["ignored"]:
        found += (f"ticket: the answer {answer.id} was there before the plan was shown, so it does not count",)
    return found


def _doubt(history: History, entry: Entry) -> tuple[str, ...]:
    answer = TicketAnswer.model_validate(entry.data["ticket"])
    vote = vote_in_ticket(answer, tickets_of(history.plan(entry)).people, entry.at)
    return compared({**entry.data, "person": entry.record.subject},
                    {"why": doubt_in(answer, vote), "person": vote.person})
