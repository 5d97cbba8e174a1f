"""Restore drills outside releases, where a service file has a policy of them (see ``airlock.flow.drill_dag``)."""

from __future__ import annotations

from airflow.sdk import get_parsing_context

from airlock.flow.drill_dag import build, dag_id
from airlock.services import load_services, services_folder

wanted = get_parsing_context().dag_id

for environment in load_services(services_folder()):
    policy = environment.backup.drills
    if policy is not None and wanted in (None, dag_id(environment)):
        build(environment, policy)
