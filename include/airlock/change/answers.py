"""What became of the answers to a request so far, for the people who are asked next. Pure; decides nothing.

Exists because Airflow shows every answer alike, and asks anew after each: whoever answered must read whether it counts,
and everybody who is missing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from airlock.change.approval import tally
from airlock.change.text import escape
from airlock.models import ApprovalRule, Vote
from airlock.same_person import among, may_be_same

_SHOWN = 12
_NAMED = 40


@dataclass(frozen=True)
class Given:
    """One answer on record; ``refused``: why it does not count, empty if it does."""

    vote: Vote
    refused: str = ""


def answers_text(
    rules: Sequence[ApprovalRule], requester: str, given: Sequence[Given], people: Sequence[str], ends_at: datetime
) -> str:
    """Return, as Markdown, who may answer until when, what counts of the answers so far, and who is missing.

    :param given: every answer to this request, oldest first
    :param people: who is asked now
    """
    counted = [one.vote for one in given if not one.refused]
    result = tally(rules, counted, requester)
    seats = {person: group for group, sitting in result.seats.items() for person in sitting}
    silent = [person for person in people if among(person, (vote.person for vote in counted)) is None]
    lines = [
        f"**Only these may answer, until {_at(ends_at)}:** {_names(people)}. From anybody else Airflow takes no "
        "answer, whatever buttons it shows.",
        "",
    ]
    if given:
        lines += ["#### Answers so far", ""]
        hidden = len(given) - _SHOWN
        lines += [f"- {hidden} before these"] if hidden > 0 else []
        lines += [f"- {_told(given, index, seats)}" for index in range(max(0, hidden), len(given))]
        lines += ["", f"**Still missing:** {escape(result.sentence, 2000)}. Not answered yet: "
                  f"{_names(silent) or 'nobody who is asked now'}.", ""]
    return "\n".join(lines) + "\n"


def _told(given: Sequence[Given], index: int, seats: dict[str, str]) -> str:
    vote, refused = given[index].vote, given[index].refused
    said = f"{escape(vote.person)}, {_at(vote.at)}: {vote.choice}"
    if refused:
        return f"{said}. **It does not count:** {escape(refused)}."
    if any(may_be_same(one.vote.person, vote.person) for one in given[:index] if not one.refused):
        return f"{said}. **A second answer fills no second seat:** the first one counts already."
    if vote.person not in seats:
        return f"{said}. It counts, and fills no seat while others sit there."
    instead = f", for {_names(vote.stands_for)}" if vote.stands_for else ""
    return f"{said}. It fills a seat of {escape(seats[vote.person])}{instead}."


def _names(people: Sequence[str]) -> str:
    more = f" and {len(people) - _NAMED} more" if len(people) > _NAMED else ""
    return ", ".join(map(escape, people[:_NAMED])) + more


def _at(moment: datetime) -> str:
    return f"{moment:%a %d %b %Y %H:%M} UTC"
