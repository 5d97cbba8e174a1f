"""Frozen data that crosses layers. Knows no rules, no I/O and no Airflow.

Everything here survives JSON (``model_dump(mode="json")`` and ``model_validate``) and rejects unknown fields, so that a
typo in a file or a field from another version stops instead of being ignored. Times are aware and in UTC.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any, Self

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints, model_validator

Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_-]{0,62}$")]
"""A service, environment, resource or group: short, lower case, safe in paths, task ids and host names."""
Version = Annotated[str, StringConstraints(pattern=r"^[0-9A-Za-z][0-9A-Za-z.+_-]{0,63}$")]
Digest = Annotated[str, StringConstraints(pattern=r"^sha256:[0-9a-f]{64}$")]


class Frozen(BaseModel):
    """Base of all models: immutable, and strict about names of fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def canonical_json(value: Any) -> bytes:
    """Return *value* (a model or plain JSON data) as canonical JSON: sorted keys, no spaces, UTF-8, no NaN."""
    plain = value.model_dump(mode="json") if isinstance(value, BaseModel) else value
    return json.dumps(plain, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def digest_of(value: Any) -> str:
    """Return ``sha256:<hex>`` of the canonical JSON of *value*."""
    return "sha256:" + hashlib.sha256(canonical_json(value)).hexdigest()


class Kind(StrEnum):
    """The ten kinds of resource that a release could destroy."""

    DATABASES = "databases"
    CONFIGURATION = "configuration"
    IAC_STATE = "iac_state"
    ARTIFACTS = "artifacts"
    LOGS = "logs"
    SECURITY = "security"
    STORAGE = "storage"
    KUBERNETES = "kubernetes"
    CICD = "cicd"
    NETWORK = "network"


class Category(StrEnum):
    """What sort of thing a change touches; risk rules and templates tell changes apart by it."""

    APPLICATION = "application"
    DATABASE_SCHEMA = "database_schema"
    CONFIGURATION = "configuration"
    INFRASTRUCTURE = "infrastructure"
    KUBERNETES_UPGRADE = "kubernetes_upgrade"
    SECURITY_PATCH = "security_patch"
    FIREWALL_AND_ACCESS = "firewall_and_access"


class Outcome(StrEnum):
    """How a release ended. ``skipped`` is a scheduled cycle with nothing new to release. What is done outside releases
    (a drill, an expiry, a train) ended ``completed`` or ``failed``."""

    REFUSED = "refused"
    PROMOTED = "promoted"
    ROLLED_BACK = "rolled_back"
    SKIPPED = "skipped"
    COMPLETED = "completed"
    FAILED = "failed"


class Answer(StrEnum):
    """The four answers of a judge."""

    PASS = "pass"  # noqa: S105 - the word of the field, not a password
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"
    ERROR = "error"


# --- backup -----------------------------------------------------------------------------------------------------------


class Resource(Frozen):
    """One thing that is backed up. ``options`` are validated by the driver's own ``Options``."""

    name: Name
    kind: Kind
    driver: str
    options: dict[str, Any] = Field(default_factory=dict)


class Inspection(Frozen):
    """What a driver sees of a resource without changing it. ``fingerprint`` changes when the content does."""

    present: bool
    size_bytes: int | None = None
    fingerprint: str = ""
    detail: dict[str, Any] = Field(default_factory=dict)


class Handle(Frozen):
    """A backup under way. Survives JSON, so that a retry reattaches instead of beginning a second one."""

    token: str
    started_at: AwareDatetime
    state: dict[str, Any] = Field(default_factory=dict)


class Progress(Frozen):
    """How far a backup is. ``total`` is ``None`` while unknown."""

    done: bool
    completed: float = 0
    total: float | None = None
    unit: str = "bytes"
    message: str = ""


class StoredObject(Frozen):
    """One stream in the backup store: zstd, then age. Digests are over whole streams, and over the header of the
    encrypted one, which only the writer of the stream could have made."""

    name: str
    path: str
    replicas: tuple[str, ...] = ()
    plain_bytes: int
    plain_sha256: str
    cipher_bytes: int
    cipher_sha256: str
    header_sha256: str


class RecoveryPoint(Frozen):
    """One finished backup of one resource. ``facts`` is what a proof compares with; it never holds a secret value."""

    id: str
    resource: Resource
    taken_at: AwareDatetime
    seconds: float
    objects: tuple[StoredObject, ...] = ()
    facts: dict[str, Any] = Field(default_factory=dict)


class Check(Frozen):
    """One comparison of a proof."""

    name: str
    expected: Any
    found: Any
    ok: bool


class Proof(Frozen):
    """The record of one restore test. ``restore_seconds`` is the measured recovery time (RTO)."""

    recovery_point: str
    kind: Kind
    resource: str
    place: str
    checks: tuple[Check, ...]
    restore_seconds: float
    ok: bool
    reason: str = ""


# --- delivery ---------------------------------------------------------------------------------------------------------


class VersionState(Frozen):
    """One version as it is seen on a target. ``digest`` is the artifact digest observed there."""

    version: str
    running: bool
    healthy: bool
    weight: int
    digest: str = ""
    address: str = ""


class TargetState(Frozen):
    """What a target really does now. ``weight`` of all versions adds up to 100."""

    stable: str
    canary: str | None
    versions: tuple[VersionState, ...]

    def weight_of(self, version: str) -> int:
        """Return the share of traffic, in percent, that *version* gets; 0 if it is not there."""
        return sum(state.weight for state in self.versions if state.version == version)


Count = Annotated[int, Field(strict=True, ge=0, le=10**12)]
"""A count of requests; more than a release can see is refused, and beyond 10**12 the statistics lose precision."""
Milliseconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class ArmSample(Frozen):
    """Cumulative counts of one arm since the observation began.

    ``ready``: the version itself answers and calls itself healthy at this look. ``silent_looks``: how many looks in a
    row, this one included, brought no new request; ``newest_at``: the look that brought the last one.
    """

    version: str
    requests: Count
    errors: Count
    latency_p50_ms: Milliseconds | None = None
    latency_p95_ms: Milliseconds | None = None
    latency_buckets: tuple[tuple[Milliseconds, Count], ...] = Field(
        (), description="(upper bound in ms, requests up to it)"
    )
    ready: bool = True
    silent_looks: int = Field(0, ge=0)
    newest_at: AwareDatetime | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.errors > self.requests:
            raise ValueError(f"{self.version} has {self.errors} errors in {self.requests} requests")
        for one, following in itertools.pairwise(self.latency_buckets):
            if following[0] <= one[0] or following[1] < one[1]:
                raise ValueError(f"the latency histogram of {self.version} falls")
        return self


class Sample(Frozen):
    """One look at both arms. ``canary_share`` is the share of traffic that the canary was meant to get, 0 to 1."""

    at: AwareDatetime
    since: AwareDatetime | None = Field(None, description="when counting began")
    canary_share: float = Field(gt=0, le=1, allow_inf_nan=False)
    stable: ArmSample
    canary: ArmSample


class Verdict(Frozen):
    """What the judge says, the numbers that it used, and the sentence that explains it."""

    answer: Answer
    sentence: str
    numbers: dict[str, Any] = Field(default_factory=dict)


class AnalysisPolicy(Frozen):
    """When a canary is good enough. All of it is part of the plan, so changing it makes a permit stale."""

    minimum_requests: int = Field(50, ge=1, description="requests the canary must have answered before it can pass")
    alpha: float = Field(0.01, gt=0, lt=0.5, description="chance of a false alarm over all looks together")
    max_error_rate: float = Field(0.05, gt=0, lt=1, description="ceiling of the canary's own error rate")
    latency_ratio: float = Field(2.0, gt=1, allow_inf_nan=False, description="canary p95 over stable p95 that fails")
    latency_floor_ms: Milliseconds = Field(50, description="a p95 below this never fails")
    look_every_seconds: Seconds = 5
    silent_looks: int = Field(3, ge=1, description="looks in a row without a new request before data count as missing")
    extend_looks: int = Field(6, ge=0, description="looks of a step without an answer, before the canary is held")
    hold_looks: int = Field(10, ge=0, description="looks while held, before the release is rolled back")
    hold_every_seconds: Seconds = Field(60, description="time between two looks while held")
    new_beginnings: int = Field(2, ge=0, description="how often a step is observed anew after its counters were reset")


class RolloutStep(Frozen):
    """One step of a canary: its share of traffic, and the least time that it is watched."""

    percent: int = Field(ge=1, le=100)
    observe_seconds: Seconds


class Rollout(Frozen):
    """How a version gets its traffic."""

    strategy: str = "canary"
    steps: tuple[RolloutStep, ...]
    bake_seconds: float = Field(60, ge=0, allow_inf_nan=False)
    smoke_paths: tuple[str, ...] = ("/health",)
    on_freeze: str = Field("hold", pattern="^(hold|roll_back)$")


class Artifact(Frozen):
    """What is released: a file and the digest of its content."""

    version: Version
    path: str
    digest: Digest
    authors: tuple[str, ...] | None = Field(None, description="as its metadata says; None: it does not")


# --- database migrations ----------------------------------------------------------------------------------------------

MigrationName = Annotated[str, StringConstraints(pattern=r"^[0-9]{4}_[a-z0-9][a-z0-9_]{0,99}$")]


class Reversal(StrEnum):
    """What it takes to go back behind a change of data, from the mildest to the gravest."""

    REVERSIBLE = "reversible"
    FIX_FORWARD = "fix_forward"
    NEEDS_RESTORE = "needs_restore"

    @property
    def rank(self) -> int:
        """Return 0 for the mildest, 2 for the gravest."""
        return tuple(Reversal).index(self)


class Migration(Frozen):
    """One change of a database's schema as an artifact carries it: SQL forward, and SQL back if there is any."""

    name: MigrationName
    up: str
    down: str | None = None

    @property
    def up_digest(self) -> str:
        """Return the digest of the SQL forward."""
        return "sha256:" + hashlib.sha256(self.up.encode()).hexdigest()

    @property
    def down_digest(self) -> str | None:
        """Return the digest of the SQL back; ``None`` if there is none."""
        return None if self.down is None else "sha256:" + hashlib.sha256(self.down.encode()).hexdigest()


class ConcurrentIndex(Frozen):
    """An index that is made or dropped without a lock: PostgreSQL allows that outside a transaction only.

    ``table`` is there when it is made. ``tolerant``: IF [NOT] EXISTS. Names are as in the catalog, without quotes.
    """

    makes: bool
    schema_name: str = ""
    name: str
    table: str = ""
    tolerant: bool = False


class PlannedMigration(Frozen):
    """One migration of a plan. ``undo``: its SQL back takes away what it made and nothing else, so Airlock may run it.

    ``up_index`` and ``down_index``: that SQL is nothing but this index; all other SQL runs in one transaction.
    """

    name: MigrationName
    up_digest: Digest
    down_digest: Digest | None
    verdict: Reversal
    undo: bool
    up_index: ConcurrentIndex | None = None
    down_index: ConcurrentIndex | None = None


class JudgedStatement(Frozen):
    """One effect of one statement of a migration, and what it takes to go back behind it."""

    migration: str
    statement: int
    does: str
    verdict: Reversal
    why: str


class RollbackSafety(Frozen):
    """The rollback-safety verdict on the migrations of a release; ``statements`` led to it, the gravest first."""

    verdict: Reversal = Reversal.REVERSIBLE
    reason: str = "Airlock runs no database migrations for this service"
    migrations: tuple[PlannedMigration, ...] = ()
    statements: tuple[JudgedStatement, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def in_short(self) -> dict[str, str]:
        """Return what the risk is scored with."""
        return {"verdict": self.verdict.value, "reason": self.reason}


# --- change -----------------------------------------------------------------------------------------------------------


class ApprovalRule(Frozen):
    """Seats of one group: *quorum* distinct members must agree. ``members`` is never empty.

    ``authors`` are of the group too, but wrote what is released, so they are no ``members`` here.
    """

    group: Name
    quorum: int = Field(ge=1)
    members: tuple[str, ...] = Field(min_length=1)
    authors: tuple[str, ...] = ()


class ApprovalTerms(Frozen):
    """By which rule of which policy the seats were chosen, how long people are waited for, and who is asked then.

    ``evidence``: nobody is asked, the proofs and the canary decide. ``reminder_hours`` are before the end.
    ``escalation``: the seats after the first time-out; empty: the release is refused then.
    """

    policy: str = ""
    policy_digest: str = ""
    rule: str = ""
    evidence: bool = False
    valid_hours: float = Field(24, gt=0)
    timeout_hours: float = Field(48, gt=0)
    reminder_hours: tuple[float, ...] = ()
    escalation: tuple[ApprovalRule, ...] = ()
    escalation_hours: float = Field(24, gt=0)
    absent: str = Field("wait", pattern="^(wait|refuse)$")
    conflicts: str = Field("wait", pattern="^(wait|refuse)$")


class Absence(Frozen):
    """A person is away from ``start`` to ``end`` (exclusive); ``delegate`` sits in the person's seats meanwhile."""

    person: str
    start: AwareDatetime
    end: AwareDatetime
    delegate: str | None = None


class RiskFactor(Frozen):
    """One reason for risk: points from 0 to 100 and the sentence that explains them."""

    name: str
    points: int
    reason: str


class Risk(Frozen):
    """Score from 0 to 100, its level, every factor that counted, and the digest of the policy that weighed them."""

    score: int = Field(ge=0, le=100)
    level: str
    factors: tuple[RiskFactor, ...]
    policy: Digest | None = None


class Rfc(Frozen):
    """Request for change, validated.

    ``template`` names the template of a standard change, ``answers`` are those to the risk questions of the form, by
    field. ``digest`` is the content that was asked for: another one is refused. ``undoes`` is the release that a
    rollback takes back, ``train`` the departure of the release train that asked.
    """

    service: Name
    environment: Name
    version: Version
    change_type: str = Field(pattern="^(standard|normal|emergency|rollback)$")
    title: str
    reason: str
    impact: str
    rollback_plan: str
    requester: str
    start_after: AwareDatetime | None = None
    incident: str | None = None
    digest: Digest | None = None
    undoes: str | None = None
    train: str | None = None
    category: Category = Category.APPLICATION
    template: Name | None = None
    answers: dict[str, str] = Field(default_factory=dict)
    ticket: str | None = Field(None, description="key or number of the ticket that it came from")
    calendar_override: str | None = Field(None, description="why it may not wait for an open calendar")


class Plan(Frozen):
    """Everything a release will do, resolved and frozen. Its digest is what humans approve."""

    release: str
    service: Name
    environment: Name
    rfc: Rfc
    artifact: Artifact
    current_version: str
    rollout: Rollout
    analysis: AnalysisPolicy
    target: dict[str, Any]
    metrics: dict[str, Any]
    resources: tuple[Resource, ...]
    backup_policy: dict[str, Any]
    calendar: dict[str, Any]
    approvals: tuple[ApprovalRule, ...]
    terms: ApprovalTerms = ApprovalTerms()
    touches: tuple[str, ...] = Field((), description="what the resources and the target really are, by address")
    risk: Risk
    way_back: RollbackSafety = RollbackSafety()
    settings: dict[str, Any] = Field(default_factory=dict, description="whatever else the service file says")

    @property
    def digest(self) -> str:
        """Return the digest that approvals and the permit are bound to."""
        return digest_of(self)


class Vote(Frozen):
    """One answer of one person. ``stands_for``: absent members in whose seats the person may sit instead."""

    person: str
    choice: str = Field(pattern="^(approve|reject)$")
    at: AwareDatetime
    reason: str = ""
    stands_for: tuple[str, ...] = ()


class Permit(Frozen):
    """Signed leave to carry out one plan until ``expires_at``."""

    release: str
    plan_digest: Digest
    votes: tuple[Vote, ...]
    not_before: AwareDatetime
    expires_at: AwareDatetime


# --- evidence ---------------------------------------------------------------------------------------------------------


class Record(Frozen):
    """One entry of the ledger. ``subject`` tells records of one ``type`` apart (a resource, a step); may be empty."""

    release: str
    type: str
    subject: str = ""
    at: AwareDatetime
    actor: str
    data: dict[str, Any]


def utc_now() -> datetime:
    """Return the present moment, aware, in UTC."""
    return datetime.now(UTC)
