"""One Airflow DAG per service and environment, from the service files (AIRLOCK_SERVICES, else include/services)."""

from __future__ import annotations

from airflow.sdk import get_parsing_context

from airlock.flow.release_dag import build, dag_id
from airlock.services import load_services, services_folder

wanted = get_parsing_context().dag_id

for environment in load_services(services_folder()):
    if wanted in (None, dag_id(environment)):
        build(environment)
