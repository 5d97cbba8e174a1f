"""Why a release did not go on, by its records alone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from airlock.deploy.landing import reason_of
from airlock.models import Record

NOW = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)
STAGE = ("act", "stage", {})
RETRY = ("retry", "deploy.stage", {"message": "1.4 was not healthy within 8 s"})
VAIN = "deploy.stage was tried in vain: 1.4 was not healthy within 8 s"
UNKNOWN = "the release was interrupted before it was validated"


@pytest.mark.parametrize(
    ("told", "reason"),
    [
        ([STAGE], UNKNOWN),
        ([STAGE, RETRY, RETRY], VAIN),
        ([STAGE, RETRY, ("notification", "fault", {}), ("decision", "", {}), ("act", "roll_back", {})], VAIN),
        ([STAGE, RETRY, ("act", "roll_back", {}), ("retry", "deploy.rollback.traffic", {"message": "busy"})], VAIN),
        ([STAGE, RETRY, STAGE, ("staged", "", {})], UNKNOWN),
        ([STAGE, RETRY, ("fault", "deploy.stage", {"message": "it ended at once"})], "it ended at once"),
        ([STAGE, RETRY, ("canary", "", {"move": "roll back", "why": "no data"})], "no data"),
    ],
)
def test_the_reason_is_the_canarys_else_the_first_fault_else_what_was_tried_in_vain(
    told: list[tuple[str, str, dict[str, Any]]], reason: str
) -> None:
    records = [
        Record(release="r", type=kind, subject=subject, at=NOW + timedelta(seconds=n), actor="a", data=data)
        for n, (kind, subject, data) in enumerate(told)
    ]
    assert reason_of(records) == reason
