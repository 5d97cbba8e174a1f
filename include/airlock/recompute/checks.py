"""The verdicts of checks, made again from what they found and from the options that were approved. Asks no server."""

from __future__ import annotations

from collections.abc import Iterator

from airlock.deploy.check import judged_again, together
from airlock.errors import EvidenceInvalid
from airlock.models import Checkpoint, CheckResult, Verdict
from airlock.recompute.history import Entry, History, Recomputed, again, compared


def decisions(history: History) -> Iterator[Recomputed]:
    """Yield every try of the checks."""
    for entry in history.of("checks"):
        verdict = entry.data.get("verdict")
        answer = str(verdict.get("answer")) if isinstance(verdict, dict) else ""
        yield again(history, entry, f"checks {entry.record.subject}", answer, _tried)


def made_again(history: History, entry: Entry) -> Verdict:
    """Return the verdict of all checks of one try.

    :raises EvidenceInvalid: the checks on record are not those of the plan, or one cannot have found that
    """
    return together(_verdicts(history, entry))


def _verdicts(history: History, entry: Entry) -> list[Verdict]:
    planned = history.plan(entry).checks.at(Checkpoint(entry.record.subject))
    results = [CheckResult.model_validate(one) for one in entry.data["results"]]
    if len(results) != len(planned):
        raise EvidenceInvalid(f"{len(results)} checks are on record, the plan has {len(planned)}")
    return [judged_again(plan, result) for plan, result in zip(planned, results, strict=True)]


def _tried(history: History, entry: Entry) -> tuple[str, ...]:
    verdicts, plan = _verdicts(history, entry), history.plan(entry)
    recorded = [one.get("verdict") for one in entry.data["results"]]
    return (
        *compared({"results": recorded}, {"results": [one.model_dump(mode="json") for one in verdicts]}),
        *compared(entry.data, {"verdict": together(verdicts).model_dump(mode="json"),
                               "version": plan.artifact.version}),
    )
