"""Stage ``migrate``: the migrations that the artifact carries, and what becomes of them on the way back. No Airflow.

They are run before the new version is started: its smoke checks and its first request may need what they add, and what
they add is meant to be lived with by the version that still has all traffic.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from typing import Any

from airlock.change.migrations import pending
from airlock.change.way_back import judge
from airlock.deploy.landing import DataWayBack, data_way_back
from airlock.errors import GateRefused, PermanentError, PermitInvalid
from airlock.flow.stages import backup
from airlock.flow.stages.assessment import applied, migrations_of
from airlock.flow.stages.notices import notify
from airlock.flow.stages.permitted_act import backward, forward
from airlock.flow.stages.release import Release
from airlock.models import Artifact, Migration, PlannedMigration, RollbackSafety

log = logging.getLogger(__name__)


def examine(release: Release, artifact: Artifact) -> RollbackSafety:
    """Return the verdict on the migrations of *artifact* that the database lacks; record all that it was made from.

    :raises InvalidInput: a migration was changed after it was applied, or cannot be run by Airlock
    :raises PermanentError: another database would be migrated than is backed up
    :raises TemporaryError: the database cannot be asked now
    """
    return _judged(release, artifact, applied(release.environment, lambda: release.migration_database))


def examine_again(release: Release, artifact: Artifact) -> RollbackSafety:
    """Return the verdict on another *artifact* of the same version, for the database as it was when the plan was made.

    :raises GateRefused: the way back would be worse than the one that the risk was scored with
    """
    before = release.plan.way_back
    known = release.latest("migrations")
    if known is None:
        return RollbackSafety()
    now = _judged(release, artifact, known["applied"])
    if now.verdict.rank > before.verdict.rank:
        raise GateRefused(
            f"{release.id}: the artifact was replaced, and the way back is {now.verdict} now where the risk was scored "
            f"with {before.verdict}: {now.reason}; trigger a new run"
        )
    return now


def _judged(release: Release, artifact: Artifact, applied: Mapping[str, str]) -> RollbackSafety:
    setting = release.environment.migrations
    if setting is None:
        return RollbackSafety()
    lacking, ahead = pending(migrations_of(release.environment, artifact, setting.folder), applied)
    found = judge(lacking, ahead)
    release.record(
        "migrations",
        artifact=artifact.digest,
        applied=dict(applied),
        ahead=list(ahead),
        pending=[migration.model_dump(mode="json") for migration in lacking],
    )
    tell(found)
    return found


def tell(found: RollbackSafety) -> None:
    """Log the verdict and what led to it."""
    say = log.info if found.verdict.rank == 0 else log.warning
    say("way back: %s: %s", found.verdict.replace("_", " ").upper(), found.reason)
    for one in found.statements:
        log.info("%s, statement %d: %s: %s (%s)", one.migration, one.statement, one.does, one.why, one.verdict)
    for warning in found.warnings:
        log.warning("%s", warning)


def migrate(release: Release) -> None:
    """Carry out the migrations of the plan that are not applied yet, one by one, each as an act of its own.

    :raises CalendarClosed: the calendar closed in this moment
    :raises GateRefused: a backup is not proved, or somebody else migrated the database since the plan was made
    :raises PermitInvalid: the artifact carries other migrations than were approved
    :raises TemporaryError: a lock could not be had in time, or a server is down
    """
    plan = release.plan
    if not plan.way_back.migrations:
        log.info("the release changes no database schema; next: stage the new version")
        return
    release.permitted("migrate")
    backup.passed(release)
    same_stable(release)
    database = release.migration_database
    for planned, migration in approved(release):
        there = database.applied().get(planned.name)
        if there is not None and there.finished and there.release != release.id:
            raise GateRefused(
                f"migration {planned.name} was applied to {database.name} by {there.release} since the plan was made; "
                "trigger a new run"
            )
        if there is not None and there.finished and there.digest == planned.up_digest:
            _keep(release, planned, database.name, seconds=0.0)
            continue
        begun = time.monotonic()
        with forward(release, "migrate", migration=planned.name, digest=planned.up_digest, database=database.name):
            database.apply(migration, release.id, planned.up_index)
        _keep(release, planned, database.name, seconds=round(time.monotonic() - begun, 3))
    log.info("%s: %d migration(s) applied; next: stage the new version", database.name, len(plan.way_back.migrations))


def passed(release: Release) -> None:
    """Check that every migration of the plan is on record as applied, whatever state the task shows.

    :raises GateRefused: one is not
    """
    for planned in release.plan.way_back.migrations:
        if release.latest("migrated", planned.name) is None:
            raise GateRefused(f"{release.id}: migration {planned.name} is not applied; clear the task deploy.migrate")


def take_back(release: Release) -> DataWayBack:
    """Do what the plan says about what this release migrated, and record it; return what was chosen.

    A way back that fails for good is left to people, so that the release lands: the traffic is back already.

    :raises TemporaryError: a lock could not be had in time, or a server is down
    """
    plan = release.plan
    if not plan.way_back.migrations:
        return DataWayBack.NOTHING
    failed, applied = "", list[str]()
    try:
        own = (one for one in release.migration_database.applied().values() if one.release == release.id)
        applied = [one.name for one in own]
        choice, why = data_way_back(plan, applied)
        if choice is DataWayBack.UNDO:
            _undo(release, applied)
    except PermanentError as error:
        failed = str(error)
        choice, why = data_way_back(plan, applied, failed)
    release.record("data_way_back", choice=choice, why=why, applied=applied, failed=failed)
    if choice is DataWayBack.HUMAN:
        point = _recovery_point(release)
        log.error("%s; recovery point: %s; traffic is back; next: decide with the owner of the data", why, point)
        notify(release, "fault", f"{release.id}: a human decides about the data", why)
    else:
        log.info("data: %s: %s", choice, why)
    return choice


def _recovery_point(release: Release) -> str:
    name = release.plan.settings["migrations"]["resource"]
    points = (release.recovery_point(one) for one in release.plan.resources if one.name == name)
    return ", ".join(point.id for point in points if point is not None) or "none"


def _undo(release: Release, applied: list[str]) -> None:
    database = release.migration_database
    for planned, migration in reversed(approved(release)):
        if planned.name in applied:
            with backward(release, "migrate_back", migration=planned.name, database=database.name):
                database.undo(migration, release.id, planned.down_index)
            log.info("%s: migration %s undone", database.name, planned.name)


def approved(release: Release) -> list[tuple[PlannedMigration, Migration]]:
    """Return the plan's migrations with their SQL, which must be what was approved.

    It is that on record, from which the way back was judged: a source of artifacts that is away by now, or has lost
    this one, stops no way back.
    """
    plan = release.plan
    judged = [one.data for one in release.recorded("migrations") if one.data["artifact"] == plan.artifact.digest]
    known = {one.name: one for one in map(Migration.model_validate, judged[-1]["pending"] if judged else ())}
    found = []
    for planned in plan.way_back.migrations:
        one = known.get(planned.name)
        if one is None or (one.up_digest, one.down_digest) != (planned.up_digest, planned.down_digest):
            raise PermitInvalid(
                f"migration {planned.name} of {plan.artifact.path} on record is not the one that was approved; to ask "
                "again, clear the task change.approve with everything downstream of it"
            )
        found.append((planned, one))
    return found


def _keep(release: Release, planned: PlannedMigration, database: str, seconds: float) -> None:
    if release.latest("migrated", planned.name) is None:
        data: dict[str, Any] = {"digest": planned.up_digest, "database": database, "seconds": seconds}
        release.record("migrated", planned.name, **data)
    log.info("%s: migration %s (%s) is applied, %.1f s", database, planned.name, planned.up_digest[:19], seconds)


def same_stable(release: Release) -> None:
    """Check that the plan's way back leads to what is stable now.

    :raises GateRefused: somebody released another version since the plan was made
    """
    planned, found = release.plan.current_version, release.delivery.inspect().stable
    if found != planned:
        raise GateRefused(
            f"the plan goes from {planned} to {release.plan.artifact.version}, but {found} is stable on the target "
            "now: somebody released past Airlock; trigger a new run"
        )
