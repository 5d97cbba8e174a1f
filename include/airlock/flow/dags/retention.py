"""Builds the DAG that expires recovery points of one service environment. Structure only."""

from __future__ import annotations

from airflow.sdk import DAG, Param

from airlock.flow.dags.release import default_arguments
from airlock.flow.operators.outside_releases import EndOperator, ExpireOperator, timetable
from airlock.flow.stages.outside_releases import RETENTION
from airlock.service.find import ServiceEnvironment
from airlock.service.model import RetentionPolicy

DOCUMENT = """
### Retention of backups of **{service}** in **{environment}**

Removes recovery points that no rule of the policy keeps. The last good one of each resource (its restore was proved)
and those of an open change are never removed. What is decided on each, and why, is signed evidence.

**On call:** to see what would go, trigger it with *dry run*: nothing is removed then.
"""


def dag_id(environment: ServiceEnvironment) -> str:
    """Return the id of the DAG."""
    return f"retention.{environment.service}.{environment.environment}"


def build(environment: ServiceEnvironment, policy: RetentionPolicy) -> DAG:
    """Return the DAG that expires recovery points of *environment* by *policy*. Reads nothing but its arguments."""
    with DAG(
        dag_id=dag_id(environment),
        description=f"Expiry of backups of {environment.service} in {environment.environment}",
        doc_md=DOCUMENT.format(service=environment.service, environment=environment.environment),
        schedule=timetable(policy),
        catchup=False,
        max_active_runs=1,
        tags=["airlock", "retention", environment.service, environment.environment],
        params={"dry_run": Param(policy.dry_run, type="boolean", title="Dry run",
                                 description_md="Only say what would be removed.")},
        default_args=default_arguments(environment.owner),
        is_paused_upon_creation=False,
    ) as dag:
        expire = ExpireOperator(environment=environment, stream=RETENTION, policy=policy, task_id="expire")
        expire >> EndOperator(environment=environment, stream=RETENTION, task_id="end", trigger_rule="all_done")
    return dag
