"""What a request meets before people are asked: every rule of the gates, in one place, so that a release, its preview
and a train that boards are told the same.

Exists because two lists of the same rules drift apart, and then a preview promises what a release refuses. Reads the
ledgers and the calendar; records nothing and changes nothing. What servers say arrives as data, or as a question.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from airlock.change.absence import attendance, relevant
from airlock.change.absence import refusal as absence_refuses
from airlock.change.approval import eligible, rules_for
from airlock.change.conflicts import conflicts
from airlock.change.conflicts import refusal as conflict_refuses
from airlock.change.migrations import pending, read_migrations
from airlock.change.override import mended_incident
from airlock.change.permit import waits_in_vain
from airlock.change.planning import build_plan, calendar_for
from airlock.change.risk import assess as assess_risk
from airlock.change.risk_policy import RiskPolicy
from airlock.change.way_back import judge, refuses
from airlock.deploy.migrations.database import MigrationDatabase
from airlock.deploy.resolution import carried
from airlock.errors import AirlockError, GateRefused, InvalidInput, PermanentError
from airlock.models import ApprovalRule, Artifact, Migration, Plan, Rfc, RollbackSafety
from airlock.past.facts import risk_facts
from airlock.past.open_changes import open_changes
from airlock.past.standing import standing
from airlock.schedule.asking import Asked, ask, planned
from airlock.service.calendar import PlannedCalendar
from airlock.service.find import ServiceEnvironment
from airlock.service.touched import touched

UNKNOWN = "unknown"
"""The version now, where nobody knows it."""
Refused = Callable[[AirlockError], None]


@dataclass(frozen=True)
class Question:
    """What is asked for, by whom, where, and when; ``stable`` is the version now, ``None`` where nobody knows.

    ``signed``: whether records without a trusted signature are refused.
    """

    environment: ServiceEnvironment
    release: str
    rfc: Rfc
    artifact: Artifact
    stable: str | None
    now: datetime
    policy: RiskPolicy
    signed: bool = True


@dataclass(frozen=True)
class Assessed:
    """The plan, and everything that it follows from."""

    plan: Plan
    facts: dict[str, Any]
    calendar: Asked


def at_once(refusal: AirlockError) -> None:
    """Stop at the first refusal."""
    raise refusal


def assess(
    question: Question,
    way_back: Callable[[], RollbackSafety],
    refused: Refused = at_once,
    stood: Callable[[Mapping[str, Any]], None] = lambda _: None,
) -> Assessed:
    """Return the plan that people would be asked about, after asking every rule that can refuse it.

    :param way_back: asks for the verdict on the migrations that the artifact carries
    :param refused: is told of each refusal; what goes on after one is a preview of what nobody may carry out
    :param stood: is told what a standard change was allowed or refused by
    :raises AirlockError: no plan can be made
    """
    environment, rfc, artifact, now = question.environment, question.rfc, question.artifact, question.now
    if question.stable == rfc.version:
        refused(InvalidInput(f"{rfc.service} {rfc.version} already has all traffic in {rfc.environment}: nothing to "
                             "release"))
    safety = way_back()
    if why := refuses(rfc, safety):
        refused(GateRefused(f"{question.release}: {why}"))
    if rfc.change_type == "standard":
        found = standing(environment, rfc, artifact.digest, question.stable, now, signed=question.signed)
        stood(found)
        if not found["allowed"]:
            refused(GateRefused(found["why"]))
    policy = question.policy
    calendar, asked = calendar_asked(environment, rfc, max(now, rfc.start_after or now))
    facts = risk_facts(environment, policy, artifact, question.stable, signed=question.signed)
    present = {"current_version": question.stable, "now": now, "way_back": safety.in_short}
    risk = assess_risk(rfc, environment, {**facts, **present}, policy)
    rules: tuple[ApprovalRule, ...] = ()
    touches: tuple[str, ...] = ()
    try:
        rules = rules_for(risk, rfc, environment)
        touches = touched(environment, rfc)
    except PermanentError as error:
        refused(error)
    plan = build_plan(question.release, rfc, environment, artifact, question.stable or UNKNOWN, rules, risk,
                      calendar=calendar, way_back=safety, touches=touches)
    for seats in (plan.approvals, plan.terms.escalation):
        try:
            if seats:
                eligible(seats, rfc.requester)
        except GateRefused as error:
            refused(error)
    return Assessed(plan, facts, asked)


def later_refusals(plan: Plan, environment: ServiceEnvironment, calendar: Asked, now: datetime) -> tuple[str, ...]:
    """Return what the gates after the plan would refuse, if everything stays as it is *now*: when people are asked, and
    when it would begin.

    :raises EvidenceInvalid: an entry of the open releases is damaged, so that nobody knows
    """
    said = []
    if plan.approvals:
        known = relevant(environment.absences, plan.approvals, now)
        with suppress(GateRefused):  # the seats can never be filled: said already
            said.append(absence_refuses(plan.terms, attendance(plan.approvals, plan.rfc.requester, known, now)))
    said.append(conflict_refuses(plan.terms, conflicts(plan.touches, plan.release, open_changes(environment))))
    decision = calendar.decision
    if not decision.open:
        patience = plan.terms.timeout_hours if plan.approvals else 0  # the permit begins when the last one has agreed
        ends = now + timedelta(hours=patience + plan.terms.valid_hours)
        said.append(waits_in_vain(decision.look_again, decision.sentence, ends))
    return tuple(filter(None, said))


def calendar_asked(environment: ServiceEnvironment, rfc: Rfc, start: datetime) -> tuple[PlannedCalendar, Asked]:
    """Return the calendar of the plan, and what it says of the *start*; where the request asks to override it, what
    closes it then is what people are asked to override, and nothing else."""
    settings, incident = calendar_for(rfc, environment), mended_incident(rfc)
    calendar = planned(settings)
    asked = ask(calendar, rfc.service, rfc.environment, start, incident)
    if rfc.calendar_override is not None:
        calendar = planned(settings, [one.key for one in asked.decision.closures])
        asked = ask(calendar, rfc.service, rfc.environment, start, incident)
    return calendar, asked


def applied(environment: ServiceEnvironment, database: Callable[[], MigrationDatabase]) -> dict[str, str]:
    """Return name -> digest of what the database has; empty for a service without migrations.

    :raises PermanentError: another database would be migrated than is backed up
    :raises TemporaryError: the database cannot be asked now
    """
    setting = environment.migrations
    if setting is None:
        return {}
    resource = next(one for one in environment.resources if one.name == setting.resource)
    asked = database()
    asked.check_same(str(resource.options["connection"]))
    return {name: one.digest for name, one in asked.applied().items() if one.finished}


def verdict(
    environment: ServiceEnvironment, artifact: Artifact, database: Callable[[], MigrationDatabase]
) -> RollbackSafety:
    """Return the verdict on the migrations of *artifact* that the database lacks.

    :raises InvalidInput: a migration was changed after it was applied, or cannot be run by Airlock
    :raises PermanentError: another database would be migrated than is backed up
    :raises TemporaryError: the database cannot be asked now
    """
    setting = environment.migrations
    if setting is None:
        return RollbackSafety()
    return judge(*pending(migrations_of(environment, artifact, setting.folder), applied(environment, database)))


def migrations_of(environment: ServiceEnvironment, artifact: Artifact, folder: str) -> tuple[Migration, ...]:
    """Return the migrations that *artifact* carries in *folder*.

    :raises InvalidInput: they cannot be read, or one is wrong
    :raises TemporaryError: the source of artifacts cannot be asked now
    """
    return read_migrations(carried(environment.artifact, artifact, folder), artifact.path)
