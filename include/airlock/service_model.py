"""What a service file may say, as frozen data. Knows no YAML, no driver and no Airflow.

Rules that concern one value live here (a cron line, a time zone, a registered name), so that they are reported together
with typos; rules between values live in ``service_rules``.
"""

from __future__ import annotations

import re
from datetime import date, datetime
from difflib import get_close_matches
from functools import lru_cache
from typing import Annotated, Any, Literal, get_args
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints

from airlock import registry
from airlock.models import Absence, AnalysisPolicy, Category, Frozen, Kind, Name, Resource, Rollout, Seconds
from airlock.plain_text import LOGIN_NAME, LOGIN_NAME_RULE

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
LEVELS = ("low", "medium", "high")
CHANGE_TYPES = ("normal", "standard", "emergency")


def kind_of_driver(name: str) -> Kind:
    """Return the kind that a registered driver belongs to, from where it lives, without importing it."""
    return Kind(registry.DRIVERS[name].path.partition(":")[0].split(".")[-2])


@lru_cache(maxsize=256)
def _zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError) as error:
        raise ValueError(f"unknown time zone {name!r}; write a name such as UTC or Europe/Berlin") from error
    return name


@lru_cache(maxsize=256)
def _cron(line: str) -> str:
    from croniter import croniter  # only services with a cycle pay for it

    if len(line.split()) != 5 or not croniter.is_valid(line):
        raise ValueError(f"{line!r} is no cron line; write five fields, for example '0 6 * * 2'")
    return line


def _known(table: Any, what: str) -> AfterValidator:
    def check(name: str) -> str:
        if name not in table:
            near = get_close_matches(name, table, n=1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise ValueError(f"unknown {what} {name!r}; {hint}known are {', '.join(sorted(table))}")
        return name

    return AfterValidator(check)


def _person(name: str) -> str:
    if not LOGIN_NAME.fullmatch(name):
        raise ValueError(f"{name[:40]!a} is no log-in name; write {LOGIN_NAME_RULE}")
    return name


def _moment(text: Any) -> Any:
    if isinstance(text, str) and re.fullmatch(r"\d{4}-\d{2}-\d{2}", text):
        return f"{text}T00:00:00"
    return text


def _clock(text: str) -> str:
    """Accept ``HH:MM`` from 00:00 to 24:00."""
    if text != "24:00" and not re.fullmatch(r"([01][0-9]|2[0-3]):[0-5][0-9]", text):
        raise ValueError(f"{text[:20]!r} is no time of day; write HH:MM, from 00:00 to 24:00")
    return text


def _cycle(value: Any) -> Any:
    if value == "continuous":
        return {"continuous": True}
    return {} if value == "manual" else value


Person = Annotated[str, AfterValidator(_person)]
TimeZone = Annotated[str, AfterValidator(_zone)]
Cron = Annotated[str, AfterValidator(_cron)]
Clock = Annotated[str, AfterValidator(_clock)]
Day = Annotated[str, _known(DAYS, "day")]
Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=4000)]
Folder = Annotated[str, StringConstraints(min_length=1, max_length=1000)]
Seats = Annotated[dict[Name, Annotated[int, Field(ge=1)]], Field(min_length=1)]


class Between(BaseModel):
    """Base of models with the fields ``from`` and ``to``, which are called ``start`` and ``end`` in Python."""

    model_config = ConfigDict(frozen=True, extra="forbid", serialize_by_alias=True)


class Window(Between):
    """Local times of some weekdays in which a release may begin. An ``end`` before ``start`` is on the next day."""

    days: tuple[Day, ...] = Field(min_length=1)
    start: Clock = Field(alias="from")
    end: Clock = Field(alias="to")


class Freeze(Between):
    """A time without releases. Times without an offset are local times of the calendar; ``end`` is exclusive."""

    name: Text
    start: Annotated[datetime, BeforeValidator(_moment)] = Field(alias="from")
    end: Annotated[datetime, BeforeValidator(_moment)] = Field(alias="to")


class Calendar(Frozen):
    """When releases may begin. No window means never; a freeze wins over a window."""

    timezone: TimeZone = "UTC"
    windows: tuple[Window, ...] = Field(min_length=1)
    freezes: tuple[Freeze, ...] = ()


class Cycle(Frozen):
    """``cron`` is ``None`` for ``cycle: manual`` and for ``cycle: continuous``, which follows each promotion in the
    environment before. ``template`` names the standard change of its requests, and may be left out where there is
    one."""

    continuous: bool = False
    cron: Cron | None = None
    timezone: TimeZone = "UTC"
    template: Name | None = None


Varying = Literal["version", "title", "reason", "start_after"]
Step = Literal["patch", "minor", "major"]


class Variation(Frozen):
    """How one field may differ from use to use of a template: any of the shell patterns ``like`` must fit (none:
    anything); ``step``, for the version, is the largest step up from the version now."""

    like: tuple[Annotated[str, StringConstraints(min_length=1, max_length=200)], ...] = ()
    step: Step | None = None


class SuspendAfter(Frozen):
    """When a template suspends itself: ``in_a_row`` uses that did not stay, or ``failures`` of them in
    ``within_days``."""

    in_a_row: int = Field(2, ge=1, le=100)
    failures: int = Field(3, ge=1, le=100)
    within_days: float = Field(30, gt=0, le=3660)


class StandardChange(Frozen):
    """A pre-approved template: what may vary and how, the risk up to which it holds, the categories that it is for, and
    until when (a day, its end in UTC)."""

    title: Text
    reason: Text
    impact: Text
    rollback_plan: Text
    maximum_risk: int = Field(40, ge=0, le=100)
    categories: tuple[Category, ...] = Field((Category.APPLICATION,), min_length=1)
    may_vary: dict[Varying, Variation] = Field(default_factory=lambda: dict.fromkeys(get_args(Varying), Variation()))
    valid_until: date | None = None
    suspend_after: SuspendAfter = SuspendAfter()


class Emergency(Frozen):
    """Emergency changes: the hours after landing within which the normal seats must approve one, too."""

    retro_approval_hours: float = Field(72, gt=0, le=24 * 31)


Hours = Annotated[float, Field(gt=0, le=24 * 31)]
Choice = Annotated[str, StringConstraints(pattern="^(wait|refuse)$")]


class Escalation(Frozen):
    """Who is asked, for how long, when time ran out."""

    seats: Seats
    timeout_hours: Hours = 24


class Waiting(Frozen):
    """How long an approval is waited for and is good for, and what happens meanwhile.

    ``reminder_hours`` are before the end of the time. ``absent`` and ``conflicts``: whether a release waits or is
    refused while too many approvers are away, or while another release works on the same real resource.
    """

    valid_hours: Hours = 24
    timeout_hours: Hours = 48
    reminder_hours: tuple[Hours, ...] = ()
    escalation: Escalation | None = None
    absent: Choice = "wait"
    conflicts: Choice = "wait"


class Condition(Frozen):
    """What a change must be for a rule to fit it; what is left out does not matter."""

    levels: tuple[Annotated[str, _known(LEVELS, "risk level")], ...] = ()
    change_types: tuple[Annotated[str, _known((*CHANGE_TYPES, "rollback"), "change type")], ...] = ()
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
    low: Seats | None = None
    medium: Seats | None = None
    high: Seats | None = None
    emergency: Seats | None = None

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
    start: Annotated[datetime, BeforeValidator(_moment)] = Field(alias="from")
    end: Annotated[datetime, BeforeValidator(_moment)] = Field(alias="to")
    delegate: Person | None = None


class People(Frozen):
    """A people file: who is away and who decides instead, and which log-in names authors of commits have."""

    timezone: TimeZone = "UTC"
    absences: tuple[DeclaredAbsence, ...] = ()
    authors: dict[Annotated[str, StringConstraints(min_length=1, max_length=200)], Person] = Field(default_factory=dict)


class RollbackPolicy(Frozen):
    """How on-call returns to the version before: seats, and how long it is watched with all traffic, then baked."""

    seats: Seats
    observe_seconds: Seconds = 30
    bake_seconds: float = Field(60, ge=0, allow_inf_nan=False)


class Schedule(Frozen):
    """When something is done outside releases. People are told when it has not begun ``late_after_minutes`` later."""

    cron: Cron
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
    key_connection: Text
    scratch: Folder
    maximum_skew_seconds: float = Field(3600, gt=0)
    restore_on_rollback: tuple[Name, ...] = ()
    schedule: Schedule | None = None
    drills: DrillPolicy | None = None
    retention: RetentionPolicy | None = None


class TargetSetting(Frozen):
    """A target by its registered name."""

    name: Annotated[str, _known(registry.TARGETS, "target")]
    options: dict[str, Any] = Field(default_factory=dict)


class MetricsSetting(Frozen):
    """A metric source by its registered name."""

    name: Annotated[str, _known(registry.METRIC_SOURCES, "metric source")]
    options: dict[str, Any] = Field(default_factory=dict)


class Tickets(Frozen):
    """The ticket system in which requests for change live beside Airflow, by its registered name.

    ``fields`` is field of the trigger form -> field of the ticket; ``values`` is field of the form -> what the ticket
    says -> what the form says, for choices; ``people`` is account in the ticket system -> log-in name in Airflow, and
    nobody else's approval counts. ``decides_approval``: people answer there and not in Airflow.
    """

    system: Annotated[str, _known(registry.TICKET_SYSTEMS, "ticket system")]
    connection: Text
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

    driver: Annotated[str, _known(registry.DRIVERS, "driver")]


class EnvironmentSettings(Frozen):
    """One entry of ``environments`` in a service file."""

    production: bool = False
    after: Name | None = None
    cycle: Annotated[Cycle, BeforeValidator(_cycle)] = Cycle()
    standard_changes: dict[Name, StandardChange] = Field(default_factory=dict)
    emergency: Emergency = Emergency()
    artifacts: Folder
    ledger: Folder
    evidence: Folder
    anchor: Folder | None = None
    signing_connection: Text
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
