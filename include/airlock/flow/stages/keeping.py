"""What is done for backups outside releases: take and prove on a schedule, drill older ones, expire by policy.

Knows no Airflow. Backups, restores and proofs are those of releases, in the same store, by the same drivers.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Sequence
from datetime import datetime

from airlock.backup.run import open_driver, scratch_place, token_for
from airlock.backup.run import prove as run_proof
from airlock.errors import AirlockError, GateRefused, PermanentError, ProofFailed, StillNeeded
from airlock.flow.stages.backup import label
from airlock.flow.stages.outside_releases import StreamRun
from airlock.flow.stages.recovery_points import PointOnRecord, points_on_record
from airlock.models import Handle, Outcome, Progress, Proof, RecoveryPoint, Resource
from airlock.schedule.drill import DrillPoint, chosen
from airlock.schedule.ending import ended
from airlock.schedule.retention import KeptPoint, fates
from airlock.service.model import DrillPolicy, RetentionPolicy

log = logging.getLogger(__name__)
CHOICE, DRILLED, BACKUP = "drill", "drilled", "backup"


# --- scheduled backups ------------------------------------------------------------------------------------------------


def begin(run: StreamRun) -> None:
    """Record which resources this backup is of, so that one that is left out is noticed."""
    if run.latest(BACKUP) is None:
        run.record(BACKUP, resources=[label(resource) for resource in run.environment.resources])


def look(run: StreamRun, resource: Resource) -> tuple[Handle, Progress]:
    """Begin the backup of *resource*, or find the one that was begun, and return how far it is."""
    driver = run.driver(resource)
    handle = driver.start(token_for(run.id, label(resource)))
    return handle, driver.poll(handle)


def take(run: StreamRun, resource: Resource, handle: Handle) -> None:
    """Finish the backup, record it, and restore it as a test.

    :raises ProofFailed: the backup is no proof
    """
    point = run.recovery_point(resource)
    if point is None:
        point = run.driver(resource).finish(handle)
        run.record("recovery_point", label(resource), point=point.model_dump(mode="json"))
    log.info("%s: recovery point %s is on record; next: prove it by restoring it", label(resource), point.id)
    _prove(run, resource, point, "proof", label(resource))


def _prove(run: StreamRun, resource: Resource, point: RecoveryPoint, kind: str, subject: str) -> None:
    driver = run.driver(resource)
    place = scratch_place(run.environment.backup.scratch, run.id, point.id)
    try:
        proof = run_proof(driver, point, place)
    finally:
        driver.discard(place)
    run.record(kind, subject, proof=proof.model_dump(mode="json"))
    if not proof.ok:
        raise ProofFailed(proof.reason)
    log.info("%s: %s is proved: %d checks, restored in %.1f s", label(resource), point.id, len(proof.checks),
             proof.restore_seconds)


# --- drills -----------------------------------------------------------------------------------------------------------


def choose(run: StreamRun, policy: DrillPolicy) -> tuple[str, ...]:
    """Choose the recovery points that this drill restores, and record the choice with its seed; the same again.

    :raises GateRefused: a declared resource has no recovery point at all: there is nothing to come back from
    """
    recorded = run.latest(CHOICE)
    if recorded is not None:
        return tuple(recorded["chosen"])
    declared = {label(resource) for resource in run.environment.resources}
    points = [DrillPoint(id=one.point.id, resource=one.resource, taken_at=one.point.taken_at)
              for one in points_on_record(run) if one.resource in declared and not one.open_change]
    found = chosen(points, policy.newest, policy.random, run.id)
    run.record(CHOICE, seed=run.id, newest=policy.newest, random=policy.random, chosen=list(found),
               points=[one.model_dump(mode="json") for one in points])
    log.info("drill of %d of %d recovery points, older ones by lot with the seed %s", len(found), len(points), run.id)
    missing = sorted(declared - {one.resource for one in points})
    if missing:
        raise GateRefused(f"{run.id}: there is no recovery point of {', '.join(missing)}: release, or trigger the "
                          "scheduled backup, so that there is something to come back from")
    return found


def drill(run: StreamRun, resource: Resource) -> None:
    """Restore every chosen recovery point of *resource* into a scratch place, and prove it.

    :raises GateRefused: nothing was chosen
    :raises ProofFailed: at least one is no proof; every reason is named
    """
    choice = run.latest(CHOICE)
    if choice is None:
        raise GateRefused(f"{run.id}: no choice of recovery points is on record; clear the task choose")
    mine = {one.point.id: one.point for one in points_on_record(run) if one.resource == label(resource)}
    for identity in choice["chosen"]:
        if identity in mine and run.latest(DRILLED, identity) is None:
            with contextlib.suppress(ProofFailed):  # it is on record; the other points are drilled all the same
                _prove(run, resource, mine[identity], DRILLED, identity)
    proofs = [Proof.model_validate(record.data["proof"]) for record in run.recorded(DRILLED)]
    failed = [proof.reason for proof in proofs if not proof.ok and proof.recovery_point in mine]
    if failed:
        raise ProofFailed(f"the drill of {label(resource)} failed: {'; '.join(failed)}; these backups count as good no "
                          "more: take a new one, then find out what happened to them")


# --- retention --------------------------------------------------------------------------------------------------------


def expire(run: StreamRun, policy: RetentionPolicy, now: datetime, dry_run: bool) -> tuple[str, ...]:
    """Decide on every recovery point on record, record it, and remove what no rule keeps; return the ids removed.

    A try after one that was killed goes on with its decision. A *dry_run* removes nothing.

    :raises PermanentError: some could not be removed; every reason is named
    """
    points = {one.point.id: one for one in points_on_record(run)}
    decided = run.latest("retention")
    if decided is None:
        kept = [_kept(one) for one in points.values()]
        found = fates(policy, kept, now)
        run.record("retention", at=now.isoformat(), policy=policy.model_dump(mode="json"), dry_run=dry_run,
                   points=[one.model_dump(mode="json") for one in kept],
                   fates=[one.model_dump(mode="json") for one in found])
        decided = run.latest("retention") or {}
    for fate in decided["fates"]:
        log.info("%-7s %s: %s", "keep" if fate["keep"] else "expire", fate["id"], fate["why"])
    going = [fate["id"] for fate in decided["fates"] if not fate["keep"]]
    if decided["dry_run"]:
        log.info("dry run: %d of %d recovery points would be removed, nothing was", len(going), len(decided["fates"]))
        return ()
    # A drill may have found the last good one damaged since the decision: then another one has become the last good.
    still = {fate.id for fate in fates(policy, [_kept(one) for one in points.values()], now) if not fate.keep}
    return _remove(run, [points[identity].point for identity in going if identity in still])


def _kept(one: PointOnRecord) -> KeptPoint:
    return KeptPoint(id=one.point.id, resource=one.resource, taken_at=one.point.taken_at, proved=one.proved,
                     open_change=one.open_change)


def _remove(run: StreamRun, points: Sequence[RecoveryPoint]) -> tuple[str, ...]:
    removed, faults = [], []
    for point in sorted(points, key=lambda one: one.taken_at, reverse=True):  # what builds on others goes first
        try:
            open_driver(point.resource, run.store).expire(point)
        except StillNeeded as why:
            log.info("kept until then: %s", why)
            continue
        except PermanentError as error:
            faults.append(f"{point.id}: {error}")
            continue
        run.record("expired", point.id, resource=label(point.resource), taken_at=point.taken_at.isoformat())
        removed.append(point.id)
        log.info("removed %s of %s, taken %s", point.id, label(point.resource), f"{point.taken_at:%d %b %Y %H:%M} UTC")
    if faults:
        raise PermanentError(f"{len(faults)} recovery point(s) could not be removed: {'; '.join(faults)}")
    return tuple(removed)


# --- the end ----------------------------------------------------------------------------------------------------------


def finish(run: StreamRun) -> tuple[Outcome, str]:
    """Remove what is left in scratch places, and seal the run as it ended by what is on record alone; idempotent."""
    recorded = run.latest("outcome")
    if recorded is None:
        _clean(run)
        outcome, why = ended(run.records())
    else:
        outcome, why = Outcome(recorded["outcome"]), str(recorded["why"])
    pack = run.end(outcome, why)
    log.info("%s: %s: %s; evidence sealed in %s", run.id, outcome.upper(), why, pack)
    return outcome, why


def _clean(run: StreamRun) -> None:
    """Remove what restores of a run that was killed left."""
    choice = run.latest(CHOICE)
    for resource in run.environment.resources:
        taken = run.recovery_point(resource)
        given = choice or {"points": (), "chosen": ()}
        points = [one["id"] for one in given["points"]
                  if one["id"] in given["chosen"] and one["resource"] == label(resource)]
        points += [taken.id] if taken else []
        for identity in points:
            try:
                run.driver(resource).discard(scratch_place(run.environment.backup.scratch, run.id, identity))
            except AirlockError as error:
                log.error("%s: the scratch place of %s stays: %s; remove it by hand", label(resource), identity, error)
