"""The steps of a backup in the order in which a release takes them: open, take, restore and prove, gather.

Every step stands alone, so that an operator can run it, be killed, and run it again. Knows drivers and the store; must
not know permits, ledgers or Airflow tasks.
"""

from __future__ import annotations

import hashlib
import logging
import re
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from pydantic import AwareDatetime, Field

from airlock.backup.driver import Driver, Place
from airlock.backup.store import BackupStore
from airlock.errors import AccessRefused, BackupDamaged, Damaged, InvalidInput, PermanentError, ProofFailed
from airlock.models import Check, Frozen, Progress, Proof, RecoveryPoint, Resource
from airlock.registry import DRIVERS, resolve

log = logging.getLogger(__name__)
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")
_TOKEN_LENGTH = 128
_PLACE_LENGTH = 24
ORIGIN = "origin"
"""Names the place of a proof that is no restore test: scratch places begin with ``al``."""
OnProgress = Callable[[Progress], object]


class RestoreSet(Frozen):
    """The recovery points of one release. ``skew_seconds`` lies between the earliest and the latest ``taken_at``: what
    was written meanwhile is in one of them and not in another."""

    points: tuple[str, ...] = Field(min_length=1)
    earliest: AwareDatetime
    latest: AwareDatetime
    skew_seconds: float


def open_driver(resource: Resource, store: BackupStore) -> Driver:
    """Return the driver of *resource*, with its options validated. Contacts nothing.

    :raises UnknownName: there is no such driver
    :raises InvalidInput: the driver is of another kind than the resource, or its options are wrong
    """
    driver_class: type[Driver] = resolve(DRIVERS, "driver", resource.driver)
    if driver_class.kind != resource.kind:
        raise InvalidInput(
            f"{resource.kind}.{resource.name}: driver {resource.driver!r} backs up {driver_class.kind}, not "
            f"{resource.kind}; correct 'kind' or 'driver' in the service file"
        )
    return driver_class(resource, store)


def token_for(release: str, resource: str) -> str:
    """Return the token, and so the recovery point's id, of *resource* (``kind.name``) in *release*: always the same."""
    plain = f"{release}.{resource}"
    token = _UNSAFE.sub("-", plain).lstrip("._-")
    if token == plain and len(token) <= _TOKEN_LENGTH:
        return token
    # cleaning or cutting could make two names one: the digest keeps them apart
    digest = hashlib.sha256(plain.encode()).hexdigest()[:16]
    return f"{token[: _TOKEN_LENGTH - 17] or 'release'}.{digest}"


def take(
    driver: Driver, token: str, on_progress: OnProgress | None = None, *, poll_seconds: float = 2.0
) -> RecoveryPoint:
    """Take one backup to its end and return its recovery point; the same token again returns the same one.

    :raises TemporaryError: try again with the same token
    :raises PermanentError: it cannot be taken
    """
    begun = time.monotonic()
    log.info("%s: backup %s begins (driver %s)", driver.label, token, driver.resource.driver)
    handle = driver.start(token)
    while True:
        progress = driver.poll(handle)
        if on_progress is not None:
            on_progress(progress)
        if progress.done:
            break
        time.sleep(poll_seconds)
    point = driver.finish(handle)
    log.info("%s: backup %s is done after %.1f s", driver.label, point.id, time.monotonic() - begun)
    return point


def scratch_place(scratch_root: str | Path, release: str, resource: str) -> Place:
    """Return the scratch place of *resource* (``kind.name``) in *release*: always the same, shared with nothing else.

    Nothing is created. The name begins with letters of the resource, so that a person can tell whose it is.
    """
    digest = hashlib.sha256(f"{release}\0{resource}".encode()).hexdigest()[:12]
    readable = re.sub(r"[^a-z0-9]", "", resource.rpartition(".")[2].lower())[: _PLACE_LENGTH - 2 - len(digest)]
    name = f"al{readable}{digest}"
    return Place(name=name, folder=str(Path(scratch_root) / name))


def prove(driver: Driver, point: RecoveryPoint, place: Place) -> Proof:
    """Restore *point* into *place* and check it there. The caller discards *place*, whatever happens.

    A backup that is damaged, cannot be restored, or differs gives a proof that is not ``ok``, with the reason. The
    restore reads the first copy; where the policy asks for a replica, the replica must be whole as well: a release
    begins with every copy that its policy promises, or not at all. (A way back makes do with one: ``restore_origin``.)

    :raises TemporaryError: a server was not there; try again
    :raises AccessRefused: a server does not accept who asks: nothing is said about the backup
    :raises InvalidInput: *place* is the origin, or *point* is of another resource: nothing was restored
    """
    if place.origin:
        raise InvalidInput(f"{driver.label}: a restore test in the origin is refused; give a scratch place")
    if (point.resource.kind, point.resource.name) != (driver.resource.kind, driver.resource.name):
        raise InvalidInput(
            f"{driver.label}: recovery point {point.id} is of {point.resource.kind}.{point.resource.name}"
        )
    begun = time.monotonic()
    restore_seconds = 0.0
    checks: tuple[Check, ...] = ()
    try:
        driver.discard(place)  # a try before may have left it half filled
        begun = time.monotonic()
        driver.store.confirm(point)
        driver.restore(point, place)
        restore_seconds = round(time.monotonic() - begun, 3)
        checks = driver.prove(point, place)
        driver.store.confirm_replica(point)
        reason = _reason(checks)
    except AccessRefused:  # says nothing about the backup
        raise
    except PermanentError as error:
        reason = str(error)
        restore_seconds = restore_seconds or round(time.monotonic() - begun, 3)
    if reason:
        reason = f"{driver.label}: the backup {point.id} is not proven: {reason.removeprefix(driver.label + ': ')}"
        log.error("%s", reason)
    else:
        log.debug(
            "%s: the backup %s is proven: restored into %s in %.1f s, %d check(s) agree",
            driver.label,
            point.id,
            place.name,
            restore_seconds,
            len(checks),
        )
    return _proof(driver, point, place.name, checks, restore_seconds, reason)


def restore_origin(driver: Driver, point: RecoveryPoint) -> Proof:
    """Restore *point* into the origin: from the first copy or, when that is damaged, from the replica. Return the proof
    that the origin is what was taken, compared as a restore test compares its scratch place.

    A damaged copy changes nothing in the origin, so the second can be tried. What is restored is the recovery point on
    record, never another one.

    :raises BackupDamaged: no copy is whole; every reason is named
    :raises ProofFailed: it was restored, and yet the origin differs from the recovery point
    """
    stores = [driver.store, *([driver.store.from_replica()] if driver.store.replica is not None else [])]
    reasons: list[str] = []
    left = "as it was"
    for store in stores:
        one = type(driver)(driver.resource, store)
        begun = time.monotonic()
        try:
            store.confirm(point)
            one.restore(point, Place(origin=True))
            left = "restored in part"
            seconds = round(time.monotonic() - begun, 3)
            checks = one.prove(point, Place(origin=True))
        except Damaged as error:
            log.error("%s: the copy of %s in %s cannot be restored: %s", driver.label, point.id, store.location, error)
            reasons.append(str(error))
        else:
            return _proven_origin(one, point, checks, seconds)
    raise BackupDamaged(
        f"{driver.label}: no copy of recovery point {point.id} is whole: {'; '.join(reasons)}; the origin is {left}; "
        "next: restore it by hand from an earlier recovery point"
    )


def _proven_origin(driver: Driver, point: RecoveryPoint, checks: tuple[Check, ...], seconds: float) -> Proof:
    """Return the proof of a way back.

    :raises ProofFailed: *checks* do not agree
    """
    reason = _reason(checks)
    if reason:
        raise ProofFailed(
            f"{driver.label}: restored, but the origin differs from recovery point {point.id}: {reason}; next: mend "
            "that at the origin, then run this task again"
        )
    log.info(
        "%s: origin restored from the copy of %s in %s in %.1f s, %d check(s) agree",
        driver.label,
        point.id,
        driver.store.location,
        seconds,
        len(checks),
    )
    return _proof(driver, point, ORIGIN, checks, seconds)


def _proof(
    driver: Driver, point: RecoveryPoint, place: str, checks: tuple[Check, ...], seconds: float, reason: str = ""
) -> Proof:
    return Proof(
        recovery_point=point.id,
        kind=driver.resource.kind,
        resource=driver.resource.name,
        place=place,
        checks=checks,
        restore_seconds=seconds,
        ok=not reason,
        reason=reason,
    )


def _reason(checks: tuple[Check, ...]) -> str:
    """Return why *checks* are no proof; empty when they are."""
    if not checks:
        return "the driver compared nothing"
    failed = [check for check in checks if not check.ok]
    if not failed:
        return ""
    first = "; ".join(f"{c.name}: expected {str(c.expected)[:300]}, found {str(c.found)[:300]}" for c in failed[:3])
    return f"{len(failed)} of {len(checks)} checks failed: {first}"


def restore_set(points: Sequence[RecoveryPoint]) -> RestoreSet:
    """Return the set of *points* and its skew.

    :raises InvalidInput: there is none: a release without any backup has no way back
    """
    if not points:
        raise InvalidInput("the restore set is empty: declare at least one resource in the service file")
    moments = sorted(point.taken_at for point in points)
    return RestoreSet(
        points=tuple(sorted(point.id for point in points)),
        earliest=moments[0],
        latest=moments[-1],
        skew_seconds=round((moments[-1] - moments[0]).total_seconds(), 3),
    )
