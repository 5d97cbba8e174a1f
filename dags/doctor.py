"""Everything that a release will need, asked now (see ``airlock.flow.dags.doctor``)."""

from __future__ import annotations

from airflow.sdk import DAG

from airlock.flow.dags.doctor import build
from airlock.service.find import services_folder

dag: DAG = build(services_folder())
