"""One Airflow DAG per service environment that returns to the version before (``airlock.flow.rollback_dag``)."""

from __future__ import annotations

from airlock.flow.parsing import environments
from airlock.flow.rollback_dag import build, dag_id

for environment in environments(dag_id):
    build(environment)
