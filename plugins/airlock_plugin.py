"""Registers with Airflow what Airlock adds to it: timetables, and a part of the API server. No logic."""

from __future__ import annotations

from typing import Any

from airflow.plugins_manager import AirflowPlugin

from airlock.flow.api_server.components import ComponentQuestions
from airlock.flow.api_server.dropped_dags import DroppedDags
from airlock.flow.api_server.early_answers import EarlyAnswers
from airlock.flow.api_server.offered_versions import OfferedVersions
from airlock.flow.api_server.renewed_requests import RenewedRequests
from airlock.flow.api_server.run_notes import RunNotes
from airlock.flow.api_server.trigger_requests import TriggerRequests
from airlock.flow.dags.timetables import CycleTimetable


class AirlockPlugin(AirflowPlugin):
    """See the module."""

    name = "airlock"
    timetables = [CycleTimetable]
    fastapi_root_middlewares: list[dict[str, Any]] = [
        {"name": "Airlock: renewed requests for input", "middleware": RenewedRequests},
        {"name": "Airlock: answers that come early", "middleware": EarlyAnswers},
        {"name": "Airlock: questions of the doctor", "middleware": ComponentQuestions},
        {"name": "Airlock: DAGs that Airflow has dropped", "middleware": DroppedDags},
        {"name": "Airlock: notes of runs", "middleware": RunNotes},
        {"name": "Airlock: requests for releases", "middleware": TriggerRequests},
        {"name": "Airlock: versions to choose from", "middleware": OfferedVersions},
    ]
