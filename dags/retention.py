"""One Airflow DAG per service environment whose recovery points expire (see ``airlock.flow.dags.retention``)."""

from __future__ import annotations

from airlock.flow.dags.parsing import environments
from airlock.flow.dags.retention import build, dag_id

for environment in environments(dag_id, stand_ins=False):  # nothing is removed by a file that may be being changed
    if environment.backup.retention is not None:
        build(environment, environment.backup.retention)
