"""Answers to a task that cannot take them yet, or not any more, with Airflow's own tables behind them."""

from __future__ import annotations

import json
import threading
import time
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from airlock.flow.api_server import early_answers
from airlock.flow.api_server.early_answers import EARLY, LATE, EarlyAnswers
from airlock.flow.api_server.renewed_requests import answer_to, renew
from tests.flow.api_server import api_call

pytest.importorskip("airflow")
DAG, RUN, TASK = "release.cafe.live", "manual__2026-11-24T09:00:00+00:00", "change.approve"
PATH = f"/api/v2/dags/{DAG}/dagRuns/{RUN}/taskInstances/{TASK}/-1/hitlDetails"
REQUEST = {"subject": "Release?", "body": "the plan", "options": ["Approve", "Reject"], "params": {},
           "assigned_users": [{"id": "olga", "name": "olga"}]}
ANSWER = {"responded_by": {"id": "olga", "name": "olga"}, "responded_at": datetime(2026, 11, 24, 9, tzinfo=UTC),
          "chosen_options": ["Approve"], "params_input": {"answer_reason": "fine"}}


class Task:
    """One task in Airflow's tables, and its request for input."""

    def __init__(self) -> None:
        self.id = uuid.uuid4()

    def write(self, state: str | None, seconds: float = 60) -> None:
        from airflow.models.taskinstance import TaskInstance
        from airflow.utils.session import create_session
        from sqlalchemy import update

        since = datetime.now(UTC) - timedelta(seconds=seconds)
        with create_session() as session:
            session.execute(update(TaskInstance).where(TaskInstance.id == self.id).values(
                state=state, updated_at=since))


@pytest.fixture
def task() -> Iterator[Task]:
    from airflow.models.dagrun import DagRun
    from airflow.models.hitl import HITLDetail
    from airflow.models.taskinstance import TaskInstance
    from airflow.utils.db import initdb
    from airflow.utils.session import create_session
    from sqlalchemy import delete, insert

    initdb()
    made, now = Task(), datetime.now(UTC)
    with create_session() as session:
        session.execute(insert(DagRun.__table__).values(
            dag_id=DAG, run_id=RUN, run_type="manual", run_after=now, state="running", log_template_id=1))
        session.execute(insert(TaskInstance.__table__).values(
            id=made.id, dag_id=DAG, run_id=RUN, task_id=TASK, map_index=-1, try_number=1, max_tries=0, state="running",
            pool="default_pool", pool_slots=1, queue="default", priority_weight=1, updated_at=now))
        session.add(HITLDetail(ti_id=made.id, subject=REQUEST["subject"], body=REQUEST["body"], params={},
                               options=REQUEST["options"], assignees=REQUEST["assigned_users"]))
    yield made
    with create_session() as session:
        session.execute(delete(DagRun.__table__).where(DagRun.dag_id == DAG))


def answered(path: str = PATH, may_see: int = 200, method: str = "PATCH") -> tuple[int, str]:
    """Return status and body of the answer; Airflow itself says 299 to whatever reaches it."""
    return api_call.answered(EarlyAnswers, path, method, lambda asked: may_see if asked == "GET" else 299)


@pytest.mark.parametrize("state", ["awaiting_input", "deferred"])
def test_an_answer_to_a_task_that_waits_is_passed_on(task: Task, state: str) -> None:
    task.write(state)
    assert answered() == (299, "{}")


def test_an_answer_to_a_task_that_ends_its_try_is_held_until_it_is_parked(task: Task) -> None:
    parking = threading.Timer(1, task.write, ("awaiting_input", early_answers.REPORTED_SECONDS - 1))
    parking.start()
    begun = time.monotonic()
    assert answered() == (299, "{}")
    assert time.monotonic() - begun > 1.5, "and until its former try was reported"
    parking.join()


@pytest.mark.parametrize("state", ["running", "scheduled", "queued", "up_for_retry", None])
def test_a_task_that_is_never_parked_takes_no_answer(
    task: Task, state: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(early_answers, "HELD_SECONDS", 0.5)
    task.write(state)
    status, body = answered()
    assert (status, json.loads(body)) == (409, {"detail": EARLY})


@pytest.mark.parametrize("state", ["success", "failed", "skipped", "upstream_failed", "removed"])
def test_a_task_that_has_ended_takes_no_answer(task: Task, state: str) -> None:
    task.write(state)
    status, body = answered()
    assert (status, json.loads(body)) == (409, {"detail": LATE})


@pytest.mark.parametrize("status", [401, 403, 404])
def test_who_may_not_see_the_request_gets_airflows_own_answer_and_learns_nothing(task: Task, status: int) -> None:
    task.write("running")
    assert answered(may_see=status) == (299, "{}")


@pytest.mark.parametrize("path", ["/api/v2/dags", PATH.replace("hitlDetails", "logs"), f"{PATH}/tries/1", "/x"])
def test_everything_else_is_passed_on(path: str) -> None:
    assert answered(path) == (299, "{}")


def test_an_answer_that_a_lost_try_has_not_counted_is_put_back_only_to_the_same_text(task: Task) -> None:
    from airflow.models.hitl import HITLDetail
    from airflow.utils.session import create_session

    def respond(given: dict[str, Any]) -> None:
        with create_session() as session:
            row = session.get(HITLDetail, task.id)
            for name, value in given.items():
                setattr(row, name, value)

    nothing = {"responded_by": None, "responded_at": None, "chosen_options": None, "params_input": {}}
    assert answer_to(str(task.id)) == {}
    respond(ANSWER)
    before = answer_to(str(task.id))
    respond(nothing)  # as Airflow does when the task asks again
    assert renew(str(task.id), REQUEST, before) == {}
    assert answer_to(str(task.id)) == ANSWER
    respond(nothing)
    assert renew(str(task.id), {**REQUEST, "body": "another plan"}, before)["body"] == "another plan"
    assert answer_to(str(task.id)) == {}
    assert answer_to(str(uuid.uuid4())) == {}
