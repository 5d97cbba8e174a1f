"""The safety net behind every release (see ``airlock.flow.settle_dag``)."""

from __future__ import annotations

from airflow.sdk import DAG

from airlock.flow.settle_dag import build
from airlock.services import services_folder

dag: DAG = build(services_folder())
