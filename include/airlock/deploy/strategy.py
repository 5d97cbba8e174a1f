"""What a canary does next: pure rules over recorded progress and verdicts. Knows no target, no metrics and no Airflow.

The life of one step is: shift the traffic, look again and again, move on. A step passes when it has been watched for
its time and the newest look passes. A look without an answer is first *extended*, then the step is *held* (its share
of traffic stays), then the release is rolled back: no data is not good news.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any

from pydantic import AwareDatetime, Field

from airlock.models import AnalysisPolicy, Answer, Frozen, Rollout, Verdict


class Move(StrEnum):
    """What to do after a look."""

    OBSERVE = "observe"
    HOLD = "hold"
    NEXT_STEP = "next step"
    PASS = "pass"  # noqa: S105 - the word of the field, not a password
    ROLL_BACK = "roll back"


class CanaryProgress(Frozen):
    """How far a canary is. Survives JSON, so that a retry goes on from the step that was reached."""

    step: int = 0
    shifted_at: AwareDatetime | None = None
    mark: dict[str, Any] = Field(default_factory=dict)
    looks: int = 0
    unanswered: int = 0


class Decision(Frozen):
    """The next move, why, and the progress to keep."""

    move: Move
    why: str
    progress: CanaryProgress


def begin_step(progress: CanaryProgress, mark: dict[str, Any], now: datetime) -> CanaryProgress:
    """Return the progress once the traffic of the present step has been shifted and counting has begun."""
    return CanaryProgress(step=progress.step, shifted_at=now, mark=mark)


def look_policy(rollout: Rollout, policy: AnalysisPolicy) -> AnalysisPolicy:
    """Return the policy of one step: the chance of a false alarm is shared out evenly over the steps (Bonferroni)."""
    return policy.model_copy(update={"alpha": policy.alpha / max(1, len(rollout.steps))})


def after_look(
    rollout: Rollout, policy: AnalysisPolicy, progress: CanaryProgress, verdict: Verdict, now: datetime
) -> Decision:
    """Decide what follows from one look at the present step.

    :raises ValueError: the step was never shifted
    """
    if progress.shifted_at is None:
        raise ValueError("a step is looked at only after its traffic was shifted")
    step = rollout.steps[progress.step]
    looked = progress.model_copy(update={"looks": progress.looks + 1})
    watched = (now - progress.shifted_at).total_seconds()
    if verdict.answer is Answer.FAIL:
        return Decision(move=Move.ROLL_BACK, why=verdict.sentence, progress=looked)
    if watched < step.observe_seconds:
        return Decision(
            move=Move.OBSERVE, why=f"watched for {watched:.0f} of {step.observe_seconds:.0f} s", progress=looked
        )
    if verdict.answer is Answer.PASS:
        following = looked.step + 1
        if following == len(rollout.steps):
            return Decision(move=Move.PASS, why=verdict.sentence, progress=looked)
        return Decision(move=Move.NEXT_STEP, why=verdict.sentence, progress=CanaryProgress(step=following))
    unanswered = looked.model_copy(update={"unanswered": looked.unanswered + 1})
    if unanswered.unanswered <= policy.extend_looks:
        why = f"no answer yet, extended ({unanswered.unanswered} of {policy.extend_looks}): {verdict.sentence}"
        return Decision(move=Move.OBSERVE, why=why, progress=unanswered)
    held = unanswered.unanswered - policy.extend_looks
    if held <= policy.hold_looks:
        why = f"held at {step.percent} % ({held} of {policy.hold_looks}): {verdict.sentence}"
        return Decision(move=Move.HOLD, why=why, progress=unanswered)
    why = f"still no answer after {unanswered.looks} looks, which is never a pass: {verdict.sentence}"
    return Decision(move=Move.ROLL_BACK, why=why, progress=unanswered)


def bake_over(
    rollout: Rollout, policy: AnalysisPolicy, progress: CanaryProgress, verdict: Verdict, now: datetime
) -> bool:
    """Return whether the bake is over: at once on a failure, in time on a pass, else when patience has run out."""
    if verdict.answer is Answer.FAIL:
        return True
    watched = (now - (progress.shifted_at or now)).total_seconds()
    patience = 0.0 if verdict.answer is Answer.PASS else policy.look_every_seconds * policy.extend_looks
    return watched >= rollout.bake_seconds + patience
