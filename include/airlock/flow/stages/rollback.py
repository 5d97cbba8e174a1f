"""Stages ``traffic``, ``data`` and ``verify`` of the rollback. Knows no Airflow.

The way back is part of the approved plan. It needs no permit that is still valid: a release that began always lands.
"""

from __future__ import annotations

import logging

from airlock.backup.run import restore_origin
from airlock.deploy.landing import WAY_BACK, DataWayBack, reason_of, unproven_restores, way_back_needed
from airlock.errors import EffectMissing, PermanentError
from airlock.flow.stages import migrate
from airlock.flow.stages.backup import label
from airlock.flow.stages.deploy import show
from airlock.flow.stages.permitted_act import backward
from airlock.flow.stages.release import Release
from airlock.models import TargetState

log = logging.getLogger(__name__)


def needed(release: Release) -> str:
    """Return why the release must be rolled back; empty when it must not. A damaged record does not hinder it."""
    why = way_back_needed(*release.ledger.read_undamaged(release.id))
    log.info("%s", f"to be rolled back: {why}" if why else "nothing to roll back")
    return why


def traffic(release: Release, why: str) -> TargetState:
    """Give the version before all traffic and stop the new one."""
    plan = release.plan
    with backward(release, WAY_BACK, version=plan.current_version, why=why):
        state = release.delivery.abort(plan.current_version)
    log.info("rolled back because %s; now: %s", why, show(state))
    return state


def data(release: Release) -> tuple[str, ...]:
    """Undo what was migrated, as the plan says, and restore the origin of the resources that it names in
    ``restore_on_rollback``; return the names of the restored ones."""
    plan = release.plan
    wanted = set(plan.backup_policy.get("restore_on_rollback", ()))
    if migrate.take_back(release) is DataWayBack.HUMAN:
        wanted.discard(plan.settings["migrations"]["resource"])
    restored = []
    for resource in plan.resources:
        if resource.name not in wanted:
            continue
        point = release.recovery_point(resource)
        if point is None:
            raise PermanentError(
                f"{resource.kind}.{resource.name}: has no recovery point to go back to; restore it by hand"
            )
        with backward(release, "restore", resource=resource.name, recovery_point=point.id):
            proof = restore_origin(release.driver(resource), point)
            release.record("restored", label(resource), proof=proof.model_dump(mode="json"))
        restored.append(resource.name)
        log.info("%s: origin restored from %s, %d checks agree", label(resource), point.id, len(proof.checks))
    return tuple(restored)


def verify(release: Release) -> None:
    """Look at the target: all traffic on the version before, and no other version running; and at the data: each
    origin that was restored was compared with its backup in that moment, and agreed.

    :raises EffectMissing: it is not so
    """
    stable = release.plan.current_version
    state = release.delivery.inspect()
    others = [v.version for v in state.versions if v.version != stable and v.running]
    if state.weight_of(stable) != 100 or others:
        raise EffectMissing(
            f"after the rollback the target shows {show(state)}; expected {stable} with 100 % and no other "
            "version running; clear the task deploy.rollback.traffic"
        )
    records, _ = release.ledger.read_undamaged(release.id)
    unproven = unproven_restores(records)
    if unproven:
        raise EffectMissing(
            f"after the rollback nothing on record proves that these are what was backed up: {', '.join(unproven)}; "
            "clear the task deploy.rollback.data"
        )
    release.record("rolled_back", state=state.model_dump(mode="json"), why=reason_of(records))
    log.info("verified on the target: %s; next: seal the evidence", show(state))
