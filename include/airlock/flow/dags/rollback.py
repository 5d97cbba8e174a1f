"""Builds the rollback DAG of one service environment: the stages of a release, for the return to the version before.

A DAG of its own, so that on-call does not queue behind a release that waits for its approval; and in an order of its
own: a return changes no data, so its traffic moves first and its backups follow. Structure only.
"""

from __future__ import annotations

from airflow.sdk import DAG
from airflow.sdk.definitions.param import ParamsDict

from airlock.flow.dags.release import default_arguments, stages
from airlock.flow.dags.trigger_form import rollback_params
from airlock.flow.operators.release import UndoOperator
from airlock.service.find import ServiceEnvironment

DOCUMENT = """
### Back to the version before: **{service}** in **{environment}**

{description} Owner: {owner}.

**On call:** trigger it with a reason. What it returns to is not asked: the version that the newest release on record
replaced, with the very content that was seen then. Another person of {seats} approves it; no window is waited for.
Seconds after that all traffic goes to the version before in one step, which is watched, judged and baked. Nothing of
the data is changed, so every resource is backed up and proved only when the traffic is back; a backup that fails then
sends no traffic anywhere, but the outcome says so. If that version fails too, traffic returns to where it was.
Data are not restored: see the evidence of the release that is taken back.

While a release is under way this DAG waits: to end that one at once, mark its run as failed; it goes back by itself.
"""


def dag_id(environment: ServiceEnvironment) -> str:
    """Return the id of the rollback DAG."""
    return f"rollback.{environment.service}.{environment.environment}"


def build(environment: ServiceEnvironment) -> DAG:
    """Return the rollback DAG of *environment*. Reads nothing but its argument."""
    seats = environment.rollback.seats if environment.rollback else {}
    with DAG(
        dag_id=dag_id(environment),
        description=f"Return {environment.service} in {environment.environment} to the version before",
        doc_md=DOCUMENT.format(
            service=environment.service,
            environment=environment.environment,
            description=environment.description,
            owner=environment.owner,
            seats=", ".join(f"{group} ({quorum})" for group, quorum in seats.items()) or "whom the policy names",
        ),
        schedule=None,
        catchup=False,
        max_active_runs=1,
        tags=["airlock", "rollback", environment.service, environment.environment],
        default_args=default_arguments(environment.owner),
        is_paused_upon_creation=False,
    ) as dag:
        stages(environment, UndoOperator, traffic_first=True)
    dag.params = ParamsDict(rollback_params())  # only now: see release_dag
    return dag
