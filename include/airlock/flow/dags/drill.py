"""Builds the DAG of restore drills of one service environment. Structure only."""

from __future__ import annotations

from functools import partial

from airflow.sdk import DAG

from airlock.flow.dags.release import default_arguments
from airlock.flow.operators.outside_releases import EndOperator, StreamOperator, timetable
from airlock.flow.stages import keeping
from airlock.flow.stages.outside_releases import DRILLS
from airlock.service.find import ServiceEnvironment
from airlock.service.model import DrillPolicy

DOCUMENT = """
### Restore drills of **{service}** in **{environment}**

Restores the {newest} newest recovery point(s) of every resource, and {random} older one(s) that are drawn by lot, into
scratch places, and proves each as a release does. Nothing else is touched. The choice with its seed, and every
comparison, is signed evidence.

**On call:** a red task names the recovery point and what is wrong with it. A backup that fails its drill does not count
as good any more: retention keeps an older one instead.
"""


def dag_id(environment: ServiceEnvironment) -> str:
    """Return the id of the DAG."""
    return f"drills.{environment.service}.{environment.environment}"


def build(environment: ServiceEnvironment, policy: DrillPolicy) -> DAG:
    """Return the DAG that drills *environment* by *policy*. Reads nothing but its arguments."""
    with DAG(
        dag_id=dag_id(environment),
        description=f"Restore drills of {environment.service} in {environment.environment}",
        doc_md=DOCUMENT.format(service=environment.service, environment=environment.environment,
                               newest=policy.newest, random=policy.random),
        schedule=timetable(policy),
        catchup=False,
        max_active_runs=1,
        tags=["airlock", "drills", environment.service, environment.environment],
        default_args=default_arguments(environment.owner),
        is_paused_upon_creation=False,
    ) as dag:
        choose = StreamOperator(
            environment=environment, stream=DRILLS, task_id="choose", act=partial(keeping.choose, policy=policy)
        )
        end = EndOperator(environment=environment, stream=DRILLS, task_id="end", trigger_rule="all_done")
        for resource in environment.resources:
            restore = StreamOperator(
                environment=environment, stream=DRILLS, task_id=f"{resource.kind}.{resource.name}",
                act=partial(keeping.drill, resource=resource),
                trigger_rule="all_done",  # one resource without any backup does not spare the others their drill
            )
            choose >> restore >> end
    return dag
