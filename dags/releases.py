"""One Airflow DAG per service and environment, from the service files (AIRLOCK_SERVICES, else include/services)."""

from __future__ import annotations

from airlock.flow.dags.parsing import environments
from airlock.flow.dags.release import build, dag_id

for environment in environments(dag_id):
    build(environment)
