"""What the ledger learns of tries that ended without a word, and of runs that are not the release's own."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from airlock.errors import GateRefused
from airlock.flow.stages import attempts
from airlock.flow.stages.release import Attempt, Release, release_id
from airlock.models import Outcome
from tests import service_data

TASK = "deploy.canary"


def release(folder: Path, number: int = 1, run_id: str = "first") -> Release:
    attempt = Attempt(dag_id="release.cafe.live", run_id=run_id, airflow="", number=number)
    return Release(service_data.environment(folder), "cafe-live-1", f"task {TASK}", attempt)


def interrupted(of: Release) -> list[object]:
    return [record.data["attempt"] for record in of.recorded("interrupted")]


def test_the_first_try_names_its_run_and_tells_of_nothing(tmp_path: Path) -> None:
    for number in (1, 1):
        attempts.begin(release(tmp_path, number), TASK, after_seal=False)
    (run,) = release(tmp_path).recorded("run")
    assert run.data == {"dag_id": "release.cafe.live", "run_id": "first", "airflow": ""}
    assert interrupted(release(tmp_path)) == []


def test_a_try_that_ended_without_a_word_is_told_once(tmp_path: Path) -> None:
    attempts.begin(release(tmp_path), TASK, after_seal=False)
    for _ in range(2):
        attempts.begin(release(tmp_path, 2), TASK, after_seal=False)
    assert interrupted(release(tmp_path)) == [1]


@pytest.mark.parametrize("kind", ["retry", "fault"])
def test_a_try_that_said_how_it_failed_was_not_interrupted(tmp_path: Path, kind: str) -> None:
    attempts.begin(release(tmp_path), TASK, after_seal=False)
    attempts.tell(release(tmp_path), kind, TASK, "the server is down")
    attempts.begin(release(tmp_path, 2), TASK, after_seal=False)
    assert interrupted(release(tmp_path)) == []


def test_a_sealed_release_takes_no_task_but_those_of_its_end(tmp_path: Path) -> None:
    from airlock.evidence.seal import seal

    done = release(tmp_path)
    done.record("outcome", outcome=Outcome.REFUSED, why="nothing was changed")
    seal(done.ledger, done.id, done.signer, datetime.now(UTC))
    attempts.begin(release(tmp_path), "close.seal", after_seal=True)
    with pytest.raises(GateRefused, match="trigger a new run"):
        attempts.begin(release(tmp_path), TASK, after_seal=False)
    attempts.tell(release(tmp_path), "fault", TASK, "late")  # is logged, and hides nothing
    assert release(tmp_path).recorded("fault") == ()


def test_another_run_cannot_enter_a_release(tmp_path: Path) -> None:
    attempts.begin(release(tmp_path), TASK, after_seal=False)
    other = release(tmp_path, run_id="second")
    with pytest.raises(GateRefused, match="belongs to another DAG run"):
        attempts.begin(other, TASK, after_seal=False)
    attempts.tell(other, "fault", TASK, "refused")
    assert other.recorded("fault") == ()


def test_names_of_releases_are_not_to_be_found_by_trying(tmp_path: Path) -> None:
    environment = service_data.environment(tmp_path)
    name = release_id(environment, "manual__1", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC))
    assert name.startswith("cafe-live-20260102T030405-")
    assert len(name.rpartition("-")[2]) >= 16
