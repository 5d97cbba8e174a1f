"""Stages ``stage``, ``validate``, ``decide`` and ``promote``, and the acts of ``canary`` and ``bake``, which are judged
in ``observe``. Knows no Airflow: waiting is the operators' part.

Every act on the target is announced in the ledger before it is done, under a permit that is checked at that moment.
"""

from __future__ import annotations

import logging

from airlock.deploy.landing import choose
from airlock.deploy.progress import CanaryProgress, Move, shifted
from airlock.deploy.resolution import installable, setting_of
from airlock.deploy.strategy import WHOLE, strategy_of
from airlock.errors import EffectMissing, GateRefused
from airlock.flow.stages import backup, checks, migrate
from airlock.flow.stages.permitted_act import forward
from airlock.flow.stages.release import Release
from airlock.models import Checkpoint, TargetState, utc_now

log = logging.getLogger(__name__)


def show(state: TargetState) -> str:
    """Return the state of a target in one line."""
    return ", ".join(
        f"{v.version} {v.weight} % ({'healthy' if v.healthy else 'running' if v.running else 'stopped'})"
        for v in state.versions
    )


def stage(release: Release) -> None:
    """Start the new version beside the stable one with no traffic, smoke test it, and check it as a preview where the
    strategy says so.

    :raises GateRefused: the restore set is not on record for these backups, a migration is not applied, another version
        became stable, or a smoke check failed
    :raises TemporaryError: a smoke check could not be carried out
    """
    plan = release.plan
    release.permitted("stage")
    backup.passed(release)
    migrate.passed(release)
    migrate.same_stable(release)
    with (installable(setting_of(plan), plan.artifact) as artifact,
          forward(release, "stage", version=plan.artifact.version, digest=plan.artifact.digest)):
        state = release.delivery.stage(artifact)
    checks.require(release, Checkpoint.SMOKE)
    if strategy_of(plan.rollout).previews and not plan.returns:
        checks.require(release, Checkpoint.VALIDATION)
    release.record("staged", state=state.model_dump(mode="json"))
    whole = plan.rollout.steps[0].percent == WHOLE
    traffic = f"all traffic goes to {plan.artifact.version}" if whole else "the canary gets its first traffic"
    log.info("staged: %s; next: %s", show(state), traffic)


def shift(release: Release, progress: CanaryProgress) -> CanaryProgress:
    """Give the canary the traffic of its present step.

    :raises CalendarClosed: the calendar closed in this moment
    :raises GateRefused: a backup is not proved any more, or the version has more traffic than the step gives
    :raises NotReady: the canary is not healthy, so it gets no more traffic
    :raises TemporaryError: a server is down
    """
    plan = release.plan
    backup.passed(release)
    percent = plan.rollout.steps[progress.step].percent
    present = release.delivery.inspect().weight_of(plan.artifact.version)
    if present > percent:
        raise GateRefused(
            f"{plan.artifact.version} has {present} % of the traffic already, more than the {percent} % of step "
            f"{progress.step + 1}: a canary is not begun a second time; next: roll back"
        )
    with forward(release, "shift", version=plan.artifact.version, percent=percent):
        state = release.delivery.shift(plan.artifact.version, percent)
    log.info(
        "%s: %s; next: watch for %.0f s",
        "traffic is back" if plan.returns else f"step {progress.step + 1} of {len(plan.rollout.steps)}",
        show(state),
        plan.rollout.steps[progress.step].observe_seconds,
    )
    return shifted(progress, utc_now())


def validate(release: Release) -> None:
    """Check the release once more before all traffic goes to it: verdict, digest, checks.

    :raises GateRefused: the canary did not pass, or a check failed
    :raises TemporaryError: a check could not be carried out
    :raises EffectMissing: the target runs other content than was approved
    """
    plan = release.plan
    release.permitted("validate")
    canary = release.latest("canary")
    if canary is None or canary["move"] != Move.PASS:
        raise GateRefused(f"{release.id}: {plan.trial} has not passed, whatever state its task shows")
    state = release.delivery.inspect()
    running = {v.digest for v in state.versions if v.version == plan.artifact.version and (v.running or v.weight)}
    if running != {plan.artifact.installed_digest}:
        found = " and ".join(sorted(one or "content without a digest" for one in running)) or "nothing"
        raise EffectMissing(f"the target runs {found} where {plan.artifact.installed_digest} was approved as "
                            f"{plan.artifact.version}: somebody replaced or stopped it; next: roll back")
    checks.require(release, Checkpoint.VALIDATION)
    release.record("validated", state=state.model_dump(mode="json"))
    log.info("validated: %s with the approved digest; next: decide", show(state))


def decide(release: Release) -> str:
    """Choose by what is on record, whatever happened upstream: ``promote``, ``roll_back`` or ``refuse``."""
    choice, why = choose(release.records())
    release.record("decision", choice=choice, why=why)
    log.info("decision: %s, because %s", choice, why)
    return choice


def promote(release: Release) -> TargetState:
    """Give the new version all traffic; the version before stays warm.

    :raises CalendarClosed: the calendar closed in this moment
    """
    plan = release.plan
    backup.passed(release)
    with forward(release, "promote", version=plan.artifact.version):
        state = release.delivery.promote(plan.artifact.version)
    log.info(
        "promoted: %s; next: bake for %.0f s with %s still warm",
        show(state),
        plan.rollout.bake_seconds,
        plan.current_version,
    )
    return state


def retire(release: Release) -> None:
    """End a bake that passed: stop the version before.

    :raises GateRefused: the bake has not passed
    """
    plan = release.plan
    verdict = release.latest("verdict", "bake")
    if verdict is None or verdict["move"] != Move.PASS:
        raise GateRefused(f"{release.id}: the bake has not passed, so {plan.current_version} is not stopped")
    with forward(release, "retire", ends=True, version=plan.current_version):
        state = release.delivery.retire(plan.current_version)
    release.record("baked", state=state.model_dump(mode="json"))
    log.info("%s is stopped; %s; next: seal the evidence", plan.current_version, show(state))
