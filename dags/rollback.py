"""One Airflow DAG per service environment that returns to the version before (``airlock.flow.dags.rollback``)."""

from __future__ import annotations

from airlock.flow.dags.parsing import environments
from airlock.flow.dags.rollback import build, dag_id

for environment in environments(dag_id):
    build(environment)
