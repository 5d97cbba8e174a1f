"""Builds the DAG ``settle``, the safety net behind every release: one task, every minute. Holds no rules."""

from __future__ import annotations

import logging
import os
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from airflow.sdk import DAG, BaseOperator
from airflow.timetables.trigger import DeltaTriggerTimetable

from airlock.errors import AirlockError, InvalidInput
from airlock.evidence.ledger import Ledger
from airlock.flow.api_server.run_notes import leave_note, note_text
from airlock.flow.operators.run_state import state_of_run
from airlock.flow.operators.stopping import Stopped, endings_of_looks
from airlock.flow.operators.task import own_address
from airlock.flow.stages import broken_glass, close
from airlock.flow.stages.release import Release
from airlock.flow.stages.settle import settle, to_settle
from airlock.models import utc_now
from airlock.service.find import ServiceEnvironment
from airlock.service.stand_ins import read_standing, undeclared

if TYPE_CHECKING:
    from airflow.sdk import Context
    from airflow.sdk.types import RuntimeTaskInstanceProtocol

log = logging.getLogger(__name__)
DAG_ID = "settle"
INTERVAL = "AIRLOCK_SETTLE_SECONDS"
DOCUMENT = """
### A release always lands

Every {seconds} s: looks for releases whose DAG run is over or deleted, or cannot go on because its DAG has vanished,
but which are not sealed, brings all their traffic back to the version before (unless they were promoted), removes what
restore tests left, and seals the evidence. Where a service file is wrong, its last good version is used.
What a person brought back by hand while Airflow was down (`airlock land`) is shown: on its run, in ticket and chat.

**On call:** safe to trigger at any time. If it is red, the line with `not settled` in the log says which release, why,
and what to do; it tries again at its next run.
"""


class SettleOperator(BaseOperator):
    """Settles every service environment; a fault of one does not keep the others waiting.

    Reads the service files when it runs. Where a file is wrong or gone, its last good version says where releases are.
    """

    def __init__(self, *, folder: Path, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.folder = folder

    def execute(self, context: Context) -> None:
        faults: list[str] = []
        reading, stand_ins = read_standing(self.folder)
        for said in (*reading.faults, *map(undeclared, stand_ins)):
            log.error("a service file is wrong: %s; next: mend the file", said)
        for environment in (*reading.declared, *stand_ins):
            faults += self._settle(environment, context["ti"])
        if faults:
            raise Stopped(f"stopped: not settled: {'; '.join(faults)}")

    def _settle(self, environment: ServiceEnvironment, task: RuntimeTaskInstanceProtocol) -> list[str]:
        faults = []
        for identity in to_settle(Ledger(environment.ledger, environment.service, environment.environment)):
            release = Release(environment, identity, f"task {self.task_id}")
            try:
                ended = release.ledger.sealed(identity)
                if said := settle(release, own_address(), partial(state_of_run, task), utc_now()):
                    log.info("%s", said)
                if not ended and release.ledger.sealed(identity):
                    self._leave_word(release, task)
                if ended and (glass := broken_glass.unshown(release)) is not None:
                    self._leave_word(release, task, f"brought to its end by hand: {glass.message}")
                    broken_glass.show_afterwards(release, glass)
            except AirlockError as error:
                log.error("%s is not settled: %s; next: tried again at the next run", identity, error)
                faults.append(f"{identity}: {error}")
        return faults

    def _leave_word(self, release: Release, task: RuntimeTaskInstanceProtocol, said: str = "") -> None:
        """Say on the release's own run, whose tasks cannot any more, how it ended and where to read of it."""
        run = release.latest("run") or {}
        here = f"{own_address()}/dags/{DAG_ID}/runs/{quote(task.run_id)}/tasks/{self.task_id}"
        _, why = close.outcome(release)
        text = said or f"brought to its end by [settle]({here}): {why}"
        leave_note(task, str(run["dag_id"]), str(run["run_id"]), note_text(close.headline(release), text))


def interval_seconds() -> int:
    """Return how often releases are settled, in seconds: ``AIRLOCK_SETTLE_SECONDS``, else 60.

    :raises InvalidInput: it is no whole number from 5 to 3600
    """
    text = os.environ.get(INTERVAL) or "60"
    if not (text.isascii() and text.isdigit() and 5 <= int(text) <= 3600):
        raise InvalidInput(f"{INTERVAL} is {text[:40]!r}: give the seconds between two runs of settle, from 5 to 3600")
    return int(text)


def build(folder: Path) -> DAG:
    """Return the DAG that settles the services whose files lie in *folder*. Reads only ``AIRLOCK_SETTLE_SECONDS``.

    :raises InvalidInput: the interval is wrong
    """
    seconds = interval_seconds()
    with DAG(
        dag_id=DAG_ID,
        description="Brings back every release whose run is over but which has not landed",
        doc_md=DOCUMENT.format(seconds=seconds),
        schedule=DeltaTriggerTimetable(timedelta(seconds=seconds)),
        catchup=False,
        max_active_runs=1,
        tags=["airlock"],
        is_paused_upon_creation=False,
    ) as dag:
        SettleOperator(folder=folder, task_id="settle", **endings_of_looks())
    return dag
