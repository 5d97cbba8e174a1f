"""Builds the release DAG of one service environment. Structure only: same task ids for every run, cheap to parse."""

from __future__ import annotations

from datetime import timedelta
from functools import partial

from airflow.sdk import DAG, BaseOperator, TaskGroup
from airflow.sdk.definitions.param import ParamsDict
from airflow.sdk.definitions.retry_policy import ExceptionRetryPolicy, RetryAction, RetryRule
from airflow.timetables.trigger import CronTriggerTimetable

from airlock.errors import PermanentError
from airlock.flow.approval import ApproveOperator
from airlock.flow.operators import (
    BakeOperator,
    CanaryOperator,
    OutcomeOperator,
    PromoteOperator,
    RollbackDataOperator,
    RollbackTrafficOperator,
    StageOperator,
    TakeOperator,
    ValidateOperator,
    WindowOperator,
)
from airlock.flow.params import form_params
from airlock.flow.stages import backup, change, close, deploy, rollback
from airlock.models import Kind, Resource
from airlock.services import ServiceEnvironment

RETRY = ExceptionRetryPolicy(
    rules=[RetryRule(exception=PermanentError, action=RetryAction.FAIL, reason="a retry cannot help")]
)
DOCUMENT = """
### Release of **{service}** to **{environment}**

{description} Owner: {owner}.

1. **change**: the request is validated and risk-scored, people approve its plan, a permit is signed, a window awaited.
2. **backup**: every resource is backed up, by kind, and each backup is restored as a test. No proof, no deploy.
3. **deploy**: the new version is staged, a canary gets {steps} % of the traffic and is judged, then it is promoted and
   baked, or everything goes back.
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
            steps=", ".join(str(step.percent) for step in environment.rollout.steps),
        ),
        schedule=CronTriggerTimetable(cycle.cron, timezone=cycle.timezone) if cycle.cron else None,
        catchup=False,
        max_active_runs=1,
        tags=["airlock", "release", environment.service, environment.environment],
        default_args={
            "owner": environment.owner,
            "retries": 3,
            "retry_delay": timedelta(seconds=10),
            "retry_exponential_backoff": 2.0,
            "max_retry_delay": timedelta(minutes=5),
            "retry_policy": RETRY,
        },
        is_paused_upon_creation=False,
    ) as dag:
        window = _change(environment)
        backups, restore_set = _backup(environment)
        first, landed = _deploy(environment)
        seal, outcome = _close(environment)
        window >> backups
        restore_set >> first
        landed >> seal >> outcome
    # Only now: Airflow copies a DAG's params into every task that is added to it, most of the time of a parse. A task's
    # context has them all the same.
    dag.params = ParamsDict(form_params(scheduled=cycle.cron is not None))
    return dag


def _change(environment: ServiceEnvironment) -> BaseOperator:
    with TaskGroup("change", tooltip="Should we make this change?"):
        validate = ValidateOperator(environment=environment, task_id="validate")
        # It waits while an earlier release is being brought back: see flow.acting.
        assess = StageOperator(environment=environment, task_id="assess", act=change.assess, retries=30)
        approve = ApproveOperator(
            environment=environment,
            task_id="approve",
            # A vote soon after the one before can meet the task still ending its try; votes are kept, so ask again.
            retries=50,
            retry_delay=timedelta(seconds=2),
            retry_exponential_backoff=0,
        )
        permit = StageOperator(environment=environment, task_id="permit", act=change.permit)
        window = WindowOperator(environment=environment, task_id="window")
        validate >> assess >> approve >> permit >> window
    return window


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


def _deploy(environment: ServiceEnvironment) -> tuple[BaseOperator, BaseOperator]:
    with TaskGroup("deploy", tooltip="How do we deploy it safely?"):
        stage = StageOperator(environment=environment, task_id="stage", act=deploy.stage)
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
    return stage, verify


def _close(environment: ServiceEnvironment) -> tuple[BaseOperator, BaseOperator]:
    with TaskGroup("close", tooltip="Evidence"):
        seal = StageOperator(
            environment=environment, task_id="seal", act=close.seal, after_seal=True, trigger_rule="all_done"
        )
        outcome = OutcomeOperator(environment=environment, task_id="outcome", trigger_rule="all_done")
    return seal, outcome
