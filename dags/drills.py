"""One Airflow DAG per service environment with restore drills (see ``airlock.flow.dags.drill``)."""

from __future__ import annotations

from airlock.flow.dags.drill import build, dag_id
from airlock.flow.dags.parsing import environments

for environment in environments(dag_id):
    if environment.backup.drills is not None:
        build(environment, environment.backup.drills)
