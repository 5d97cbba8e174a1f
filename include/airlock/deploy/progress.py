"""What a canary, and the bake after it, does next: pure rules over recorded progress and looks.

Knows no target, no metrics and no Airflow. The life of one step is: shift the traffic, look again and again, move on.
A step passes when data of a healthy canary flowed for its time (see ``watching``) and the newest look passes. Looks
without an answer first *extend* the step, then it is *held*: its share of traffic stays, people are told, and looks are
few, until data flow again or patience has run out; then the release is rolled back. Counters that were reset begin the
observation anew, a few times. All of it is counted in looks, so that it ends whatever a clock says.
"""

from __future__ import annotations

import math
from datetime import datetime
from enum import StrEnum
from typing import Any

from pydantic import AwareDatetime, Field

from airlock.deploy.watching import Watch, begin, credited, flows
from airlock.models import AnalysisPolicy, Answer, Frozen, Rollout, Sample, Verdict


class Move(StrEnum):
    """What to do after a look."""

    OBSERVE = "observe"
    HOLD = "hold"
    BEGIN_AGAIN = "begin again"
    NEXT_STEP = "next step"
    PASS = "pass"  # noqa: S105 - the word of the field, not a password
    ROLL_BACK = "roll back"


class CanaryProgress(Frozen):
    """How far a canary is. Survives JSON, so that a retry goes on from the step that was reached.

    ``mark`` and ``watch`` are there once counting has begun. ``looks``, ``unanswered``, ``held`` and ``beginnings``
    count over the whole step, also when its observation begins anew.
    """

    step: int = 0
    shifted_at: AwareDatetime | None = None
    mark: dict[str, Any] = Field(default_factory=dict)
    watch: Watch | None = None
    looks: int = 0
    unanswered: int = 0
    held: int = 0
    beginnings: int = 0


class Look(Frozen):
    """One look: the verdict, the sample that it is about, if there was one, and whether the counts were lost.

    ``judged``: where checks were made too, what the numbers alone say; the verdict is that of both then.
    """

    at: AwareDatetime
    verdict: Verdict
    sample: Sample | None = None
    lost: bool = False
    judged: Verdict | None = None


class Decision(Frozen):
    """The next move, why, the progress to keep, and how long to wait before the next look."""

    move: Move
    why: str
    progress: CanaryProgress
    wait_seconds: float = 0


def shifted(progress: CanaryProgress, now: datetime) -> CanaryProgress:
    """Return the progress once the traffic of the present step has been shifted."""
    return progress.model_copy(update={"shifted_at": now})


def counting(progress: CanaryProgress, mark: dict[str, Any], now: datetime) -> CanaryProgress:
    """Return the progress once counting has begun at *mark*."""
    return progress.model_copy(update={"mark": mark, "watch": begin(now)})


def look_policy(rollout: Rollout, policy: AnalysisPolicy) -> AnalysisPolicy:
    """Return the policy of one step, or of the bake: the chance of a false alarm is shared out evenly (Bonferroni)."""
    return policy.model_copy(update={"alpha": policy.alpha / (len(rollout.steps) + 1)})


def most_looks(policy: AnalysisPolicy, observe_seconds: float) -> int:
    """Return after how many looks a step ends at the latest, whatever its clock and its source say."""
    planned = 2 * (math.ceil(observe_seconds / policy.look_every_seconds) + 1)
    return (1 + policy.new_beginnings) * (planned + policy.silent_looks) + policy.extend_looks + policy.hold_looks


def after_look(rollout: Rollout, policy: AnalysisPolicy, progress: CanaryProgress, look: Look) -> Decision:
    """Decide what follows from one look at the present step of the canary.

    :raises ValueError: there is a sample although counting never began
    """
    decision = _after(policy, rollout.steps[progress.step].observe_seconds, progress, look)
    following = progress.step + 1
    if decision.move is Move.PASS and following < len(rollout.steps):
        return Decision(move=Move.NEXT_STEP, why=decision.why, progress=CanaryProgress(step=following))
    return decision


def after_bake_look(rollout: Rollout, policy: AnalysisPolicy, progress: CanaryProgress, look: Look) -> Decision:
    """Decide what follows from one look at the promoted version. The bake follows the rules of a step.

    :raises ValueError: there is a sample although counting never began
    """
    return _after(policy, rollout.bake_seconds, progress, look)


def _after(policy: AnalysisPolicy, needed: float, before: CanaryProgress, look: Look) -> Decision:
    if before.watch is None and look.sample is not None:
        raise ValueError("there is a sample although counting never began")
    sentence = look.verdict.sentence
    progress = before.model_copy(update={"looks": before.looks + 1})
    if look.verdict.answer is Answer.FAIL:
        return Decision(move=Move.ROLL_BACK, why=sentence, progress=progress)
    if look.lost:
        return _begin_again(policy, progress, sentence)
    if before.watch is not None:
        watch = credited(policy, before.watch, look.sample, look.at)
        progress = progress.model_copy(update={"watch": watch})
    watched = progress.watch.seconds if progress.watch else 0.0
    if look.verdict.answer is Answer.PASS and look.sample is not None and watched >= needed:
        return Decision(move=Move.PASS, why=sentence, progress=progress)
    if progress.looks >= most_looks(policy, needed):
        why = f"{progress.looks} looks brought only {watched:.0f} of {needed:.0f} s of data: {sentence}"
        return Decision(move=Move.ROLL_BACK, why=why, progress=progress)
    if watched < needed and flows(policy, look.sample):
        why = f"watched for {watched:.0f} of {needed:.0f} s"
        return Decision(move=Move.OBSERVE, why=why, progress=progress, wait_seconds=policy.look_every_seconds)
    return _without_answer(policy, progress, sentence)


def _begin_again(policy: AnalysisPolicy, progress: CanaryProgress, sentence: str) -> Decision:
    """The traffic is shifted anew too: a proxy that restarted has forgotten its weights."""
    if progress.beginnings >= policy.new_beginnings:
        why = f"the counts were lost {progress.beginnings + 1} times, which is never a pass: {sentence}"
        return Decision(move=Move.ROLL_BACK, why=why, progress=progress)
    fresh = CanaryProgress(
        step=progress.step,
        looks=progress.looks,
        unanswered=progress.unanswered,
        held=progress.held,
        beginnings=progress.beginnings + 1,
    )
    why = f"observed anew ({fresh.beginnings} of {policy.new_beginnings}), nothing counted so far is used: {sentence}"
    return Decision(move=Move.BEGIN_AGAIN, why=why, progress=fresh)


def _without_answer(policy: AnalysisPolicy, progress: CanaryProgress, sentence: str) -> Decision:
    if progress.unanswered < policy.extend_looks:
        extended = progress.model_copy(update={"unanswered": progress.unanswered + 1})
        why = f"no answer yet, extended ({extended.unanswered} of {policy.extend_looks} looks): {sentence}"
        return Decision(move=Move.OBSERVE, why=why, progress=extended, wait_seconds=policy.look_every_seconds)
    if progress.held < policy.hold_looks:
        held = progress.model_copy(update={"held": progress.held + 1})
        left = (policy.hold_looks - progress.held) * policy.hold_every_seconds
        why = f"held at its share of traffic, for {left:.0f} s more at most, then rolled back: {sentence}"
        return Decision(move=Move.HOLD, why=why, progress=held, wait_seconds=policy.hold_every_seconds)
    why = f"still no answer after {progress.looks} looks, which is never a pass: {sentence}"
    return Decision(move=Move.ROLL_BACK, why=why, progress=progress)
