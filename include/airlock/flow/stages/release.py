"""One release as its tasks see it: the service environment, the ledger, and what a stage needs, opened on first use.

Every task makes its own, from the DAG run alone, so that one that is retried, cleared, or run on another worker sees
the same release. What one task tells another goes through the ledger, never through XCom. Holds no rules: they live
in the domain packages.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from airlock import registry
from airlock.analysis.metrics import MetricSource
from airlock.backup.configured import store_of
from airlock.backup.driver import Driver, Place
from airlock.backup.run import open_driver, scratch_place
from airlock.backup.store import BackupStore
from airlock.change.approval import rules_for
from airlock.change.permit import check as check_permit
from airlock.change.planning import build_plan, calendar_for
from airlock.deploy.delivery import Delivery, open_delivery
from airlock.deploy.landing import acted
from airlock.deploy.migrations.database import MigrationDatabase, database_of
from airlock.deploy.resolution import resolve_artifact
from airlock.errors import InvalidInput, PermitInvalid
from airlock.evidence.ledger import Ledger
from airlock.models import Permit, Plan, Record, RecoveryPoint, Resource, Rfc, utc_now
from airlock.schedule.asking import planned
from airlock.service import last_good
from airlock.service.calendar import PlannedCalendar
from airlock.service.find import ServiceEnvironment
from airlock.service.model import Migrations
from airlock.service.reading import load_file
from airlock.service.touched import touched
from airlock.signing import Keyring, Signer, keyring_from_connection, signer_from_connection

log = logging.getLogger(__name__)


def release_id(environment: ServiceEnvironment, run_id: str, run_after: datetime) -> str:
    """Return the name of the release that a DAG run carries out: readable, safe in paths, the same for every task.

    Its end is too long for a run id to be found that gives the name of another release.
    """
    short = hashlib.sha256(run_id.encode()).hexdigest()[:16]
    return f"{environment.service}-{environment.environment}-{run_after:%Y%m%dT%H%M%S}-{short}"


def calendar_of(plan: Plan) -> PlannedCalendar:
    """Return the calendar of *plan*, with all of it that was approved."""
    return PlannedCalendar.model_validate(plan.calendar)


@dataclass(frozen=True)
class Attempt:
    """One try of a task: of which DAG run, in which Airflow (its address), and the how many-th it is, from 1.

    ``retry``: Airflow tries the task again by itself, and no person has cleared it since it last began.
    """

    dag_id: str
    run_id: str
    airflow: str
    number: int
    retry: bool = False


class Release:
    """The release that one DAG run carries out."""

    def __init__(
        self, environment: ServiceEnvironment, identity: str, actor: str, attempt: Attempt | None = None
    ) -> None:
        """Bind the release *identity*; *actor* is who records are written by (a task, a person).

        :param attempt: the try of the task that works on it, if it is a task of the release's own run
        """
        self.environment = environment
        self.id = identity
        self.actor = actor
        self.attempt = attempt

    # --- what was recorded --------------------------------------------------------------------------------------------

    @cached_property
    def ledger(self) -> Ledger:
        """Return the ledger of the service environment: every record is signed, and read only with its signature."""
        where = self.environment
        return Ledger(
            where.ledger, where.service, where.environment, signer=lambda: self.signer, keyring=lambda: self.keyring,
            anchor=where.anchor,
        )

    def record(self, kind: str, subject: str = "", **data: Any) -> None:
        """Append one record; *data* must survive JSON."""
        self.ledger.append(
            Record(release=self.id, type=kind, subject=subject, at=utc_now(), actor=self.actor, data=data)
        )

    def latest(self, kind: str, subject: str = "") -> Mapping[str, Any] | None:
        """Return the data of the newest record of *kind* about *subject*, or ``None``."""
        found = self.ledger.latest(self.id, kind, subject)
        return None if found is None else found.data

    def records(self) -> tuple[Record, ...]:
        """Return everything on record, oldest first."""
        return self.ledger.read(self.id)

    def recorded(self, kind: str) -> tuple[Record, ...]:
        """Return every record of *kind*, oldest first."""
        return tuple(record for record in self.records() if record.type == kind)

    @property
    def rfc(self) -> Rfc:
        """Return the request for change.

        :raises PermitInvalid: none was accepted
        """
        return Rfc.model_validate(self._needed("rfc", "validate")["rfc"])

    @property
    def plan(self) -> Plan:
        """Return the plan as it was frozen last.

        :raises PermitInvalid: none was made, or another build of Airlock made it, which knew other settings
        """
        try:
            return Plan.model_validate(self._needed("plan", "assess")["plan"])
        except ValidationError as error:
            fields = ", ".join(sorted({str(one["loc"][0]) for one in error.errors() if one["loc"]}))
            raise PermitInvalid(f"{self.id}: another build of Airlock froze its plan, and this one cannot read it "
                                f"({fields}); let that build end the release, or trigger it anew") from error

    def _needed(self, kind: str, task: str) -> Mapping[str, Any]:
        data = self.latest(kind)
        if data is None:
            raise PermitInvalid(
                f"{self.id}: there is no {kind} on record, so nothing may be done; clear the task change.{task}"
            )
        return data

    def recovery_point(self, resource: Resource) -> RecoveryPoint | None:
        """Return this release's recovery point of *resource*, if it was taken."""
        data = self.latest("recovery_point", f"{resource.kind}.{resource.name}")
        return None if data is None else RecoveryPoint.model_validate(data["point"])

    # --- what the service environment names ---------------------------------------------------------------------------

    @cached_property
    def delivery(self) -> Delivery:
        """Return where versions run and get traffic; once the release has acted, as its plan says.

        The way back leads to where the release acted, whatever the service file says by then.
        """
        target, router = self.environment.target.model_dump(), self.environment.router.model_dump()
        records, _ = self.ledger.read_undamaged(self.id)
        if acted(records):
            target, router = self.plan.target, self.plan.router
        return open_delivery(target, router)

    @cached_property
    def migration_database(self) -> MigrationDatabase:
        """Return the database that migrations belong to; once the release has acted, the one that its plan names.

        :raises InvalidInput: the service file says nothing about migrations
        """
        setting = self.environment.migrations
        resources: tuple[Resource, ...] = self.environment.resources
        records, _ = self.ledger.read_undamaged(self.id)
        if acted(records):
            plan = self.plan
            setting, resources = Migrations.model_validate(plan.settings["migrations"]), plan.resources
        if setting is None:
            raise InvalidInput(f"{self.environment.source} does not say where migrations belong; add 'migrations'")
        return database_of(setting, resources)

    @cached_property
    def metrics(self) -> MetricSource:
        """Return the source of the canary's numbers."""
        setting = self.environment.metrics
        source: MetricSource = registry.resolve(registry.METRIC_SOURCES, "metric source", setting.name)(setting.options)
        return source

    @cached_property
    def store(self) -> BackupStore:
        """Return the backup store, with the keys of its connection."""
        return store_of(self.environment.backup)

    @cached_property
    def signer(self) -> Signer:
        """Return who signs permits and seals."""
        return signer_from_connection(self.environment.signing_connection)

    @cached_property
    def keyring(self) -> Keyring:
        """Return whose signatures are accepted."""
        return keyring_from_connection(self.environment.signing_connection)

    def driver(self, resource: Resource) -> Driver:
        """Return the driver of *resource*."""
        return open_driver(resource, self.store)

    def scratch(self, resource: Resource) -> Place:
        """Return the scratch place of this release's restore test of *resource*."""
        return scratch_place(self.environment.backup.scratch, self.id, f"{resource.kind}.{resource.name}")

    # --- leave to act -------------------------------------------------------------------------------------------------

    def present_plan(self, frozen: Plan, environment: ServiceEnvironment | None = None) -> Plan:
        """Return the plan as it would be made now from *environment* (the task's own, unless given): the same request,
        risk and verdict on the way back (which holds for one artifact and one policy), everything else read anew."""
        used = environment or self.environment
        return build_plan(
            self.id,
            frozen.rfc,
            used,
            resolve_artifact(used, frozen.rfc.version, frozen, returns=frozen.returns),
            frozen.current_version,
            rules_for(frozen.risk, frozen.rfc, used),
            frozen.risk,
            touches=touched(used, frozen.rfc),
            calendar=planned(calendar_for(frozen.rfc, used), calendar_of(frozen).overridden),
            way_back=frozen.way_back,
        )

    def plan_of(self, digest: str) -> Plan | None:
        """Return the plan with *digest* that this release froze, or ``None``."""
        found = [record.data["plan"] for record in self.recorded("plan") if record.data["digest"] == digest]
        return Plan.model_validate(found[-1]) if found else None

    def permitted(self, act: str) -> Permit:
        """Check, before *act*, that humans (or the written policy) allowed exactly what would be done now.

        Both are compared with what was approved: the settings that this task began with, because it acts by them, and
        the service file as it is at this moment, because a task may run for long.

        :raises PermitInvalid: there is no permit, or it is stale, expired, or signed by an unknown key
        """
        frozen = self.plan
        record = self.latest("permit") or {}
        approved = self.plan_of(str(record.get("plan_digest", "")))
        present = self._environment_now()
        for environment in (self.environment,) if present == self.environment else (self.environment, present):
            plan = self.present_plan(frozen, environment)
            permit = check_permit(record.get("envelope"), plan, utc_now(), self.keyring, approved)
        if frozen.digest != permit.plan_digest:  # stages take resources and steps from the plan on record
            raise PermitInvalid(
                f"{self.id}: the plan on record is not the one that was approved, although that one would still fit; "
                "somebody altered the record: look at it before you release again"
            )
        log.debug(
            "%s: permitted by plan %s until %s", act, permit.plan_digest[:19], f"{permit.expires_at:%d %b %H:%M} UTC"
        )
        return permit

    def _environment_now(self) -> ServiceEnvironment:
        """Return the service environment as its file declares it now, or did when the file was right last: a mistake in
        it is no change of what was approved."""
        own = self.environment
        why = f"{own.source} does not declare {own.service} {own.environment} any more; declare it again"
        try:
            declared = [one for one in load_file(own.source) if one.service == own.service]
        except InvalidInput as error:
            why, declared = str(error), []
        kept = last_good.kept(Path(own.source).parent, own.service)
        for one in (*declared, *kept):
            if one.environment == own.environment:
                if one in kept and one not in declared:
                    log.warning("the service file is wrong, its last good version holds for this release: %s", why)
                return one
        raise PermitInvalid(
            f"{self.id}: the service file cannot be read, so nobody knows whether it is as approved: {why}"
        )

    def announce(self, act: str, **data: Any) -> None:
        """Record that *act* on the target begins now: written before the act, so that a crash cannot hide it."""
        self.record("act", act, **data)
        detail = ", ".join(f"{name} {value}" for name, value in data.items())
        where = self.environment
        log.info("%s: begins on target %s with router %s: %s", act, where.target.name, where.router.name, detail)
