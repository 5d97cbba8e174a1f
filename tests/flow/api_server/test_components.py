"""The API server's answer to a task of the DAG ``doctor``, with Airflow's own tables behind it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from airlock.doctor import code
from airlock.doctor.components import API_SERVER, SCHEDULER, TRIGGERER, ServerView
from airlock.flow.api_server import components
from airlock.flow.api_server.components import ComponentQuestions, key_for, view
from tests.flow.api_server import api_call

pytest.importorskip("airflow")
PATH = "/execution/xcoms/doctor/manual__1/outcome/"


@pytest.fixture(scope="module", autouse=True)
def tables() -> Iterator[None]:
    from airflow.jobs.job import Job
    from airflow.utils.db import initdb
    from airflow.utils.session import create_session

    initdb()
    now = datetime.now(UTC)
    rows = {"SchedulerJob": 2, "TriggererJob": 500, "LocalTaskJob": 1}
    with create_session() as session:
        for kind, seconds in rows.items():
            job = Job()
            job.job_type, job.state, job.hostname = kind, "running", "host-of-a-test"
            job.latest_heartbeat = now - timedelta(seconds=seconds)
            session.add(job)
    yield
    with create_session() as session:
        from sqlalchemy import delete

        session.execute(delete(Job).where(Job.hostname == "host-of-a-test"))


@pytest.fixture(autouse=True)
def auth_manager(monkeypatch: pytest.MonkeyPatch) -> None:
    """Airflow's own simple one, as this process would make it."""
    from airflow.api_fastapi import app

    monkeypatch.setenv("AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS", "olga:user,bert:viewer")
    monkeypatch.setattr(app._AuthManagerState, "instance", app.get_auth_manager_cls()())


def asked(path: str, status: int = 404, method: str = "GET") -> tuple[int, str]:
    return api_call.answered(ComponentQuestions, path, method, lambda _: status)


def test_a_task_that_airflow_accepts_is_answered() -> None:
    status, body = asked(PATH + key_for(["olga", "nobody"]))
    assert status == 200
    found = ServerView.model_validate_json(json.loads(body)["value"])
    assert json.loads(body)["key"] == key_for(["olga", "nobody"])
    assert found.itself.role == API_SERVER
    assert found.itself.code == code.digest()
    assert found.people == {"olga": True, "nobody": False}


def test_processes_that_airflow_keeps_in_its_table_are_told_with_their_silence() -> None:
    jobs = {job.role: job for job in view([]).jobs if job.host == "host-of-a-test"}
    assert set(jobs) == {SCHEDULER, TRIGGERER}
    assert jobs[SCHEDULER].silent_seconds < 60 < jobs[TRIGGERER].silent_seconds


@pytest.mark.parametrize("status", [401, 403, 500, 200])
def test_whom_airflow_does_not_accept_is_told_nothing(status: int) -> None:
    assert asked(PATH + key_for(["olga"]), status) == (status, "{}")


@pytest.mark.parametrize(("path", "method"), [
    (PATH + "return_value", "GET"),
    ("/execution/xcoms/release.shop.prod/manual__1/outcome/" + key_for([]), "GET"),
    (PATH + key_for([]), "POST"),
    (PATH + key_for([]) + "/x", "GET"),
    ("/api/v2" + PATH + key_for([]), "GET"),
])  # fmt: skip
def test_everything_else_is_answered_as_airflow_does(path: str, method: str) -> None:
    assert asked(path, 404, method) == (404, "{}")


@pytest.mark.parametrize("text", ["", "!!!", "abc", "eyJhIjoxfQ"])
def test_a_key_that_names_nobody_asks_for_nobody(text: str) -> None:
    assert components._names(text) == []


def test_an_auth_manager_that_does_not_tell_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    from airflow.api_fastapi import app

    monkeypatch.setattr(app._AuthManagerState, "instance", object())
    assert "does not tell" in view(["olga"]).people_unknown
