"""Registers with Airflow what Airlock adds to its API server. No logic."""

from __future__ import annotations

from typing import Any

from airflow.plugins_manager import AirflowPlugin

from airlock.flow.renewed_requests import RenewedRequests


class AirlockPlugin(AirflowPlugin):
    """See the module."""

    name = "airlock"
    fastapi_root_middlewares: list[dict[str, Any]] = [
        {"name": "Airlock: renewed requests for input", "middleware": RenewedRequests}
    ]
