"""An alarm for what did not begin when it was due (see ``airlock.flow.dags.watch``)."""

from __future__ import annotations

from airflow.sdk import DAG

from airlock.flow.dags.watch import build
from airlock.schedule.train_file import trains_folder
from airlock.service.find import services_folder

dag: DAG = build(services_folder(), trains_folder())
