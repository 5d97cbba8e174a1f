"""Builds the DAG of scheduled backups of one service environment. Structure only."""

from __future__ import annotations

from airflow.sdk import DAG

from airlock.flow.dags.release import default_arguments
from airlock.flow.operators.outside_releases import BackupOperator, EndOperator, StreamOperator, timetable
from airlock.flow.stages import keeping
from airlock.flow.stages.outside_releases import BACKUPS
from airlock.service.find import ServiceEnvironment
from airlock.service.model import Schedule

DOCUMENT = """
### Scheduled backups of **{service}** in **{environment}**

Takes a backup of every resource by the same drivers, into the same store, as a release does, and restores each as a
test. Runs by the schedule in the service file, and whenever it is triggered; no release is needed.

**On call:** a red task names resource and reason. The other resources are backed up all the same.
"""


def dag_id(environment: ServiceEnvironment) -> str:
    """Return the id of the DAG."""
    return f"backups.{environment.service}.{environment.environment}"


def build(environment: ServiceEnvironment, schedule: Schedule) -> DAG:
    """Return the DAG that backs up *environment* by *schedule*. Reads nothing but its arguments."""
    with DAG(
        dag_id=dag_id(environment),
        description=f"Backups of {environment.service} in {environment.environment} outside releases",
        doc_md=DOCUMENT.format(service=environment.service, environment=environment.environment),
        schedule=timetable(schedule),
        catchup=False,
        max_active_runs=1,
        tags=["airlock", "backups", environment.service, environment.environment],
        default_args=default_arguments(environment.owner),
        is_paused_upon_creation=False,
    ) as dag:
        begin = StreamOperator(environment=environment, stream=BACKUPS, task_id="begin", act=keeping.begin)
        end = EndOperator(environment=environment, stream=BACKUPS, task_id="end", trigger_rule="all_done")
        for resource in environment.resources:
            begin >> BackupOperator(
                environment=environment, stream=BACKUPS, resource=resource, task_id=f"{resource.kind}.{resource.name}"
            ) >> end
    return dag
