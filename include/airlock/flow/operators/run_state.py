"""What Airflow says of a DAG run, asked by a task that runs. Knows no release."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING

from airlock.flow.stages.settle import RunState

if TYPE_CHECKING:
    from airflow.sdk.types import RuntimeTaskInstanceProtocol


def state_of_run(task: RuntimeTaskInstanceProtocol, dag_id: str, run_id: str) -> RunState:
    """Return what Airflow says of a DAG run, asked through the running *task*."""

    def count(*states: str) -> int:
        return int(task.get_dr_count(dag_id=dag_id, run_ids=[run_id], states=list(states)))

    if count("queued", "running"):
        return RunState.ALIVE if _known(dag_id) else RunState.STRANDED
    return next((state for state in (RunState.FAILED, RunState.SUCCESS) if count(state)), RunState.GONE)


def _known(dag_id: str) -> bool:
    """Return whether Airflow still has the DAG; our plugin lets it say so (see ``flow.api_server.dropped_dags``)."""
    from airflow.sdk.exceptions import AirflowRuntimeError
    from airflow.sdk.execution_time.comms import GetDag
    from airflow.sdk.execution_time.task_runner import SUPERVISOR_COMMS

    try:
        SUPERVISOR_COMMS.send(msg=GetDag(dag_id=dag_id))
    except AirflowRuntimeError as error:
        detail = error.error.detail or {}
        return detail.get("status_code") != HTTPStatus.NOT_FOUND
    return True
