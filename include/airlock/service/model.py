"""What a service file may say, as frozen data. Knows no YAML, no driver and no Airflow.

Rules that concern one value live here and in ``values``, so that they are reported together
with typos; rules between values live in ``rules``, what concerns time in ``calendar``.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field, StringConstraints

from airlock import registry
from airlock.connections import ConnectionId
from airlock.models import Absence, AnalysisPolicy, Frozen, Kind, Name, Resource, Rollout, Seconds
from airlock.service.approvals import ApprovalPolicy, Approvals
from airlock.service.calendar import Calendar, Cycle, cycle_from
from airlock.service.standard_changes import Emergency, StandardChange
from airlock.service.values import (
    Folder,
    Person,
    PlainCron,
    Seats,
    Text,
    TimeZone,
    known,
)


def kind_of_driver(name: str) -> Kind:
    """Return the kind that a registered driver belongs to, from where it lives, without importing it."""
    return Kind(registry.DRIVERS[name].path.partition(":")[0].split(".")[-2])



class RollbackPolicy(Frozen):
    """How on-call returns to the version before: seats, and how long it is watched with all traffic, then baked."""

    seats: Seats
    observe_seconds: Seconds = 30
    bake_seconds: float = Field(60, ge=0, allow_inf_nan=False)


class Schedule(Frozen):
    """When something is done outside releases. People are told when it has not begun ``late_after_minutes`` later."""

    cron: PlainCron
    timezone: TimeZone = "UTC"
    late_after_minutes: int = Field(60, ge=1, le=7 * 24 * 60)


class DrillPolicy(Schedule):
    """Restore drills: how many of the newest recovery points, and of the older ones by chance, of each resource."""

    newest: int = Field(1, ge=1, le=100)
    random: int = Field(1, ge=0, le=100)


class RetentionPolicy(Schedule):
    """Which recovery points are kept: those of the last ``days``, and of the proved ones the ``newest``, the last of
    each of so many weeks, and the last of each of so many months."""

    days: float = Field(gt=0, le=36500)
    newest: int = Field(3, ge=1, le=10_000)
    weekly: int = Field(0, ge=0, le=1000)
    monthly: int = Field(0, ge=0, le=1000)
    dry_run: bool = False


class BackupPolicy(Frozen):
    """Where backups go. ``maximum_skew_seconds`` is the most time between first and last recovery point of a release;
    ``restore_on_rollback`` names resources whose origin a rollback restores (none: only traffic goes back).

    ``schedule`` is when backups are taken outside releases, ``drills`` when older ones are restored as a test, and
    ``retention`` when and which ones expire; without them nothing of the kind is done.
    """

    store: Folder
    replica: Folder | None = None
    key_connection: ConnectionId
    scratch: Folder
    maximum_skew_seconds: float = Field(3600, gt=0)
    restore_on_rollback: tuple[Name, ...] = ()
    schedule: Schedule | None = None
    drills: DrillPolicy | None = None
    retention: RetentionPolicy | None = None


class Migrations(Frozen):
    """Which resource the migrations that artifacts carry belong to, and how they are run.

    ``connection`` is an Airflow connection of a role that may change the schema. ``on_rollback``: whether the way back
    undoes what the release migrated, where that is safe, or keeps it, because the version before can live with it.
    """

    resource: Name
    connection: ConnectionId
    folder: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]+(/[A-Za-z0-9_-]+){0,7}$")] = "migrations"
    on_rollback: Annotated[str, StringConstraints(pattern="^(undo|keep)$")] = "keep"
    lock_timeout_seconds: float = Field(5, gt=0, le=300)
    statement_timeout_seconds: float = Field(900, gt=0, le=24 * 3600)


class TargetSetting(Frozen):
    """A target by its registered name."""

    name: Annotated[str, known(registry.TARGETS, "target")]
    options: dict[str, Any] = Field(default_factory=dict)


class MetricsSetting(Frozen):
    """A metric source by its registered name."""

    name: Annotated[str, known(registry.METRIC_SOURCES, "metric source")]
    options: dict[str, Any] = Field(default_factory=dict)


class Tickets(Frozen):
    """The ticket system in which requests for change live beside Airflow, by its registered name.

    ``fields`` is field of the trigger form -> field of the ticket; ``values`` is field of the form -> what the ticket
    says -> what the form says, for choices; ``people`` is account in the ticket system -> log-in name in Airflow, and
    nobody else's approval counts. ``decides_approval``: people answer there and not in Airflow.
    """

    system: Annotated[str, known(registry.TICKET_SYSTEMS, "ticket system")]
    connection: ConnectionId
    options: dict[str, Any] = Field(default_factory=dict)
    fields: dict[Name, Annotated[str, StringConstraints(pattern=r"^[A-Za-z][A-Za-z0-9_]{0,79}$")]] = Field(
        default_factory=dict
    )
    values: dict[Name, dict[str, str]] = Field(default_factory=dict)
    people: dict[Annotated[str, StringConstraints(min_length=1, max_length=128)], Person] = Field(default_factory=dict)
    decides_approval: bool = False
    look_every_seconds: float = Field(60, ge=1, le=3600)


class Validation(Frozen):
    """What the canary is asked after its last step: ``paths`` must answer 2xx or 3xx (none: the smoke paths)."""

    paths: tuple[Annotated[str, StringConstraints(pattern=r"^/[^\s]*$")], ...] = ()
    attempts: int = Field(3, ge=1, le=20)


class DeclaredResource(Resource):
    """A resource whose driver is registered."""

    driver: Annotated[str, known(registry.DRIVERS, "driver")]


class EnvironmentSettings(Frozen):
    """One entry of ``environments`` in a service file."""

    production: bool = False
    after: Name | None = None
    cycle: Annotated[Cycle, BeforeValidator(cycle_from)] = Cycle()
    standard_changes: dict[Name, StandardChange] = Field(default_factory=dict)
    emergency: Emergency = Emergency()
    artifacts: Folder
    ledger: Folder
    evidence: Folder
    anchor: Folder | None = None
    signing_connection: ConnectionId
    approvals: Approvals
    rollback: RollbackPolicy | None = None
    calendar: Calendar
    backup: BackupPolicy
    target: TargetSetting
    metrics: MetricsSetting
    rollout: Rollout
    analysis: AnalysisPolicy = AnalysisPolicy()
    validation: Validation = Validation()
    tickets: Tickets | None = None
    migrations: Migrations | None = None
    resources: tuple[DeclaredResource, ...] = Field(min_length=1)
    without_kinds: dict[Kind, Annotated[str, StringConstraints(min_length=10, max_length=1000)]] = Field(
        default_factory=dict
    )


class ServiceSettings(Frozen):
    """The top of a service file, without its environments."""

    service: Name
    description: Text
    owner: Annotated[str, StringConstraints(strip_whitespace=True, pattern=r"^[^\s][^\r\n\t]{0,99}$")]
    tier: int = Field(ge=1, le=4)
    people: Folder | None = None
    groups: dict[Name, Annotated[tuple[Person, ...], Field(min_length=1)]] = Field(min_length=1)


class ServiceEnvironment(ServiceSettings, EnvironmentSettings):
    """Everything about one service in one environment. ``source`` is the file it was read from; policy, absences and
    authors may come from files that it names."""

    environment: Name
    source: str
    approval_policy: ApprovalPolicy
    absences: tuple[Absence, ...] = ()
    authors: dict[str, Person] = Field(default_factory=dict)
