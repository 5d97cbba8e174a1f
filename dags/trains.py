"""One Airflow DAG per release train, from the train files (AIRLOCK_TRAINS, else include/trains)."""

from __future__ import annotations

from airlock.flow.dags.parsing import trains
from airlock.flow.dags.train import build, dag_id

for train in trains(dag_id):
    build(train)
