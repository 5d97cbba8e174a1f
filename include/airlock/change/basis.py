"""What the rules of risk and approval read of a service file: kept with each plan, so that both can be computed again
from the evidence alone, when the file has long changed. Knows no rule."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from airlock.change.risk_policy import RiskPolicy
from airlock.models import Frozen, Name, Plan, Resource
from airlock.service.approvals import ApprovalPolicy
from airlock.service.calendar import Calendar, PlannedCalendar
from airlock.service.model import RollbackPolicy
from airlock.service.standard_changes import StandardChange
from airlock.service.values import Person


class Ground(Protocol):
    """What risk and approval rules look at. A ``ServiceEnvironment`` is one; a plan with its basis another."""

    @property
    def environment(self) -> str: ...
    @property
    def source(self) -> str: ...
    @property
    def tier(self) -> int: ...
    @property
    def production(self) -> bool: ...
    @property
    def groups(self) -> dict[Name, tuple[Person, ...]]: ...
    @property
    def approval_policy(self) -> ApprovalPolicy: ...
    @property
    def authors(self) -> dict[str, Person]: ...
    @property
    def rollback(self) -> RollbackPolicy | None: ...
    @property
    def standard_changes(self) -> dict[Name, StandardChange]: ...
    @property
    def calendar(self) -> Calendar: ...
    @property
    def resources(self) -> Sequence[Resource]: ...


class Basis(Frozen):
    """What of a ground is not in the plan itself, and the policy that weighed the risk."""

    source: str
    tier: int
    production: bool
    groups: dict[Name, tuple[Person, ...]]
    approval_policy: ApprovalPolicy
    authors: dict[str, Person]
    rollback: RollbackPolicy | None = None
    standard_changes: dict[Name, StandardChange]
    risk_policy: RiskPolicy


@dataclass(frozen=True)
class RecordedGround:
    """The ground of a plan on record."""

    environment: str
    source: str
    tier: int
    production: bool
    groups: dict[Name, tuple[Person, ...]]
    approval_policy: ApprovalPolicy
    authors: dict[str, Person]
    rollback: RollbackPolicy | None
    standard_changes: dict[Name, StandardChange]
    calendar: Calendar
    resources: Sequence[Resource]


def basis_of(ground: Ground, risk_policy: RiskPolicy) -> Basis:
    """Return what to keep of *ground*, and of the policy that weighed the risk, beside the plan."""
    return Basis(source=ground.source, tier=ground.tier, production=ground.production, groups=ground.groups,
                 approval_policy=ground.approval_policy, authors=ground.authors, rollback=ground.rollback,
                 standard_changes=ground.standard_changes, risk_policy=risk_policy)


def ground_of(plan: Plan, basis: Basis) -> RecordedGround:
    """Return what the rules saw when *plan* was made."""
    return RecordedGround(environment=plan.environment, source=basis.source, tier=basis.tier,
                          production=basis.production, groups=basis.groups,
                          approval_policy=basis.approval_policy, authors=basis.authors, rollback=basis.rollback,
                          standard_changes=basis.standard_changes,
                          calendar=PlannedCalendar.model_validate(plan.calendar),
                          resources=plan.resources)
