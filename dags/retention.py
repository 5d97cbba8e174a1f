"""Expiry of recovery points, where a service file has a policy of it (see ``airlock.flow.retention_dag``)."""

from __future__ import annotations

from airflow.sdk import get_parsing_context

from airlock.flow.retention_dag import build, dag_id
from airlock.services import load_services, services_folder

wanted = get_parsing_context().dag_id

for environment in load_services(services_folder()):
    policy = environment.backup.retention
    if policy is not None and wanted in (None, dag_id(environment)):
        build(environment, policy)
