"""One Airflow DAG per service environment that is backed up outside releases (see ``airlock.flow.dags.backup``)."""

from __future__ import annotations

from airlock.flow.dags.backup import build, dag_id
from airlock.flow.dags.parsing import environments

for environment in environments(dag_id):
    if environment.backup.schedule is not None:
        build(environment, environment.backup.schedule)
