"""One Airflow DAG per service environment that is backed up outside releases (see ``airlock.flow.backup_dag``)."""

from __future__ import annotations

from airlock.flow.backup_dag import build, dag_id
from airlock.flow.parsing import environments

for environment in environments(dag_id):
    if environment.backup.schedule is not None:
        build(environment, environment.backup.schedule)
