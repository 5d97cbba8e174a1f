"""Builds the DAGs ``follow_up``, which looks for what is owed after releases, and ``follow_up_release``, in which
people are asked: one run for each release, so that nothing holds up the next one. Holds no rules."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.sdk import DAG, BaseOperator, Param
from airflow.timetables.trigger import DeltaTriggerTimetable

from airlock.errors import AirlockError, TemporaryError
from airlock.flow.operators.follow_up import CloseOperator, RetroApproveOperator, ReviewOperator
from airlock.flow.operators.run_state import state_of_run
from airlock.flow.operators.stopping import Stopped, endings, endings_of_looks
from airlock.flow.stages import follow_up
from airlock.flow.stages.follow_up import Owed
from airlock.flow.stages.outside_releases import StreamRun
from airlock.flow.stages.settle import RunState
from airlock.models import utc_now
from airlock.past.ledgers import FOLLOW_UP
from airlock.service.find import ServiceEnvironment
from airlock.service.stand_ins import read_standing

if TYPE_CHECKING:
    from airflow.sdk import Context
    from airflow.sdk.types import RuntimeTaskInstanceProtocol

log = logging.getLogger(__name__)
DAG_ID, RELEASE_DAG_ID = "follow_up", "follow_up_release"
EVERY = timedelta(minutes=2)
LOOK_DOCUMENT = """
### What is owed after releases

Every 2 minutes: looks for emergency changes that their normal seats have not approved yet, and for releases that were
rolled back or made in an emergency and have no review yet. For each it starts one run of `follow_up_release`, where
people are asked. A run that broke off, or ended with a rejection, is followed by another one a day later.

**On call:** safe to trigger at any time. If it is red, the log says what could not be looked at, and why.
"""
RELEASE_DOCUMENT = """
### After one release

- **retro_approval**: the normal seats approve an emergency change that landed on the word of fewer people. While that
  is overdue, standard changes of the same team are refused.
- **review**: what happened, whether the way back was as planned, what will change. The answers go on record, signed.
- **close**: seals the record of both when nothing is owed any more.

A run waits for people as long as it takes, without a worker. Started by the DAG `follow_up`.
"""


class LookOperator(BaseOperator):
    """Looks at every service environment; a fault of one does not hide the others."""

    def __init__(self, *, folder: Path, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.folder = folder

    def execute(self, context: Context) -> None:
        reading, stand_ins = read_standing(self.folder)
        faults = [*reading.faults]
        for said in faults:
            log.error("a service file is wrong: %s; next: mend the file", said)
        for environment in (*reading.declared, *stand_ins):
            try:
                self._look(environment, context["ti"])
            except AirlockError as error:
                name = f"{environment.service} {environment.environment}"
                log.error("%s cannot be followed up: %s; next: tried again at the next run", name, error)
                faults.append(f"{name}: {error}")
        if faults:
            raise Stopped("stopped: " + "; ".join(faults))

    def _look(self, environment: ServiceEnvironment, task: RuntimeTaskInstanceProtocol) -> None:
        for owed in follow_up.owed(environment):
            run = StreamRun(environment, FOLLOW_UP, owed.release, f"task {self.task_id}")
            wanted = next_run(owed, partial(state_of_run, task), follow_up.may_ask_again(run, utc_now()))
            if wanted:
                trigger(environment, owed, wanted)


def next_run(owed: Owed, state_of: Callable[[str, str], RunState], again: bool) -> str:
    """Return the id of the run to start for *owed*; empty when one works on it, or broke off a short while ago."""
    number, run_id = 1, f"after__{owed.release}"
    while (state := state_of(RELEASE_DAG_ID, run_id)) is not RunState.GONE:
        if state is RunState.ALIVE:
            return ""
        number += 1
        run_id = f"after__{owed.release}__{number}"
    return run_id if number == 1 or again else ""


def trigger(environment: ServiceEnvironment, owed: Owed, run_id: str) -> None:
    """Start the run *run_id* of ``follow_up_release``; one that exists is left as it is.

    :raises TemporaryError: Airflow did not start it
    """
    from airflow.sdk.exceptions import AirflowRuntimeError, ErrorType
    from airflow.sdk.execution_time.comms import ErrorResponse, TriggerDagRun
    from airflow.sdk.execution_time.task_runner import SUPERVISOR_COMMS

    conf = {"service": environment.service, "environment": environment.environment, "release": owed.release}
    failed = f"{run_id}: the DAG {RELEASE_DAG_ID} was not started, which is tried again"
    try:
        answer = SUPERVISOR_COMMS.send(msg=TriggerDagRun(dag_id=RELEASE_DAG_ID, run_id=run_id, conf=conf))
    except AirflowRuntimeError as error:
        raise TemporaryError(f"{failed}: {error}") from error
    if isinstance(answer, ErrorResponse):
        if answer.error == ErrorType.DAGRUN_ALREADY_EXISTS:
            return
        raise TemporaryError(f"{failed}: {answer.error}")
    what = " and ".join([*(["an approval afterwards"] if owed.debt else []), *(["a review"] if owed.review else [])])
    log.info("%s owes %s: people are asked in the run %r of %s", owed.release, what, run_id, RELEASE_DAG_ID)


def build(folder: Path) -> tuple[DAG, DAG]:
    """Return both DAGs, for the services whose files lie in *folder*. Reads nothing."""
    with DAG(
        dag_id=DAG_ID,
        description="Looks for approvals and reviews that are owed after releases",
        doc_md=LOOK_DOCUMENT,
        schedule=DeltaTriggerTimetable(EVERY),
        catchup=False,
        max_active_runs=1,
        tags=["airlock"],
        is_paused_upon_creation=False,
    ) as look:
        LookOperator(folder=folder, task_id="look", **endings_of_looks())
    with DAG(
        dag_id=RELEASE_DAG_ID,
        description="Approval afterwards, and review, of one release",
        doc_md=RELEASE_DOCUMENT,
        schedule=None,
        catchup=False,
        max_active_runs=1000,
        tags=["airlock"],
        is_paused_upon_creation=False,
        params={name: Param("", type="string", maxLength=128) for name in ("service", "environment", "release")},
        # Resumed before its former try was reported, a task counts as lost: it is tried again with the answer it had.
        default_args={"retries": 20, "retry_delay": timedelta(seconds=5), **endings()},
    ) as ask:
        asked = [RetroApproveOperator(task_id="retro_approval"), ReviewOperator(task_id="review")]
        asked >> CloseOperator(task_id="close", trigger_rule="none_failed")
    return look, ask
