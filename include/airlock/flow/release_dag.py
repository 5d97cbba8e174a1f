"""Builds the release DAG of one service environment. Structure only: same task ids for every run, cheap to parse."""

from __future__ import annotations

from datetime import timedelta
from functools import partial

from airflow.sdk import DAG, BaseOperator, TaskGroup
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

**On call:** read the log of the first red task: its last line says what stopped and what to do next. A release that
began always lands: if `close.seal` is red, clear `deploy.rollback.traffic` with downstream.
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
        params=form_params(scheduled=cycle.cron is not None),
        tags=["airlock", "release", environment.service, environment.environment],
        default_args={
            "owner": environment.owner,
            "retries": 3,
            "retry_delay": timedelta(seconds=10),
            "retry_exponential_backoff": 2.0,
            "max_retry_delay": timedelta(minutes=5),
            "retry_policy": RETRY,
            "environment": environment,
        },
        is_paused_upon_creation=False,
    ) as dag:
        window = _change()
        restore_set = _backup(environment.resources)
        landed = _deploy()
        seal, outcome = _close()
        window >> dag.task_group.children["backup"] >> restore_set
        restore_set >> dag.get_task("deploy.stage")
        landed >> seal >> outcome
    return dag


def _change() -> BaseOperator:
    with TaskGroup("change", tooltip="Should we make this change?"):
        validate = ValidateOperator(task_id="validate")
        assess = StageOperator(task_id="assess", act=change.assess)
        approve = ApproveOperator(task_id="approve")
        permit = StageOperator(task_id="permit", act=change.permit)
        window = WindowOperator(task_id="window")
        validate >> assess >> approve >> permit >> window
    return window


def _backup(resources: tuple[Resource, ...]) -> BaseOperator:
    by_kind: dict[Kind, list[Resource]] = {}
    for resource in resources:
        by_kind.setdefault(resource.kind, []).append(resource)
    with TaskGroup("backup", tooltip="No proof, no deploy"):
        for kind in sorted(by_kind):
            with TaskGroup(kind.value):
                proofs = [_proof(resource) for resource in by_kind[kind]]
                discard = StageOperator(task_id="discard", act=partial(backup.discard, resources=tuple(by_kind[kind])))
                proofs >> discard.as_teardown()
    return StageOperator(task_id="restore_set", act=backup.restore_set)


def _proof(resource: Resource) -> BaseOperator:
    with TaskGroup(resource.name):
        take = TakeOperator(task_id="take", resource=resource)
        prove = StageOperator(task_id="prove", act=partial(backup.prove, resource=resource))
        take >> prove
    return prove


def _deploy() -> BaseOperator:
    with TaskGroup("deploy", tooltip="How do we deploy it safely?"):
        stage = StageOperator(task_id="stage", act=deploy.stage)
        canary = CanaryOperator(task_id="canary", retries=12)
        validate = StageOperator(task_id="validate", act=deploy.validate)
        decide = StageOperator(task_id="decide", act=deploy.decide, trigger_rule="all_done")
        promote = PromoteOperator(task_id="promote")
        bake = BakeOperator(task_id="bake")
        with TaskGroup("rollback", tooltip="The way back, under the same plan"):
            traffic = RollbackTrafficOperator(task_id="traffic", trigger_rule="all_done", retries=10)
            restore = RollbackDataOperator(task_id="data")
            verify = StageOperator(task_id="verify", act=rollback.verify)
            traffic >> restore >> verify
        stage >> canary >> validate >> decide >> promote >> bake >> traffic
        decide >> traffic
    return verify


def _close() -> tuple[BaseOperator, BaseOperator]:
    with TaskGroup("close", tooltip="Evidence"):
        seal = StageOperator(task_id="seal", act=close.seal, trigger_rule="all_done")
        outcome = OutcomeOperator(task_id="outcome", trigger_rule="all_done")
    return seal, outcome
