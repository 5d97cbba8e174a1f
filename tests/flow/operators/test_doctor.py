"""The outcome of the DAG ``doctor`` where a task before it gave nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from airlock.flow.operators.doctor import EnvironmentsOperator, OutcomeOperator
from airlock.flow.operators.stopping import Stopped
from tests.service_data import write


class Pulls:
    """A task instance whose XComs are all absent, as after a failed task."""

    def xcom_pull(self, **_: Any) -> None:
        return None


def test_a_name_that_nobody_declares_stops_with_one_sentence(tmp_path: Path) -> None:
    asked = EnvironmentsOperator(folder=write(tmp_path).parent, task_id="environments")
    assert asked.execute({"params": {"service": "cafe", "environment": ""}}) == ["cafe live"]  # type: ignore[typeddict-item]
    with pytest.raises(Stopped, match="stopped: .*no service 'caff': did you mean 'cafe'"):
        asked.execute({"params": {"service": "caff"}})  # type: ignore[typeddict-item]


def test_nothing_asked_is_no_good_news(tmp_path: Path) -> None:
    outcome = OutcomeOperator(folder=tmp_path, task_id="outcome")
    with pytest.raises(Stopped, match="nobody knows what to ask for; see the task environments"):
        outcome.execute({"ti": Pulls()})  # type: ignore[typeddict-item]
