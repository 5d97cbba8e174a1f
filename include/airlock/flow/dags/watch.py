"""Builds the DAG ``watch``: an alarm for what did not begin when it was due. Holds no rules."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.sdk import DAG, BaseOperator
from airflow.timetables.trigger import DeltaTriggerTimetable

from airlock.errors import AirlockError
from airlock.flow.operators.run_state import state_of_run
from airlock.flow.operators.stopping import Stopped, endings_of_looks
from airlock.flow.operators.task import own_address
from airlock.flow.stages import offered_versions, watch
from airlock.flow.stages.outside_releases import BACKUPS, DRILLS, RETENTION, TRAINS
from airlock.flow.stages.train import home_of
from airlock.models import utc_now
from airlock.schedule.train import Train
from airlock.schedule.train_file import read_standing_trains
from airlock.service.find import ServiceEnvironment
from airlock.service.stand_ins import read_standing, undeclared

if TYPE_CHECKING:
    from airflow.sdk import Context

log = logging.getLogger(__name__)
DAG_ID = "watch"
EVERY = timedelta(minutes=5)
DOCUMENT = """
### What did not begin when it was due

Every 5 minutes: compares the times of release cycles, trains, backups, restore drills and retention with what is on
record, tells people of each time that passed without a run, and seals what a killed run left half done. It also tells
people of an open release whose service file is wrong or gone, or whose DAG Airflow has dropped.

The task `offer_versions` asks the sources of artifacts which versions there are, for the trigger forms; it never fails.

**On call:** it is red while the newest time of a schedule is missed; the log says which. It looks at what is on record,
so it also notices, once it runs again, what was missed while the scheduler was down. Safe to trigger at any time.
"""


class WatchOperator(BaseOperator):
    """Watches every service environment; a fault of one does not hide the others.

    Reads the service files when it runs, as ``settle`` does.
    """

    def __init__(self, *, folder: Path, trains: Path, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.folder = folder
        self.trains = trains

    def execute(self, context: Context) -> None:
        reading, stand_ins = read_standing(self.folder)
        found = [*reading.faults, *map(undeclared, stand_ins)]
        for said in found:
            log.error("a service file is wrong: %s; next: mend the file", said)
        for environment in (*reading.declared, *stand_ins):
            wrong = "; ".join(reading.of(environment.source)) or undeclared(environment)
            name = f"{environment.service} {environment.environment}"
            found += self._watched(name, partial(self._environment, environment, context))
            found += self._watched(name, partial(self._open, environment, context, wrong * (environment in stand_ins)))
        trains, missing = read_standing_trains(self.trains)
        found += trains.faults
        for train in (*trains.declared, *missing):
            found += self._watched(f"train {train.train}", partial(self._train, train, context))
        if found:
            raise Stopped("stopped: " + "; ".join(found))

    def _environment(self, environment: ServiceEnvironment, context: Context) -> tuple[str, ...]:
        self._end(environment, context, (BACKUPS, DRILLS, RETENTION))
        return watch.look(environment, utc_now(), f"task {self.task_id}")

    def _open(self, environment: ServiceEnvironment, context: Context, wrong: str) -> tuple[str, ...]:
        states = partial(state_of_run, context["ti"])
        return watch.look_at_open(environment, wrong, own_address(), states, f"task {self.task_id}")

    def _train(self, train: Train, context: Context) -> tuple[str, ...]:
        self._end(home_of(train), context, (TRAINS,))
        return watch.look_at_train(train, utc_now(), f"task {self.task_id}")

    def _end(self, environment: ServiceEnvironment, context: Context, streams: tuple[str, ...]) -> None:
        states = partial(state_of_run, context["ti"])
        for ended in watch.end_leftovers(environment, own_address(), states, f"task {self.task_id}", streams):
            log.warning("%s", ended)

    @staticmethod
    def _watched(name: str, look: Callable[[], tuple[str, ...]]) -> tuple[str, ...]:
        try:
            return look()
        except AirlockError as error:
            log.error("%s cannot be watched: %s; next: tried again at the next run", name, error)
            return (f"{name}: {error}",)


class OfferOperator(BaseOperator):
    """Keeps the versions that the trigger forms offer. Whatever goes wrong with that is logged, and stops nothing."""

    def __init__(self, *, folder: Path, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.folder = folder

    def execute(self, context: Context) -> None:  # noqa: ARG002 - the contract of operators
        reading, stand_ins = read_standing(self.folder)
        asked = offered_versions.refresh((*reading.declared, *stand_ins))
        log.info("%d source(s) of artifacts were asked for their versions", asked)


def build(folder: Path, trains: Path) -> DAG:
    """Return the DAG that watches the services whose files lie in *folder*, and *trains*. Reads nothing."""
    with DAG(
        dag_id=DAG_ID,
        description="Tells people of schedules that were missed",
        doc_md=DOCUMENT,
        schedule=DeltaTriggerTimetable(EVERY),
        catchup=False,
        max_active_runs=1,
        tags=["airlock"],
        is_paused_upon_creation=False,
    ) as dag:
        WatchOperator(folder=folder, trains=trains, task_id="watch", **endings_of_looks())
        OfferOperator(folder=folder, task_id="offer_versions", **endings_of_looks())
    return dag
