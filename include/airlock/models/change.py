"""The change itself: who approves, how risky it is, what was asked for, planned and permitted."""

from __future__ import annotations

from typing import Any

from pydantic import AwareDatetime, Field

from airlock.models.artifact import Artifact
from airlock.models.backup import Resource
from airlock.models.checks import PlannedChecks
from airlock.models.frozen import Digest, Frozen, Name, Version, digest_of
from airlock.models.migration import RollbackSafety
from airlock.models.rollout import AnalysisPolicy, Rollout
from airlock.models.terms import Category


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
    """Score from 0 to 100, its level, every factor that counted, and the digest of the policy that weighed them.

    ``failed_before``: this very content failed before, or nobody knows, so it is never let through unseen.
    """

    score: int = Field(ge=0, le=100)
    level: str
    factors: tuple[RiskFactor, ...]
    policy: Digest | None = None
    failed_before: bool = False


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

    @property
    def returns(self) -> bool:
        """Return whether it asks to go back to the version before."""
        return self.change_type == "rollback"


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
    router: dict[str, Any]
    metrics: dict[str, Any]
    checks: PlannedChecks = PlannedChecks()
    resources: tuple[Resource, ...]
    backup_policy: dict[str, Any]
    calendar: dict[str, Any]
    approvals: tuple[ApprovalRule, ...]
    terms: ApprovalTerms = ApprovalTerms()
    touches: tuple[str, ...] = Field((), description="what the resources, target and router really are, by address")
    risk: Risk
    way_back: RollbackSafety = RollbackSafety()
    settings: dict[str, Any] = Field(default_factory=dict, description="whatever else the service file says")

    @property
    def digest(self) -> str:
        """Return the digest that approvals and the permit are bound to."""
        return digest_of(self)

    @property
    def returns(self) -> bool:
        """Return whether it takes the service back to the version before, as on-call or a train asked."""
        return self.rfc.returns

    @property
    def trial(self) -> str:
        """Return what to call the time in which the version of the plan has to show that it works."""
        if self.returns:
            return f"the return to {self.artifact.version}"
        return f"the {'canary' if self.rollout.strategy == 'canary' else 'switch to'} {self.artifact.version}"

    @property
    def traffic_first(self) -> bool:
        """Return whether backups follow the traffic: of a return that neither migrates nor restores data, so that no
        act of it can lose any."""
        return self.returns and not self.way_back.migrations and not self.backup_policy.get("restore_on_rollback")


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
