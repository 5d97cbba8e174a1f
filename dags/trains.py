"""One Airflow DAG per release train, from the train files (AIRLOCK_TRAINS, else include/trains)."""

from __future__ import annotations

from airflow.sdk import get_parsing_context

from airlock.flow.train_dag import build, dag_id
from airlock.schedule.train_file import load_trains, trains_folder

wanted = get_parsing_context().dag_id

for train in load_trains(trains_folder()):
    if wanted in (None, dag_id(train)):
        build(train)
