"""Builds the DAG ``doctor``: asks, from where releases run, for everything that they will need. Holds no rules."""

from __future__ import annotations

import os
from pathlib import Path

from airflow.sdk import DAG, Param

from airlock.errors import InvalidInput
from airlock.flow.api_server.components import DAG_ID, parsed_mark
from airlock.flow.operators.doctor import (
    ASK,
    ENVIRONMENTS,
    TRIGGERERS,
    WORKERS,
    AskOperator,
    EnvironmentsOperator,
    OutcomeOperator,
    TriggererOperator,
    WorkerOperator,
)
from airlock.flow.operators.stopping import endings

COUNT = "AIRLOCK_DOCTOR_WORKERS"
DOCUMENT = """
### Everything that a release will need, asked now

Asks for connections, rights, servers, programs, versions, room, clocks and keys of every service environment, or of
those in the form; whether API server, DAG processor, triggerer and {workers} worker(s) live, run the same code of
Airlock and have its plugin; and whether the people of the groups exist. Changes nothing, but for a probe in each place
where releases keep something, which goes again.

**Reading it:** `outcome` is red where a release would fail; its last line counts, and the lines with `fault` say what,
where, why, and how to mend it.

{mark}
"""


def worker_count() -> int:
    """Return on how many workers is asked at once: ``AIRLOCK_DOCTOR_WORKERS``, else 2.

    :raises InvalidInput: it is no whole number from 1 to 64
    """
    text = os.environ.get(COUNT) or "2"
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= 64):
        raise InvalidInput(f"{COUNT} is {text[:40]!r}: give on how many workers doctor asks, from 1 to 64")
    return int(text)


def build(folder: Path) -> DAG:
    """Return the DAG for the services whose files lie in *folder*. Reads none of them.

    :raises InvalidInput: the number of workers is wrong
    """
    workers = worker_count()
    with DAG(
        dag_id=DAG_ID,
        description="Asks for everything that a release will need",
        doc_md=DOCUMENT.format(workers=workers, mark=parsed_mark()),
        schedule=None,
        catchup=False,
        max_active_runs=1,
        params={
            "service": Param("", type=["string", "null"], description="one service; empty: all"),
            "environment": Param("", type=["string", "null"], description="one environment; empty: all"),
        },
        tags=["airlock"],
        is_paused_upon_creation=False,
    ) as dag:
        usual = {"retries": 0, **endings()}
        names = EnvironmentsOperator(folder=folder, task_id=ENVIRONMENTS, **usual)
        asked = AskOperator.partial(folder=folder, task_id=ASK, map_index_template="{{ task.name }}", **usual).expand(
            name=names.output)
        each = WorkerOperator.partial(task_id=WORKERS, **usual).expand(number=list(range(workers)))
        waited = TriggererOperator(task_id=TRIGGERERS, **usual)
        outcome = OutcomeOperator(folder=folder, task_id="outcome", trigger_rule="all_done", **usual)
        [asked, each, waited] >> outcome
    return dag
