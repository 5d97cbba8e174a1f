"""Every look at the canary and at the bake: its verdict, and what followed from it, computed again from the records."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from airlock.analysis.judge import judge
from airlock.deploy.check import together
from airlock.deploy.progress import CanaryProgress, Decision, Look, Move, after_bake_look, after_look, look_policy
from airlock.errors import AirlockError
from airlock.models import AnalysisPolicy, Answer, Checkpoint, Plan, Sample, TargetState, Verdict
from airlock.recompute import checks
from airlock.recompute.history import UNUSABLE, Entry, History, Recomputed, again, compared

BAKE = "bake"
_UNJUDGED = (Answer.INCONCLUSIVE, Answer.ERROR)


def decisions(history: History) -> Iterator[Recomputed]:
    """Yield every verdict, every move after one, and how canary and bake ended."""
    for entry in history.of("verdict"):
        subject, verdict = entry.record.subject, entry.data.get("verdict")
        answer = str(verdict.get("answer")) if isinstance(verdict, dict) else ""
        yield again(history, entry, f"verdict {subject}", answer, _verdict)
        move = str(entry.data.get("move"))
        yield again(history, entry, f"move {subject}", move, _bake if subject == BAKE else _move)
    for entry in history.of("canary"):
        yield again(history, entry, "canary", str(entry.data.get("move")), _canary)
    for entry in history.of("baked"):
        yield again(history, entry, "baked", "", _baked)


def _verdict(history: History, entry: Entry) -> tuple[str, ...]:
    plan = history.plan(entry)
    policy = look_policy(plan.rollout, plan.analysis)
    checked = entry.record.subject == BAKE and bool(plan.checks.bake)
    field = "judged" if checked else "verdict"
    recorded = Verdict.model_validate(entry.data[field])
    besides = _checked(history, entry, recorded) if checked else compared({"judged": entry.data["judged"]},
                                                                          {"judged": None})
    if entry.data["sample"] is None:
        if recorded.answer in _UNJUDGED:
            return (*_policy(entry, policy), *besides)
        return (f"{field}.answer: {recorded.answer} -> inconclusive or error, because there was no sample", *besides)
    sample = Sample.model_validate(entry.data["sample"])
    computed = judge(policy, sample).model_dump(mode="json")
    arms = {"canary_share": sample.canary_share, "stable": sample.stable.version, "canary": sample.canary.version}
    found = compared({"sample": arms}, {"sample": _expected_arms(plan, entry)})
    return (*found, *_policy(entry, policy), *compared({field: entry.data[field]}, {field: computed}), *besides)


def _checked(history: History, entry: Entry, judged: Verdict) -> tuple[str, ...]:
    """Return what differs of a look at the bake, whose verdict is the gravest of the numbers and of the checks."""
    made = history.needed("checks", entry, Checkpoint.BAKE)
    verdict = together((judged, checks.made_again(history, made)))
    return compared({"verdict": entry.data["verdict"], "look of the checks": made.data["look"]},
                    {"verdict": verdict.model_dump(mode="json"), "look of the checks": entry.data["look"]})


def _expected_arms(plan: Plan, entry: Entry) -> dict[str, Any]:
    share = 1.0 if entry.record.subject == BAKE else plan.rollout.steps[_progress(entry).step].percent / 100
    return {"canary_share": share, "stable": plan.current_version, "canary": plan.artifact.version}


def _policy(entry: Entry, policy: AnalysisPolicy) -> tuple[str, ...]:
    return compared({"policy": entry.data["policy"]}, {"policy": policy.model_dump(mode="json")})


def _progress(entry: Entry) -> CanaryProgress:
    return CanaryProgress.model_validate(entry.data["progress"])


def _decision(history: History, entry: Entry) -> Decision:
    return history.once("decision", entry, lambda one: _decided(history.plan(one), one))


def _decided(plan: Plan, entry: Entry) -> Decision:
    data = entry.data
    look = Look(at=entry.moment(), verdict=data["verdict"], sample=data["sample"], lost=data["lost"])
    rule = after_bake_look if entry.record.subject == BAKE else after_look
    return rule(plan.rollout, plan.analysis, _progress(entry), look)


def _move(history: History, entry: Entry) -> tuple[str, ...]:
    progress = _progress(entry)
    percent = history.plan(entry).rollout.steps[progress.step].percent
    shifted = history.needed("act", entry, "shift")
    return (*_followed(history, entry, f"step-{progress.step + 1}", percent),
            *compared({"shifted to": shifted.data["percent"]}, {"shifted to": percent}))


def _bake(history: History, entry: Entry) -> tuple[str, ...]:
    return _followed(history, entry, BAKE, 100)


def _followed(history: History, entry: Entry, subject: str, percent: int) -> tuple[str, ...]:
    decision, progress = _decision(history, entry), _progress(entry)
    computed = {"subject": subject, "percent": percent, "look": progress.looks + 1, "move": decision.move.value,
                "why": decision.why}
    found = compared({**entry.data, "subject": entry.record.subject}, computed)
    return (*found, *_continued(history, entry, progress))


def _continued(history: History, entry: Entry, progress: CanaryProgress) -> tuple[str, ...]:
    """Check that the counts before this look are those that an earlier look left: a retry may repeat one, no more."""
    counts = _counts(progress)
    first = _reached(history, entry.record.subject == BAKE).get(counts, entry.position)
    if counts == _counts(CanaryProgress()) or first < entry.position:
        return ()
    return (f"progress: step {progress.step + 1} after {progress.looks} looks, {progress.unanswered} of them without "
            "an answer -> no earlier look on record leads there",)


def _reached(history: History, bake: bool) -> Mapping[tuple[object, ...], int]:
    """Return the counts that looks left, and the position of the first that left them."""
    return history.once(f"reached {bake}", history.entries[0], lambda _: _counted(history, bake))


def _counted(history: History, bake: bool) -> dict[tuple[object, ...], int]:
    found: dict[tuple[object, ...], int] = {}
    for look in history.of("verdict"):
        if (look.record.subject == BAKE) == bake:
            try:
                found.setdefault(_counts(_decision(history, look).progress), look.position)
            except (AirlockError, *UNUSABLE):
                continue  # it is named where it is computed again
    return found


def _counts(progress: CanaryProgress) -> tuple[object, ...]:
    """What the rules count. An observation that begins has watched for no time, as one that never began."""
    watched = progress.watch.model_dump_json() if progress.watch and progress.watch.seconds else ""
    return (progress.step, progress.looks, progress.unanswered, progress.held, progress.beginnings, watched)


def _canary(history: History, entry: Entry) -> tuple[str, ...]:
    look = next((one for one in reversed(history.earlier("verdict", entry)) if one.record.subject != BAKE), None)
    if look is None:
        return ("move: there is no look on record",)
    newest = look.data
    move = newest["move"] if newest["move"] in (Move.PASS, Move.ROLL_BACK) else "none: the canary was not over"
    return compared(entry.data, {"move": move, "why": newest["why"]})


def _baked(history: History, entry: Entry) -> tuple[str, ...]:
    newest, plan = history.needed("verdict", entry, BAKE), history.plan(entry)
    state, version = TargetState.model_validate(entry.data["state"]), plan.artifact.version
    others = sorted(one.version for one in state.versions if one.version != version and one.running)
    digests = sorted({one.digest for one in state.versions if one.version == version and one.digest})
    return compared(
        {"move": newest.data["move"], "weight": state.weight_of(version), "others": others, "stable": state.stable,
         "digests": digests, "running": any(one.version == version and one.running for one in state.versions)},
        {"move": Move.PASS.value, "weight": 100, "others": [], "stable": version,
         "digests": [plan.artifact.installed_digest] if digests else [], "running": True},
    )  # fmt: skip
