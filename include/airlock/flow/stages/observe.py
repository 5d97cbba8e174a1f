"""Stages ``canary`` and ``bake``: give traffic, look, judge, record, and say what comes next. Knows no Airflow:
waiting is the operators' part, the rules are the strategy's.
"""

from __future__ import annotations

import logging
from datetime import datetime

from airlock.analysis.judge import judge, unavailable, undecided
from airlock.deploy.check import together
from airlock.deploy.progress import (
    CanaryProgress,
    Decision,
    Look,
    Move,
    after_bake_look,
    after_look,
    counting,
    look_policy,
)
from airlock.deploy.watching import compared
from airlock.errors import CountsLost, NoData, NotReady, TemporaryError
from airlock.flow.stages import checks
from airlock.flow.stages.deploy import shift
from airlock.flow.stages.notices import notify
from airlock.flow.stages.release import Release
from airlock.models import Checkpoint

log = logging.getLogger(__name__)


def canary(release: Release, progress: CanaryProgress, now: datetime) -> Decision:
    """Take one turn of the canary: shift the traffic of its step and begin to count, or look.

    :raises GateRefused: a backup is not proved any more
    :raises TemporaryError: the target is out of reach
    """
    rollout = release.plan.rollout
    percent = rollout.steps[progress.step].percent
    try:
        progress = progress if progress.shifted_at else shift(release, progress)
        found = _watched(release, progress, percent / 100, now)
    except NotReady as error:
        found = Look(at=now, verdict=undecided(f"{error}{_so_far(release, progress)}"))
    if isinstance(found, Decision):
        return found
    decision = after_look(rollout, release.plan.analysis, progress, found)
    _record(release, f"step-{progress.step + 1}", percent, progress, found, decision)
    if decision.move in (Move.PASS, Move.ROLL_BACK):
        release.record("canary", move=decision.move, why=decision.why)
        notify(release, "verdict", f"{_titled(release.plan.trial)}: {decision.move}", decision.why)
    return decision


def bake(release: Release, progress: CanaryProgress, now: datetime) -> Decision:
    """Take one turn of the bake: begin to count, or look at the promoted version, which now has all traffic."""
    found = _watched(release, progress, 1.0, now)
    if isinstance(found, Decision):
        return found
    found = _checked(release, progress, found)
    decision = after_bake_look(release.plan.rollout, release.plan.analysis, progress, found)
    _record(release, "bake", 100, progress, found, decision)
    return decision


def _checked(release: Release, progress: CanaryProgress, look: Look) -> Look:
    """Return *look* with what the checks of the bake say besides: the gravest verdict counts."""
    if not release.plan.checks.bake:
        return look
    checked = checks.carry_out(release, Checkpoint.BAKE, progress.looks + 1)
    return look.model_copy(update={"verdict": together((look.verdict, checked)), "judged": look.verdict})


def _watched(release: Release, progress: CanaryProgress, share: float, now: datetime) -> Look | Decision:
    """Begin to count, where that has not been done, or look; a beginning that fails is a look without an answer."""
    plan, policy = release.plan, look_policy(release.plan.rollout, release.plan.analysis)
    stable, version = plan.current_version, plan.artifact.version
    try:
        if progress.watch is None:
            log.info("metrics: %s", release.metrics.online())
            begun = counting(progress, release.metrics.begin(stable, version, alone=share == 1), now)
            wait = plan.analysis.look_every_seconds
            return Decision(move=Move.OBSERVE, why="counting began", progress=begun, wait_seconds=wait)
        sample = compared(progress.watch, release.metrics.sample(progress.mark, stable, version, share))
    except CountsLost as error:
        return Look(at=now, verdict=undecided(f"{error}{_so_far(release, progress)}"), lost=progress.watch is not None)
    except NoData as error:
        return Look(at=now, verdict=undecided(f"{error}{_so_far(release, progress)}"))
    except TemporaryError as error:
        return Look(at=now, verdict=unavailable(f"{error}{_so_far(release, progress)}"))
    return Look(at=now, verdict=judge(policy, sample), sample=sample)


def _titled(trial: str) -> str:
    words = trial.removeprefix("the ")
    return f"{words[:1].upper()}{words[1:]}"


def _so_far(release: Release, progress: CanaryProgress) -> str:
    """What is missing while there is no sample: how many requests of how many needed, and since when."""
    version, needed = release.plan.artifact.version, release.plan.analysis.minimum_requests
    if progress.watch is None:
        return f"; nothing of {version} has been counted yet, at least {needed} requests are needed"
    seen = progress.watch.canary
    since = seen.newest_at or progress.watch.since
    return (
        f"; {version} had answered {seen.requests} of at least {needed} requests, none seen since {since:%H:%M:%S} UTC"
    )


def _following(decision: Decision, subject: str, sentence: str) -> str:
    """Return what comes after a look, for the log, without what its verdict has said already."""
    why = decision.why.removesuffix(sentence).rstrip(": ")
    passed = "stop the version before" if subject == "bake" else "validate the release"
    return {
        Move.OBSERVE: f"look again, {why}",
        Move.HOLD: f"look again, {why}",
        Move.BEGIN_AGAIN: f"begin to count anew, {why}",
        Move.NEXT_STEP: "the next step",
        Move.PASS: passed,
        Move.ROLL_BACK: f"roll back, {why}".rstrip(", "),
    }[decision.move]


def _record(
    release: Release, subject: str, percent: int, before: CanaryProgress, look: Look, decision: Decision
) -> None:
    """Record a look with everything that it was decided by, log it, and tell people when the release is held."""
    plan = release.plan
    number = before.looks + 1
    release.record(
        "verdict",
        subject,
        at=look.at.isoformat(),
        percent=percent,
        look=number,
        progress=before.model_dump(mode="json", exclude={"mark"}),
        policy=look_policy(plan.rollout, plan.analysis).model_dump(mode="json"),
        sample=None if look.sample is None else look.sample.model_dump(mode="json"),
        lost=look.lost,
        verdict=look.verdict.model_dump(mode="json"),
        judged=None if look.judged is None else look.judged.model_dump(mode="json"),
        move=decision.move,
        why=decision.why,
    )
    log.info(
        "%s (%d %%), look %d: %s: %s; next: %s",
        subject,
        percent,
        number,
        look.verdict.answer.upper(),
        look.verdict.sentence.rstrip("."),
        _following(decision, subject, look.verdict.sentence),
    )
    if decision.move is Move.HOLD:
        log.warning("%s of %s: %s; next: find out why; whoever marks the task as failed sends it back at once", subject,
                    plan.artifact.version, decision.why)
        notify(
            release, "held",
            f"{plan.artifact.version} held in {subject} at {percent} %",
            f"{decision.why} It goes on by itself when it passes. To go back at once, mark the task as failed.",
        )
