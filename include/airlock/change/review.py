"""The post-implementation review: when one is owed, what it asks, and what an answer must hold. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from unicodedata import normalize

from airlock.errors import InvalidInput
from airlock.models import Outcome, Record
from airlock.plain_text import fault_in, visible_length

BLAMED = "caused_by"
"""The question that links an emergency to the release that made it necessary: that one then counts as failed."""


@dataclass(frozen=True)
class Question:
    """One question of the review; *options*: the answers that are possible, none for prose."""

    name: str
    title: str
    description: str
    options: tuple[str, ...] = ()
    shortest: int = 0
    longest: int = 4000


QUESTIONS = (
    Question("what_happened", "What happened?", "What users and operators saw, and when.", shortest=10),
    Question("way_back", "Was the way back as planned?", "Whether the service came back as the plan said.",
             ("as_planned", "with_surprises", "not_used")),
    Question("surprises", "Surprises on the way back", "What was not as planned; empty if nothing."),
    Question("will_change", "What will change?", "What is done so that it does not happen again, and by whom.",
             shortest=10),
    Question(BLAMED, "Caused by", "The release that made this one necessary, by its id, if one did.", longest=128),
)


def owed(outcome: Outcome, change_type: str, by_hand: bool = False) -> str:
    """Return why a release that ended so must be reviewed; empty if it need not be.

    :param by_hand: whether a person took it out of Airflow's hands
    """
    if by_hand:
        return f"a person ended it by hand, outside Airflow: {outcome.replace('_', ' ')}"
    if outcome is Outcome.ROLLED_BACK:
        return "it was rolled back"
    if outcome is Outcome.PROMOTED and change_type in ("emergency", "rollback"):
        return f"it was {'an emergency change' if change_type == 'emergency' else 'a rollback by on-call'}"
    return ""


def checked(answers: Mapping[str, Any], releases: Collection[str], reviewed: str) -> dict[str, str]:
    """Return the *answers* to the review of the release *reviewed*, composed, without empty ones.

    :param releases: the releases that can have been the cause
    :raises InvalidInput: every fault at once
    """
    faults, given = [], {}
    for question in QUESTIONS:
        value = answers.get(question.name)
        text = normalize("NFC", value.replace("\r\n", "\n").strip()) if isinstance(value, str) else ""
        fault = _fault(question, text)
        if fault:
            faults.append(f"{question.title} {fault}")
        elif text:
            given[question.name] = text
    if given.get("way_back") == "with_surprises" and "surprises" not in given:
        faults.append("Surprises on the way back: say what was not as planned")
    cause = given.get(BLAMED)
    if cause is not None and (cause not in releases or cause == reviewed):
        faults.append(f"Caused by: {cause[:80]!a} is no other release of this service environment; give the id of "
                      "one, or leave it empty")
    if faults:
        raise InvalidInput(f"the review of {reviewed} is not complete: " + " | ".join(faults))
    return given


def _fault(question: Question, text: str) -> str:
    if len(text) > question.longest:
        return f"has {len(text)} characters, at most {question.longest} are allowed; shorten it"
    if text and (what := fault_in(text)):
        return f"contains {what}; write plain text"
    if question.options and text not in question.options:
        return f"wants one of {', '.join(question.options)}; choose one"
    if visible_length(text) < question.shortest:
        return f"wants at least {question.shortest} characters; {question.description}"
    return ""


def finished(records: Sequence[Record]) -> tuple[Outcome, str]:
    """Return how the follow-up of a release ended by its own *records*, and a sentence about what was owed."""
    begun = next((record for record in records if record.type == "owed"), None)
    if begun is None:
        return Outcome.FAILED, "nothing was owed"
    kinds = {record.type: record for record in records}
    said, missing = [], []
    for wanted, kind, done, left in (
        (begun.data["debt"], "retro_approved", "it was approved afterwards", "the approval afterwards"),
        (begun.data["review"], "review", "it was reviewed", "the review"),
    ):
        if wanted and kind in kinds:
            said.append(done)
        elif wanted:
            missing.append(left)
    if missing:
        return Outcome.FAILED, f"{' and '.join(missing)} is still owed"
    return Outcome.COMPLETED, " and ".join(said)
