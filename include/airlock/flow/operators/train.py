"""The operators of a train: they wait for the cut-off, a calendar and releases, and trigger runs. No rules here.

Every task is decided by what is on record, whatever state the others show: a task that is marked as successful by hand
sends nobody on the way.
"""

from __future__ import annotations

import logging
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

from airflow.providers.standard.operators.trigger_dagrun import TriggerDagRunOperator
from airflow.providers.standard.triggers.temporal import DateTimeTrigger
from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowSkipException

from airlock.flow.api_server.run_notes import note_own_run
from airlock.flow.operators.run_state import state_of_run
from airlock.flow.operators.stopping import Stopped
from airlock.flow.operators.task import pause, run_of, task_boundary
from airlock.flow.stages import boarding
from airlock.flow.stages import train as stages
from airlock.flow.stages.outside_releases import TRAINS, StreamRun
from airlock.models import Outcome, utc_now
from airlock.schedule.train import Train
from airlock.schedule.train_file import find_train, trains_folder

if TYPE_CHECKING:
    from airflow.sdk import Context

log = logging.getLogger(__name__)
LOOK_SECONDS = 20.0


class TrainOperator(BaseOperator):
    """Base of the operators: knows its train and opens the run's departure."""

    def __init__(self, *, train: Train, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.train = train


def departure(train: Train, context: Context) -> StreamRun:
    """Return the departure that the running DAG run is."""
    return run_of(stages.home_of(train), TRAINS, context)


class BoardOperator(TrainOperator):
    """Waits for the cut-off, then decides who leaves."""

    def execute(self, context: Context, event: Any = None) -> None:  # noqa: ARG002 - what the trigger brings
        run = departure(self.train, context)
        with task_boundary(run, self.task_id):
            cut_off = context["dag_run"].run_after + timedelta(minutes=self.train.cut_off_minutes)
            if cut_off > utc_now():
                log.info("boarding is open until %s UTC; next: decide who leaves", f"{cut_off:%a %d %b %H:%M}")
                self.defer(trigger=DateTimeTrigger(moment=cut_off), method_name="execute")
            find_train(trains_folder(), self.train.train)  # nobody boards by a last good version
            boarding.board(run, self.train, utc_now())


class DepartOperator(TrainOperator):
    """Waits while a calendar is closed, if the train's file says so."""

    def execute(self, context: Context, event: Any = None) -> None:  # noqa: ARG002 - what the trigger brings
        run = departure(self.train, context)
        with task_boundary(run, self.task_id):
            until = stages.held_until(run, self.train, utc_now())
            if until is not None:
                self.defer(trigger=DateTimeTrigger(moment=until), method_name="execute")


class AskOperator(TriggerDagRunOperator):
    """Triggers the release, or the return, of one service, if the train's record says that it is its turn."""

    template_fields = ()
    """Nothing here is a template: titles and reasons come from files."""

    def __init__(self, *, train: Train, service: str, kind: str, **kwargs: Any) -> None:
        super().__init__(
            trigger_dag_id=stages.dag_of(kind, service, train.environment),
            # Its run id is always the same: after a crash it is there already, and is waited for all the same.
            skip_when_already_exists=True,
            openlineage_inject_parent_info=False,
            **kwargs,
        )
        self.train = train
        self.service = service
        self.kind = kind

    def execute(self, context: Context) -> None:
        run = departure(self.train, context)
        with task_boundary(run, self.task_id):
            form = (stages.leaves if self.kind == "start" else stages.goes_back)(run, self.service)
            if form is None:
                raise AirflowSkipException(f"{self.service}: nothing is asked of it")
            self.conf = dict(form)
            self.trigger_run_id = stages.run_id(self.train, run.id, self.kind)
            log.info("%s: triggered as %s; next: wait until it has landed", self.trigger_dag_id, self.trigger_run_id)
        super().execute(context)


class AwaitOperator(TrainOperator):
    """Waits, without a worker, until what one service was asked for has landed, and records how."""

    def __init__(self, *, service: str, kind: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.service = service
        self.kind = kind

    def execute(self, context: Context, event: Any = None) -> None:  # noqa: ARG002 - what the trigger brings
        run = departure(self.train, context)
        with task_boundary(run, self.task_id):
            if not stages.asked_now(run, self.service, self.kind):
                raise AirflowSkipException(f"{self.service}: nothing is awaited of it")
            states = partial(state_of_run, context["ti"])
            while not stages.arrived(run, self.service, self.kind, states, utc_now()):
                pause(self, LOOK_SECONDS)


class ArriveOperator(TrainOperator):
    """Seals the train, whatever happened, and fails unless everybody who left arrived."""

    def execute(self, context: Context) -> None:
        run = departure(self.train, context)
        with task_boundary(run, self.task_id, after_seal=True):
            outcome, why = stages.finish(run)
            note_own_run(context, f"{self.train.train} → {outcome.replace('_', ' ')}", why)
        if outcome is Outcome.SKIPPED:
            raise AirflowSkipException(why)
        if outcome is not Outcome.COMPLETED:
            raise Stopped(f"{self.task_id}: {run.id}: {why}")
