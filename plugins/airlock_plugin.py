"""Registers with Airflow what Airlock adds to it: timetables, and a part of the API server. No logic."""

from __future__ import annotations

from typing import Any

from airflow.plugins_manager import AirflowPlugin

from airlock.flow.dropped_dags import DroppedDags
from airlock.flow.early_answers import EarlyAnswers
from airlock.flow.renewed_requests import RenewedRequests
from airlock.flow.run_notes import RunNotes
from airlock.flow.timetables import CycleTimetable
from airlock.flow.trigger_requests import TriggerRequests


class AirlockPlugin(AirflowPlugin):
    """See the module."""

    name = "airlock"
    timetables = [CycleTimetable]
    fastapi_root_middlewares: list[dict[str, Any]] = [
        {"name": "Airlock: renewed requests for input", "middleware": RenewedRequests},
        {"name": "Airlock: answers that come early", "middleware": EarlyAnswers},
        {"name": "Airlock: DAGs that Airflow has dropped", "middleware": DroppedDags},
        {"name": "Airlock: notes of runs", "middleware": RunNotes},
        {"name": "Airlock: requests for releases", "middleware": TriggerRequests},
    ]
