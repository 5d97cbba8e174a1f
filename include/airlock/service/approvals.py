"""What files may say of who approves: the approval policy, its short form, and people who are away. Frozen data; knows
no vote and no file."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, StringConstraints

from airlock.models import Category, Frozen, Name
from airlock.service.values import (
    CHANGE_TYPES,
    LEVELS,
    Between,
    Folder,
    Moment,
    Person,
    Seats,
    TimeZone,
    known,
)

Hours = Annotated[float, Field(gt=0, le=24 * 31)]
Choice = Annotated[str, StringConstraints(pattern="^(wait|refuse)$")]


class Escalation(Frozen):
    """Who is asked, for how long, when time ran out."""

    seats: Seats
    """Group -> how many of its people must agree then."""
    timeout_hours: Hours = 24
    """How long they are asked; after that the release is refused."""


class Waiting(Frozen):
    """How long an approval is waited for and is good for, and what happens meanwhile."""

    valid_hours: Hours = 24
    """How long an approval is good for."""
    timeout_hours: Hours = 48
    """How long it is waited for."""
    reminder_hours: tuple[Hours, ...] = ()
    """How long before the end of that time people are reminded."""
    escalation: Escalation | None = None
    """Who is asked when time ran out; left out: nobody, the release is refused."""
    absent: Choice = "wait"
    """Whether a release waits or is refused while too many approvers are away."""
    conflicts: Choice = "wait"
    """Whether it waits or is refused while another release works on the same real resource."""


class Condition(Frozen):
    """What a change must be for a rule to fit it; what is left out does not matter."""

    levels: tuple[Annotated[str, known(LEVELS, "risk level")], ...] = ()
    change_types: tuple[Annotated[str, known((*CHANGE_TYPES, "rollback"), "change type")], ...] = ()
    categories: tuple[Category, ...] = ()
    tiers: tuple[Annotated[int, Field(ge=1, le=4)], ...] = ()
    environments: tuple[Name, ...] = ()
    production: bool | None = None

    @property
    def anything(self) -> bool:
        """Return whether every change fits."""
        return self == Condition()


class PolicyRule(Waiting):
    """One rule: whom to ask about the changes that fit ``when``; with ``evidence`` nobody, the proofs decide."""

    name: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=100)]
    when: Condition = Condition()
    evidence: bool = False
    seats: Seats | None = None


class ApprovalPolicy(Frozen):
    """Who must approve what. The first rule that fits decides; the last one fits everything."""

    name: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=100)]
    rules: tuple[PolicyRule, ...] = Field(min_length=1)


class Approvals(Waiting):
    """What a service file says: the name of a policy file, or, the short way, the seats of each risk level."""

    policy: Folder | None = None
    """Policy file, relative to this one, that says all of this instead."""
    low: Seats | None = None
    """Group -> how many of its people must agree to a change of low risk."""
    medium: Seats | None = None
    """The same for medium risk."""
    high: Seats | None = None
    """The same for high risk."""
    emergency: Seats | None = None
    """The same for emergency changes; left out: as their risk says."""

    def short_form(self) -> ApprovalPolicy:
        """Return the seats per level as the policy that they are short for; those of emergencies come first."""
        waiting = {name: getattr(self, name) for name in Waiting.model_fields}
        urgent = Condition(change_types=("emergency",))
        when = {"emergency": urgent, "low": Condition(levels=("low",)), "medium": Condition(levels=("medium",)),
                "high": Condition()}
        rules = [PolicyRule(name=f"{name} risk" if name in LEVELS else name, seats=seats, when=condition, **waiting)
                 for name, condition in when.items() if (seats := getattr(self, name)) is not None]
        return ApprovalPolicy(name="the service file", rules=tuple(rules))


class DeclaredAbsence(Between):
    """A person is away; ``delegate`` decides meanwhile. Times without an offset are local; ``end`` is exclusive."""

    person: Person
    start: Moment = Field(alias="from")
    end: Moment = Field(alias="to")
    delegate: Person | None = None


class People(Frozen):
    """A people file: who is away and who decides instead, and which log-in names authors of commits have."""

    timezone: TimeZone = "UTC"
    absences: tuple[DeclaredAbsence, ...] = ()
    authors: dict[Annotated[str, StringConstraints(min_length=1, max_length=200)], Person] = Field(default_factory=dict)
