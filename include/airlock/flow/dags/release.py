"""Builds the release DAG of one service environment. Structure only: same task ids for every run, cheap to parse."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from functools import partial
from typing import Any

from airflow.sdk import DAG, Asset, BaseOperator, TaskGroup
from airflow.sdk.definitions.param import ParamsDict

from airlock.flow.dags.timetables import CycleTimetable
from airlock.flow.dags.trigger_form import form_params
from airlock.flow.operators.approval import ApproveOperator
from airlock.flow.operators.assets import asset_of
from airlock.flow.operators.release import (
    BakeOperator,
    CanaryOperator,
    OutcomeOperator,
    PromoteOperator,
    ReleaseOperator,
    RollbackDataOperator,
    RollbackTrafficOperator,
    StageOperator,
    TakeOperator,
    ValidateOperator,
)
from airlock.flow.operators.stopping import endings
from airlock.flow.operators.ticket_approval import TicketApproveOperator
from airlock.flow.operators.window import WindowOperator
from airlock.flow.stages import backup, change, close, deploy, inspect, migrate, rollback, tickets
from airlock.models import Kind, Resource
from airlock.service.find import ServiceEnvironment

DOCUMENT = """
### Release of **{service}** to **{environment}**

{description} Owner: {owner}.

1. **change**: the request is validated and risk-scored, people approve its plan, a permit is signed, a window awaited.
2. **backup**: every resource is backed up, by kind, and each backup is restored as a test. No proof, no deploy.
3. **deploy**: the database is migrated where the version needs it, the version is staged, gets {steps} % of the
   traffic ({strategy}) and is judged, then it is promoted and baked, or everything goes back.
4. **close**: the evidence is sealed. The run fails unless the release was promoted.

**On call:** in the log of the first red task, the line with `stopped:` says what stopped and what to do next. A release
that began always lands: if `close.seal` is red, clear `deploy.rollback.traffic` with downstream.
"""


def dag_id(environment: ServiceEnvironment) -> str:
    """Return the id of the release DAG."""
    return f"release.{environment.service}.{environment.environment}"


def build(environment: ServiceEnvironment) -> DAG:
    """Return the release DAG of *environment*. Reads nothing but its argument."""
    cycle = environment.cycle
    with DAG(
        dag_id=dag_id(environment),
        description=f"Release {environment.service} to {environment.environment}",
        doc_md=DOCUMENT.format(
            service=environment.service,
            environment=environment.environment,
            description=environment.description,
            owner=environment.owner,
            steps=", ".join(str(step.percent) for step in environment.rollout.steps) or "100",
            strategy=environment.rollout.strategy,
        ),
        schedule=_schedule(environment),
        catchup=False,
        max_active_runs=1,
        tags=["airlock", "release", environment.service, environment.environment],
        default_args=default_arguments(environment.owner),
        is_paused_upon_creation=False,
    ) as dag:
        stages(environment, ValidateOperator, [asset_of(environment.service, environment.environment)],
               ticketed=environment.tickets is not None)
    # Only now: Airflow copies a DAG's params into every task that is added to it, most of the time of a parse. A task's
    # context has them all the same.
    dag.params = ParamsDict(form_params(scheduled=cycle.automatic))
    return dag


def _schedule(environment: ServiceEnvironment) -> Asset | CycleTimetable | None:
    cycle = environment.cycle
    if cycle.continuous and environment.after is not None:
        return asset_of(environment.service, environment.after)
    return CycleTimetable(cycle, environment.calendar) if cycle.timed else None


def default_arguments(owner: str) -> dict[str, Any]:
    """Return what the tasks of Airlock's DAGs have in common."""
    return {
        "owner": owner,
        "retries": 3,
        "retry_delay": timedelta(seconds=10),
        "retry_exponential_backoff": 2.0,
        "max_retry_delay": timedelta(minutes=5),
        **endings(),
    }


def stages(
    environment: ServiceEnvironment,
    validate: type[ReleaseOperator],
    outlets: Sequence[Asset] = (),
    *,
    ticketed: bool = False,
    traffic_first: bool = False,
) -> None:
    """Add every stage of a release, whose request *validate* accepts, to the DAG that is being built.

    :param outlets: what a promotion is announced through
    :param ticketed: whether the release is shown, and perhaps approved, in a ticket
    :param traffic_first: whether it changes no data, so that backups need not come before the traffic, but follow
    """
    window = _change(environment, validate, ticketed, looked_at=not traffic_first)
    backups, restore_set = _backup(environment)
    first, promote, landed = _deploy(environment, migrates=not traffic_first)
    seal, outcome = _close(environment, outlets, ticketed)
    if traffic_first:
        window >> first
        promote >> backups
        restore_set >> seal
    else:
        window >> backups
        restore_set >> first
    landed >> seal >> outcome


def _change(
    environment: ServiceEnvironment, first: type[ReleaseOperator], ticketed: bool, *, looked_at: bool
) -> BaseOperator:
    with TaskGroup("change", tooltip="Should we make this change?"):
        # A request may come from a ticket, and the ticket system be away for a while.
        validate = first(environment=environment, task_id="validate", **({"retries": 30} if ticketed else {}))
        # It waits while an earlier release is being brought back: see flow.acting.
        assess = StageOperator(environment=environment, task_id="assess", act=change.assess, retries=30)
        approve = _approve(environment, ticketed)
        permit = StageOperator(environment=environment, task_id="permit", act=change.permit)
        window = WindowOperator(environment=environment, task_id="window")
        known: BaseOperator = assess
        if looked_at:
            known = StageOperator(environment=environment, task_id="inspect", act=inspect.inspect, retries=6)
            assess >> known
        validate >> assess
        known >> approve >> permit >> window
        if ticketed:
            ticket = StageOperator(environment=environment, task_id="ticket", act=tickets.open_ticket, retries=30)
            known >> ticket >> approve
    return window


def _approve(environment: ServiceEnvironment, ticketed: bool) -> BaseOperator:
    if ticketed and environment.tickets is not None and environment.tickets.decides_approval:
        return TicketApproveOperator(environment=environment, task_id="approve", retries=30)
    return ApproveOperator(
        environment=environment,
        task_id="approve",
        # Resumed before its former try was reported, a task counts as lost: it is tried again with the answer it had.
        retries=50,
        retry_delay=timedelta(seconds=2),
        retry_exponential_backoff=0,
    )


def _backup(environment: ServiceEnvironment) -> tuple[TaskGroup, BaseOperator]:
    by_kind: dict[Kind, list[Resource]] = {}
    for resource in environment.resources:
        by_kind.setdefault(resource.kind, []).append(resource)
    with TaskGroup("backup", tooltip="No proof, no deploy") as group:
        restore_set = StageOperator(
            environment=environment,
            task_id="restore_set",
            act=backup.restore_set,
            # A proof that failed ends nothing while other backups are under way: else these would find the evidence
            # sealed, and people would be told of one reason only.
            trigger_rule="all_done_min_one_success",
        )
        for kind, resources in sorted(by_kind.items()):
            with TaskGroup(kind.value):
                proofs = [_proof(environment, resource) for resource in resources]
                discard = StageOperator(
                    environment=environment,
                    task_id="discard",
                    act=partial(backup.discard, resources=tuple(resources)),
                    after_seal=True,
                )
                proofs >> discard.as_teardown()
                proofs >> restore_set
    return group, restore_set


def _proof(environment: ServiceEnvironment, resource: Resource) -> BaseOperator:
    # A server may be away or overloaded for minutes: nothing is changed yet, so waiting for it costs nothing.
    retries = 6
    proof = partial(backup.prove, resource=resource)
    with TaskGroup(resource.name):
        take = TakeOperator(environment=environment, task_id="take", resource=resource, retries=retries)
        prove = StageOperator(environment=environment, task_id="prove", act=proof, retries=retries)
        take >> prove
    return prove


def _deploy(environment: ServiceEnvironment, *, migrates: bool) -> tuple[BaseOperator, BaseOperator, BaseOperator]:
    """Return the first task, the one that gives all traffic, and the last one."""
    with TaskGroup("deploy", tooltip="How do we deploy it safely?"):
        stage = StageOperator(environment=environment, task_id="stage", act=deploy.stage, while_open=True)
        canary = CanaryOperator(environment=environment, task_id="canary", retries=12)
        validate = StageOperator(environment=environment, task_id="validate", act=deploy.validate)
        decide = StageOperator(environment=environment, task_id="decide", act=deploy.decide, trigger_rule="all_done")
        promote = PromoteOperator(environment=environment, task_id="promote")
        bake = BakeOperator(environment=environment, task_id="bake")
        with TaskGroup("rollback", tooltip="The way back, under the same plan"):
            traffic = RollbackTrafficOperator(
                environment=environment, task_id="traffic", trigger_rule="all_done", retries=10
            )
            restore = RollbackDataOperator(environment=environment, task_id="data")
            verify = StageOperator(environment=environment, task_id="verify", act=rollback.verify)
            traffic >> restore >> verify
        stage >> canary >> validate >> decide >> promote >> bake >> traffic
        decide >> traffic
        if not migrates:
            return stage, promote, verify
        # Before the new version is started: its smoke checks may need what a migration adds. A lock may take a while.
        schema = StageOperator(
            environment=environment, task_id="migrate", act=migrate.migrate, while_open=True, retries=8
        )
        schema >> stage
    return schema, promote, verify


def _close(
    environment: ServiceEnvironment, outlets: Sequence[Asset], ticketed: bool
) -> tuple[BaseOperator, BaseOperator]:
    with TaskGroup("close", tooltip="Evidence"):
        seal = StageOperator(
            environment=environment, task_id="seal", act=close.seal, after_seal=True, trigger_rule="all_done"
        )
        outcome = OutcomeOperator(
            environment=environment, task_id="outcome", trigger_rule="all_done", outlets=list(outlets)
        )
        if ticketed:
            # After the seal: a ticket system that is away must not keep the evidence open.
            ticket = StageOperator(
                environment=environment,
                task_id="ticket",
                act=tickets.close_ticket,
                after_seal=True,
                trigger_rule="all_done",
                retries=6,
            )
            seal >> ticket >> outcome
    return seal, outcome
