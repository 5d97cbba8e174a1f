"""``airlock plan``: what a release would do, and the digest of that, without changing or recording anything."""

from __future__ import annotations

import argparse
import getpass
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from airlock import registry
from airlock.change.absence import attendance, relevant
from airlock.change.conflicts import conflicts
from airlock.change.form import CHANGE_TYPES, IMPACTS, QUESTIONS
from airlock.change.rfc import rfc_from_form
from airlock.change.risk_policy import load_risk_policy
from airlock.change.text import signatures_text
from airlock.connections import visible
from airlock.deploy.check import open_check
from airlock.deploy.delivery import delivery_of
from airlock.deploy.migrations.database import database_of
from airlock.deploy.resolution import resolve_artifact
from airlock.deploy.strategy import strategy_of
from airlock.errors import AirlockError, GateRefused, InvalidInput, PermanentError, UnknownConnection
from airlock.flow.stages.assessment import Question, Refused, assess, later_refusals, verdict
from airlock.models import Artifact, Category, Checkpoint, Plan, Reversal, RollbackSafety, canonical_json, utc_now
from airlock.past.open_changes import open_changes
from airlock.schedule.asking import ask
from airlock.service.deep_check import check_deep
from airlock.service.find import ServiceEnvironment, find, services_folder
from airlock.service.provenance import settings_of, summary
from airlock.service.unknown_connections import unknown_connections


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add this command to the command line."""
    parser = subparsers.add_parser("plan", help="print what a release would do, and its digest; changes nothing",
                                   description="Exit code 0: such a plan could be approved; 1: a gate would refuse it; "
                                               "2: wrong input.")
    parser.add_argument("service", metavar="SERVICE")
    parser.add_argument("environment", metavar="ENV")
    parser.add_argument("--version", required=True, help="the version to release")
    parser.add_argument("--change-type", choices=CHANGE_TYPES, default="normal")
    parser.add_argument("--template", default=None, help="of a standard change, where there are several")
    parser.add_argument("--category", choices=[one.value for one in Category], default=None)
    for question, answers in QUESTIONS.items():
        parser.add_argument(f"--{question.replace('_', '-')}", choices=answers, default=None,
                            help="risk question of the request (default: not answered, which counts as the worst)")
    parser.add_argument("--impact", choices=IMPACTS, default="medium")
    parser.add_argument("--requester", default=None, help="who would ask for it (default: the present log-in)")
    parser.add_argument("--folder", type=Path, default=None,
                        help="folder of service files (default: AIRLOCK_SERVICES, else include/services)")
    parser.add_argument("--json", action="store_true", help="print the plan as canonical JSON, which has the digest")
    parser.set_defaults(run=run_plan)


def run_plan(arguments: argparse.Namespace, console: Console) -> int:
    """Print the plan and return 0, or 1 when a gate would refuse it.

    :raises InvalidInput: a service file, the version or the request is wrong
    :raises GateRefused: no plan can be made
    """
    environment = find(arguments.folder or services_folder(), arguments.service, arguments.environment)
    check_deep(environment)
    refusals: list[str] = []
    refused = partial(_refused, refusals)
    artifact, now = _artifact(environment, arguments.version, refused), utc_now()
    current, note = _current(environment)
    rfc = rfc_from_form(_form(arguments), arguments.requester or _log_in(), environment)
    found = assess(Question(environment, "preview", rfc, artifact, current, now, load_risk_policy(),
                            signed=False), partial(_way_back, environment, artifact, refused), refused)
    refusals += [text for _, text in unknown_connections(environment)]
    refusals += later_refusals(found.plan, environment, found.calendar, now)
    if arguments.json:
        console.out(canonical_json(found.plan).decode(), highlight=False)
    else:
        _show(found.plan, environment, note, console)
        for why in dict.fromkeys(refusals):
            console.print(f"would be refused: {escape(why)}", soft_wrap=True, highlight=False)
    return 1 if refusals else 0


def _artifact(environment: ServiceEnvironment, version: str, refused: Refused) -> Artifact:
    try:
        return resolve_artifact(environment, version)
    except GateRefused as error:
        refused(error)
        return resolve_artifact(environment, version, returns=True)


def _refused(refusals: list[str], error: AirlockError) -> None:
    if not isinstance(error, UnknownConnection) or visible():
        refusals.append(str(error))


def _log_in() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError) as error:  # a container that runs as a user without a name
        raise InvalidInput("nobody knows under which name you are logged in; give --requester NAME") from error


def _form(arguments: argparse.Namespace) -> dict[str, Any]:
    form: dict[str, Any] = {"version": arguments.version, "change_type": arguments.change_type,
                            "category": arguments.category, "template": arguments.template}
    form |= {question: getattr(arguments, question) for question in QUESTIONS}
    if arguments.change_type != "standard":
        form |= {"title": f"Preview of {arguments.version}", "reason": "Preview on the command line",
                 "impact": arguments.impact, "rollback_plan": "To be written in the request for change"}
    if arguments.change_type == "emergency":
        form |= {"incident": "PREVIEW", "justification": "Preview on the command line"}
    return form


def _current(environment: ServiceEnvironment) -> tuple[str | None, str]:
    """Return the stable version and a note on how it is known; ``None`` when the target cannot be asked."""
    try:
        state = delivery_of(environment).inspect()
    except AirlockError as error:
        return None, f"the target cannot be asked: {error}"
    except ImportError as error:
        return None, f"the target needs a package that is not installed: {error}"
    return state.stable, f"as target {environment.target.name} and router {environment.router.name} say now"


def _way_back(environment: ServiceEnvironment, artifact: Artifact, refused: Refused) -> RollbackSafety:
    """Return the verdict on what the database lacks; the gravest one when the database cannot be asked."""
    setting = environment.migrations
    if setting is None:
        return RollbackSafety()
    try:
        return verdict(environment, artifact, lambda: database_of(setting, environment.resources))
    except AirlockError as error:
        if isinstance(error, PermanentError):
            refused(error)
        return RollbackSafety(verdict=Reversal.NEEDS_RESTORE, reason=f"the database cannot be asked: {error}")


def _not_taken(driver: str) -> str:
    try:
        return "; ".join(registry.resolve(registry.DRIVERS, "driver", driver).capabilities.leaves_out)
    except AirlockError as error:
        return f"unknown: {error}"


def _conflicts(plan: Plan, environment: ServiceEnvironment) -> str:
    if not plan.touches:
        return "unknown: the addresses of what it touches cannot be read here"
    try:
        found = conflicts(plan.touches, plan.release, open_changes(environment))
    except AirlockError as error:
        return f"unknown: {error}"
    return "; ".join(one.sentence for one in found) or "no other open release touches the same"


def _attendance(plan: Plan, environment: ServiceEnvironment) -> str:
    if not plan.approvals:
        return "nobody is asked"
    now = utc_now()
    try:
        known = relevant(environment.absences, plan.approvals, now)
        return attendance(plan.approvals, plan.rfc.requester, known, now).sentence
    except GateRefused as error:
        return str(error)


def _checks(plan: Plan, checkpoint: Checkpoint) -> str:
    return "; ".join(open_check(one).label for one in plan.checks.at(checkpoint)) or "none"


def _show(plan: Plan, environment: ServiceEnvironment, note: str, console: Console) -> None:
    opening = ask(environment.calendar, plan.service, plan.environment, utc_now()).decision
    seats = "; ".join(f"{rule.quorum} of {rule.group} ({', '.join(rule.members)})" for rule in plan.approvals)
    facts = Table(show_header=False, box=None)
    facts.add_column()
    facts.add_column(overflow="fold")
    for name, value in (
        ("service", f"{plan.service} in {plan.environment}"),
        ("version", f"{plan.artifact.version}, {plan.artifact.digest}"),
        ("artifact", plan.artifact.path),
        ("commit", plan.artifact.commit or "the artifact does not say"),
        ("signatures", "; ".join(signatures_text(plan.artifact)) or "none demanded"),
        ("version now", f"{plan.current_version} ({note})"),
        ("change type", plan.rfc.change_type),
        ("target", f"{plan.target['name']}, behind router {plan.router['name']}"),
        ("rollout", f"{plan.rollout.strategy}: {'; '.join(strategy_of(plan.rollout).sentences(plan.rollout))}"),
        *((f"{one} checks", _checks(plan, one)) for one in Checkpoint),
        ("calendar", opening.sentence),
        ("approvals", seats or "none: the standard-change template allows it"),
        ("approvers", _attendance(plan, environment)),
        ("conflicts", _conflicts(plan, environment)),
        ("way back", f"{plan.way_back.verdict.replace('_', ' ')}: {plan.way_back.reason}"),
        ("risk", f"{plan.risk.score} of 100, {plan.risk.level}"),
    ):
        facts.add_row(name, escape(value))
    risk = Table("risk factor", "points", "why")
    for factor in plan.risk.factors:
        risk.add_row(factor.name, str(factor.points), escape(factor.reason))
    backups = Table("backup", "resource", "driver")
    for resource in plan.resources:
        backups.add_row(resource.kind.value, resource.name, resource.driver)
    origins = Table("setting", "written in")
    for field, where in summary(settings_of(environment)).items():
        origins.add_row(field, escape(where))
    console.print(facts, risk, backups)
    for driver in dict.fromkeys(resource.driver for resource in plan.resources):
        if left := _not_taken(driver):
            console.print(f"[bold]not taken by {driver}[/]: {escape(left)}", highlight=False)
    console.print(origins)
    console.print(f"digest of this preview: {plan.digest}", soft_wrap=True, highlight=False)
    console.print("a release has a digest of its own, because its name, requester and texts are part of it; "
                  "nothing was changed", soft_wrap=True, highlight=False)
