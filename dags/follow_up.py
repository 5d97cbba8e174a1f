"""What is owed after releases: approvals of emergency changes, and reviews (see ``airlock.flow.dags.follow_up``)."""

from __future__ import annotations

from airflow.sdk import DAG

from airlock.flow.dags.follow_up import build
from airlock.service.find import services_folder

look: DAG
ask: DAG
look, ask = build(services_folder())
