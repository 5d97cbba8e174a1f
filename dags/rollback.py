"""One DAG per service and environment that returns to the version before (see ``airlock.flow.rollback_dag``)."""

from __future__ import annotations

from airflow.sdk import get_parsing_context

from airlock.flow.rollback_dag import build, dag_id
from airlock.services import load_services, services_folder

wanted = get_parsing_context().dag_id

for environment in load_services(services_folder()):
    if wanted in (None, dag_id(environment)):
        build(environment)
