"""Builds no DAG: lets Airflow show service files and train files that are wrong; the DAGs of all others are built."""

from __future__ import annotations

from airlock.flow.dags.parsing import refuse_wrong_files

refuse_wrong_files()
