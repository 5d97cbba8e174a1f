"""What is owed after releases: approvals of emergency changes, and reviews (see ``airlock.flow.follow_up_dag``)."""

from __future__ import annotations

from airflow.sdk import DAG

from airlock.flow.follow_up_dag import build
from airlock.services import services_folder

look: DAG
ask: DAG
look, ask = build(services_folder())
