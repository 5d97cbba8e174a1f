"""What a service file may say, as frozen data. Knows no YAML, no driver and no Airflow.

Rules that concern one value live here and in ``values``, so that they are reported together
with typos; rules between values live in ``rules``, what concerns time in ``calendar``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from pydantic import BeforeValidator, Field, StringConstraints

from airlock import registry
from airlock.connections import ConnectionId
from airlock.models import Absence, AnalysisPolicy, Frozen, Kind, Name, Resource, Rollout, Seconds
from airlock.service.approvals import ApprovalPolicy, Approvals
from airlock.service.calendar import Calendar, Cycle, CycleInput, cycle_from
from airlock.service.checks import Checks
from airlock.service.standard_changes import Emergency, StandardChange
from airlock.service.values import (
    Folder,
    Person,
    PlaceSetting,
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
    """How on-call returns to the version before."""

    seats: Seats
    """Who agrees to it: group -> how many of its people."""
    observe_seconds: Seconds = 30
    """How long the version before is watched with all traffic."""
    bake_seconds: float = Field(60, ge=0, allow_inf_nan=False)
    """How long it is watched after that, before the way back counts as done."""


class Schedule(Frozen):
    """When something is done outside releases."""

    cron: PlainCron
    """Five fields of cron: minute, hour, day of month, month, day of week."""
    timezone: TimeZone = "UTC"
    """Whose local time the cron line is in, such as Europe/Berlin."""
    late_after_minutes: int = Field(60, ge=1, le=7 * 24 * 60)
    """People are told when it has not begun so many minutes after its time."""


class DrillPolicy(Schedule):
    """Restore drills: which recovery points of each resource are restored as a test."""

    newest: int = Field(1, ge=1, le=100)
    """How many of the newest recovery points."""
    random: int = Field(1, ge=0, le=100)
    """How many of the older ones, by chance."""


class RetentionPolicy(Schedule):
    """Which recovery points are kept; all others expire."""

    days: float = Field(gt=0, le=36500)
    """All of the last so many days."""
    newest: int = Field(3, ge=1, le=10_000)
    """The newest so many that were proved, however old."""
    weekly: int = Field(0, ge=0, le=1000)
    """The last proved one of each of so many weeks."""
    monthly: int = Field(0, ge=0, le=1000)
    """The last proved one of each of so many months."""
    dry_run: bool = False
    """Only say what would expire."""


class BackupPolicy(Frozen):
    """Where backups go, and what is done with them outside releases."""

    store: PlaceSetting
    """Folder of the backups, or an object store: ``{path: s3://bucket/folder, connection: ...}``."""
    replica: PlaceSetting | None = None
    """A second place, which every backup is copied to and read back from."""
    key_connection: ConnectionId
    """Airflow connection with the age keys that backups are encrypted to."""
    scratch: Folder
    """Folder in which backups are restored as a test."""
    maximum_skew_seconds: float = Field(3600, gt=0)
    """The most time between the first and the last recovery point of a release."""
    restore_on_rollback: tuple[Name, ...] = ()
    """Names of the resources whose origin a rollback restores; of none: only traffic goes back."""
    schedule: Schedule | None = None
    """When backups are taken outside releases; left out: never."""
    drills: DrillPolicy | None = None
    """When older backups are restored as a test; left out: never."""
    retention: RetentionPolicy | None = None
    """When which backups expire; left out: none ever does."""


class Migrations(Frozen):
    """Which resource the migrations that artifacts carry belong to, and how they are run."""

    resource: Name
    """Name of the resource that is migrated."""
    connection: ConnectionId
    """Airflow connection of a role that may change the schema."""
    folder: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]+(/[A-Za-z0-9_-]+){0,7}$")] = "migrations"
    """Folder of the migrations inside the artifact."""
    on_rollback: Annotated[str, StringConstraints(pattern="^(undo|keep)$")] = "keep"
    """Whether the way back undoes what the release migrated, where that is safe, or keeps it, because the version
    before can live with it."""
    lock_timeout_seconds: float = Field(5, gt=0, le=300)
    """How long one statement waits for a lock."""
    statement_timeout_seconds: float = Field(900, gt=0, le=24 * 3600)
    """How long one statement may run."""


class RequiredSignature(Frozen):
    """A signature that a version must have."""

    keys: tuple[Folder, ...] = Field(min_length=1)
    """Files with public keys in PEM, one of which must have signed."""
    predicate_type: Annotated[str, StringConstraints(pattern=r"^[A-Za-z][A-Za-z0-9+.-]*:[!-~]{1,200}$")] | None = None
    """Type of the attestation that must be signed, as a URI; left out: the version itself must be."""


class ArtifactSetting(Frozen):
    """A source of artifacts by its registered name."""

    name: Annotated[str, known(registry.ARTIFACT_SOURCES, "artifact source")]
    """Registered name."""
    options: dict[str, Any] = Field(default_factory=dict)
    """What the source is told."""
    signatures: tuple[RequiredSignature, ...] = ()
    """Signatures and attestations that a version must have, all of them: without one there is no permit."""


_FORMER_TARGETS = {
    "envoy": "write target: {name: supervisord, ...} with the slots, and router: {name: envoy, ...} with the addresses "
             "of Envoy and the runtime keys (docs/strategies.md)",
}


class TargetSetting(Frozen):
    """Where versions run: a target by its registered name."""

    name: Annotated[str, known(registry.TARGETS, "target", _FORMER_TARGETS)]
    """Which target."""
    options: dict[str, Any] = Field(default_factory=dict)
    """Options of that target."""


class RouterSetting(Frozen):
    """Who splits the traffic: a router by its registered name."""

    name: Annotated[str, known(registry.ROUTERS, "router")]
    """Which router."""
    options: dict[str, Any] = Field(default_factory=dict)
    """Options of that router."""


class RolloutSetting(Rollout):
    """How a version gets its traffic, by a registered strategy."""

    strategy: Annotated[str, known(registry.STRATEGIES, "strategy")] = "canary"
    """How traffic moves."""


class MetricsSetting(Frozen):
    """A metric source by its registered name."""

    name: Annotated[str, known(registry.METRIC_SOURCES, "metric source")]
    """Which metric source."""
    options: dict[str, Any] = Field(default_factory=dict)
    """Options of that metric source."""


class Tickets(Frozen):
    """The ticket system in which requests for change live beside Airflow, by its registered name."""

    FORMER_FIELDS: ClassVar[Mapping[str, str]] = {"system": "write name, as for everything that is chosen by its name"}

    name: Annotated[str, known(registry.TICKET_SYSTEMS, "ticket system")]
    """Which ticket system."""
    connection: ConnectionId
    """Airflow connection with its address and log-in."""
    options: dict[str, Any] = Field(default_factory=dict)
    """Options of that ticket system."""
    fields: dict[Name, Annotated[str, StringConstraints(pattern=r"^[A-Za-z][A-Za-z0-9_]{0,79}$")]] = Field(
        default_factory=dict
    )
    """Field of the trigger form -> field of the ticket."""
    values: dict[Name, dict[str, str]] = Field(default_factory=dict)
    """Field of the form -> what the ticket says -> what the form says, for choices."""
    people: dict[Annotated[str, StringConstraints(min_length=1, max_length=128)], Person] = Field(default_factory=dict)
    """Account in the ticket system -> log-in name in Airflow; nobody else's approval counts."""
    decides_approval: bool = False
    """People answer there and not in Airflow."""
    look_every_seconds: float = Field(60, ge=1, le=3600)
    """How often it is asked for answers."""


class DeclaredResource(Resource):
    """A resource whose driver is registered."""

    driver: Annotated[str, known(registry.DRIVERS, "driver")]


class EnvironmentSettings(Frozen):
    """One entry of ``environments`` in a service file."""

    FORMER_FIELDS: ClassVar[Mapping[str, str]] = {
        "artifacts": "write artifact: {name: file, options: {path: ...}} with what stood here as path",
        "validation": "write checks: {validation: [{name: http, options: {paths: [...]}}]} with its paths, and its "
                      "attempts as checks: {attempts: ...}",
    }

    production: bool = False
    """Production needs backups of all ten kinds, by drivers that prove a restore."""
    after: Name | None = None
    """The environment before this one: cycles take what is promoted there, and standard changes carry nothing else."""
    cycle: Annotated[Cycle, BeforeValidator(cycle_from, json_schema_input_type=CycleInput)] = Cycle()
    """When releases begin by themselves: ``manual``, ``continuous``, a cron line, or fields."""
    standard_changes: dict[Name, StandardChange] = Field(default_factory=dict)
    """Pre-approved templates: name -> template."""
    emergency: Emergency = Emergency()
    """What emergency changes owe afterwards."""
    artifact: ArtifactSetting
    """Where versions come from."""
    ledger: PlaceSetting
    """Folder or object store of the records; they are never changed."""
    evidence: PlaceSetting
    """Folder or object store of the sealed evidence packs."""
    anchor: PlaceSetting | None = None
    """Second folder or object store that learns of every record, so that what is removed or cut off is found."""
    signing_connection: ConnectionId
    """Airflow connection with the key that records and permits are signed by."""
    approvals: Approvals
    rollback: RollbackPolicy | None = None
    """How on-call returns to the version before; left out: the seats are those of its risk."""
    calendar: Calendar
    backup: BackupPolicy
    target: TargetSetting
    router: RouterSetting
    metrics: MetricsSetting
    rollout: RolloutSetting
    analysis: AnalysisPolicy = AnalysisPolicy()
    checks: Checks = Checks()
    tickets: Tickets | None = None
    """The ticket system in which requests live besides; left out: only Airflow."""
    migrations: Migrations | None = None
    """How migrations of artifacts are run; left out: artifacts carry none."""
    resources: tuple[DeclaredResource, ...] = Field(min_length=1)
    """What is backed up, and restored as a test, before every release."""
    without_kinds: dict[Kind, Annotated[str, StringConstraints(min_length=10, max_length=1000)]] = Field(
        default_factory=dict
    )
    """Kind of resource -> why there is none of it here."""


class ServiceSettings(Frozen):
    """The top of a service file, without its environments."""

    service: Name
    """Name of the service; the DAGs and the records are named by it."""
    description: Text
    """What it is, in a sentence, for people who decide."""
    owner: Annotated[str, StringConstraints(strip_whitespace=True, pattern=r"^[^\s][^\r\n\t]{0,99}$")]
    """The team that owns it, and owes what its emergencies leave to approve."""
    tier: int = Field(ge=1, le=4)
    """How critical it is, from 1 (most) to 4; risk counts it."""
    people: Folder | None = None
    """File beside this one that says who is away, who decides instead, and which authors have which log-in name."""
    groups: dict[Name, Annotated[tuple[Person, ...], Field(min_length=1)]] = Field(min_length=1)
    """Who decides: group -> log-in names of its people, as Airflow knows them."""


class ServiceEnvironment(ServiceSettings, EnvironmentSettings):
    """Everything about one service in one environment. ``source`` is the file it was read from; policy, absences and
    authors may come from files that it names."""

    environment: Name
    source: str
    approval_policy: ApprovalPolicy
    absences: tuple[Absence, ...] = ()
    authors: dict[str, Person] = Field(default_factory=dict)
