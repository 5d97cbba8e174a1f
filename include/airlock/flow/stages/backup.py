"""Stages ``take``, ``prove``, ``discard`` and ``restore_set``: no proof, no deploy. Knows no Airflow."""

from __future__ import annotations

import logging

from airlock.backup.run import prove as run_proof
from airlock.backup.run import restore_set as measure
from airlock.backup.run import token_for
from airlock.errors import GateRefused, ProofFailed
from airlock.flow.stages.release import Release
from airlock.models import Handle, Progress, Proof, RecoveryPoint, Resource

log = logging.getLogger(__name__)


def label(resource: Resource) -> str:
    """Return ``kind.resource``, the subject of this resource's records."""
    return f"{resource.kind}.{resource.name}"


def start(release: Release, resource: Resource) -> Handle:
    """Begin the backup; the same handle again for the same release and resource.

    What is on record was taken: a task that is cleared or tried again takes no second backup, whatever became of the
    first one in the store. A damaged one is for its proof to find.
    """
    release.permitted(f"backup of {label(resource)}")
    token = token_for(release.id, label(resource))
    recorded = release.recovery_point(resource)
    if recorded is not None:
        log.info("%s: recovery point %s is on record, nothing is taken again", label(resource), recorded.id)
        return Handle(token=token, started_at=recorded.taken_at)
    driver = release.driver(resource)
    planned = driver.plan()
    log.info(
        "%s: driver %s takes %s bytes to %s",
        label(resource),
        resource.driver,
        planned.get("size_bytes"),
        planned.get("store"),
    )
    return driver.start(token)


def poll(release: Release, resource: Resource, handle: Handle) -> Progress:
    """Return how far the backup is."""
    if release.recovery_point(resource) is not None:
        return Progress(done=True, message="is on record")
    progress = release.driver(resource).poll(handle)
    if not progress.done:
        log.info(
            "%s: %g of %s %s %s",
            label(resource),
            progress.completed,
            progress.total or "?",
            progress.unit,
            progress.message,
        )
    return progress


def finish(release: Release, resource: Resource, handle: Handle) -> RecoveryPoint:
    """Finish the backup and record its recovery point."""
    point = release.recovery_point(resource)
    if point is None:
        point = release.driver(resource).finish(handle)
        release.record("recovery_point", label(resource), point=point.model_dump(mode="json"))
    log.info("%s: next: prove recovery point %s by restoring it", label(resource), point.id)
    return point


def prove(release: Release, resource: Resource) -> Proof:
    """Restore the backup into its scratch place and compare.

    :raises ProofFailed: the backup is no proof; names kind, resource and reason
    """
    release.permitted(f"restore test of {label(resource)}")
    point = release.recovery_point(resource)
    if point is None:
        raise ProofFailed(f"{label(resource)}: there is no recovery point of this release; clear its task take")
    place = release.scratch(resource)
    driver = release.driver(resource)
    proof = run_proof(driver, point, place)
    release.record("proof", label(resource), proof=proof.model_dump(mode="json"))
    for check in proof.checks:
        if check.ok:
            log.debug("ok   %s", check.name)
        else:
            log.error("FAIL %s: expected %s, found %s", check.name, _short(check.expected), _short(check.found))
    if not proof.ok:
        so_far = ("traffic is back all the same; mend the cause, then take a backup" if release.plan.traffic_first else
                  "nothing was deployed; mend the cause, then release again")
        raise ProofFailed(f"{proof.reason}; {so_far}")
    log.info(
        "%s: proved in %s: %d checks, restored in %.1f s; next: backup.restore_set waits for the other proofs",
        label(resource),
        proof.place,
        len(proof.checks),
        proof.restore_seconds,
    )
    return proof


def discard(release: Release, resources: tuple[Resource, ...]) -> None:
    """Remove the scratch places of *resources*; succeeds when nothing is there."""
    for resource in resources:
        place = release.scratch(resource)
        release.driver(resource).discard(place)
        log.info("%s: scratch place %s is gone", label(resource), place.name)


def restore_set(release: Release) -> None:
    """Check that every resource of the plan has a proof, and measure how far apart in time the recovery points are.

    :raises GateRefused: a proof is missing or failed, or the recovery points are too far apart
    """
    release.permitted("gate restore_set")
    points, slowest = _proved(release)
    skew = measure(points).skew_seconds
    limit = release.environment.backup.maximum_skew_seconds
    if skew > limit:
        raise GateRefused(
            f"{release.id}: the recovery points are {skew:.0f} s apart, more than {limit:.0f} s "
            "(backup.maximum_skew_seconds); release again, which takes new backups"
        )
    release.record(
        "restore_set", points=[point.id for point in points], skew_seconds=skew, slowest_restore_seconds=slowest
    )
    log.info(
        "%d recovery points, all proved, %.0f s apart, slowest restore %.1f s; next: %s",
        len(points),
        skew,
        slowest,
        "seal the evidence" if release.plan.traffic_first else "migrate the database, if need be",
    )


def passed(release: Release) -> None:
    """Check that the gate was passed by the very backups that this release has now, of every resource of its plan.

    There is none before the traffic of a return that changes no data: its backups follow.

    :raises GateRefused: it was not
    """
    if release.plan.traffic_first:
        return
    points = (release.latest("restore_set") or {}).get("points", ())
    missing = [
        label(resource)
        for resource in release.plan.resources
        if (point := release.recovery_point(resource)) is None or point.id not in points
    ]
    if missing or not points:
        raise GateRefused(
            f"{release.id}: no proof, no deploy: the gate restore_set has not passed"
            f"{' for ' + ', '.join(missing) if missing else ''}; clear the task backup.restore_set"
        )
    _proved(release)  # a backup may have been tested again since, and have failed


def _proved(release: Release) -> tuple[list[RecoveryPoint], float]:
    """Return the recovery point of every resource of the plan, and the slowest restore in seconds."""
    points: list[RecoveryPoint] = []
    missing: list[str] = []
    slowest = 0.0
    for resource in release.plan.resources:
        point, recorded = release.recovery_point(resource), release.latest("proof", label(resource))
        proof = None if recorded is None else Proof.model_validate(recorded["proof"])
        if point is None:
            missing.append(f"{label(resource)} has no recovery point")
        elif point.resource != resource:
            missing.append(f"{label(resource)} has only a recovery point from before its settings changed")
        elif proof is None or proof.recovery_point != point.id:
            missing.append(f"{label(resource)} has no proof")
        elif not proof.ok:
            missing.append(f"{label(resource)}: {proof.reason}")
        else:
            points.append(point)
            slowest = max(slowest, proof.restore_seconds)
    if missing:
        raise GateRefused(f"{release.id}: no proof, no deploy: {'; '.join(missing)}")
    return points, slowest


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 120 else f"{text[:117]}..."
