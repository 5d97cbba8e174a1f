"""Builds the DAG of one release train. Structure only: the same tasks whoever is on board."""

from __future__ import annotations

from airflow.sdk import DAG, BaseOperator, TaskGroup

from airlock.flow.dags.release import default_arguments
from airlock.flow.operators.outside_releases import timetable
from airlock.flow.operators.train import ArriveOperator, AskOperator, AwaitOperator, BoardOperator, DepartOperator
from airlock.schedule.train import Train, order

DOCUMENT = """
### Release train **{train}** to **{environment}**

{description} Owner: {owner}. It leaves in this order, one service at a time: {services}.

1. **board**: {cut_off:g} min after the train was called it is decided who leaves: a service whose newest version
   stands as promoted in the environment before, with the same content, and that its standard-change template carries
   now. What is not ready stays behind, and is carried over to the next train.
2. **depart**: while the calendar of one of them is closed, the train {on_freeze}.
3. Each **service** is released by its own DAG, with its own plan, permit and evidence; the train waits for its sealed
   outcome. If one fails, those after it do not leave{on_failure}.
4. **arrive**: the record of the train, with the digest of each release's seal, is sealed.

**On call:** a red train names who failed and who is carried over. To repair a release, use its own DAG.
"""


def dag_id(train: Train) -> str:
    """Return the id of the DAG."""
    return f"train.{train.train}"


def build(train: Train) -> DAG:
    """Return the DAG of *train*. Reads nothing but its argument."""
    services = order(train.services)
    back = train.on_failure == "roll_back"
    with DAG(
        dag_id=dag_id(train),
        description=f"Releases {', '.join(services)} to {train.environment} together",
        doc_md=DOCUMENT.format(
            train=train.train,
            environment=train.environment,
            description=train.description,
            owner=train.owner,
            services=", ".join(services),
            cut_off=train.cut_off_minutes,
            on_freeze="is carried over whole" if train.on_freeze == "carry_over"
            else f"waits, at most {train.wait_hours:g} h",
            on_failure=", and those before it go back in reverse order" if back else "; those before it stay",
        ),
        schedule=timetable(train.schedule) if train.schedule else None,
        catchup=False,
        max_active_runs=1,
        tags=["airlock", "train", train.environment, *services],
        default_args=default_arguments(train.owner),
        is_paused_upon_creation=False,
    ) as dag:
        last: BaseOperator = BoardOperator(train=train, task_id="board")
        depart = DepartOperator(train=train, task_id="depart")
        last >> depart
        last = depart
        for service in services:
            last = _asked(train, service, "start", last)
        if back:
            with TaskGroup("roll_back", tooltip="Those before the one that failed go back, the last one first"):
                for service in reversed(services[:-1]):
                    last = _asked(train, service, "send_back", last)
        last >> ArriveOperator(train=train, task_id="arrive", trigger_rule="all_done")
    return dag


def _asked(train: Train, service: str, kind: str, before: BaseOperator) -> BaseOperator:
    """Add the tasks that ask *service* for its release or its return, and wait for it; return the last one."""
    with TaskGroup(service):
        ask = AskOperator(train=train, service=service, kind=kind, task_id="ask", trigger_rule="all_done")
        land = AwaitOperator(train=train, service=service, kind=kind, task_id="land", trigger_rule="all_done")
        before >> ask >> land
    return land
