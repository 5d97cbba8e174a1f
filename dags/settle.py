"""The safety net behind every release (see ``airlock.flow.dags.settle``)."""

from __future__ import annotations

from airflow.sdk import DAG

from airlock.flow.dags.settle import build
from airlock.service.find import services_folder

dag: DAG = build(services_folder())
