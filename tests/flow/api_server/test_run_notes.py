"""Notes that tasks leave on runs, in Airflow's own tables: once it accepted them, and above what people wrote."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from airlock.flow.api_server.run_notes import KEY, LONGEST, RunNotes, note_text, write

DAG, RUN = "release.cafe.noted", "1.1~2026-11-24T12:00:00.000Z"


@pytest.fixture
def run() -> Iterator[None]:
    from airflow.models.dagrun import DagRun
    from airflow.utils.db import initdb
    from airflow.utils.session import create_session
    from airflow.utils.types import DagRunTriggeredByType, DagRunType
    from sqlalchemy import delete

    initdb()
    with create_session() as session:
        session.execute(delete(DagRun).where(DagRun.dag_id == DAG))
        session.add(DagRun(dag_id=DAG, run_id=RUN, run_type=DagRunType.MANUAL, run_after=datetime.now(UTC),
                           triggered_by=DagRunTriggeredByType.TEST, state="running"))
    yield
    with create_session() as session:
        session.execute(delete(DagRun).where(DagRun.dag_id == DAG))


def note() -> str | None:
    from airflow.models.dagrun import DagRun
    from airflow.utils.session import create_session
    from sqlalchemy import select

    with create_session() as session:
        found = session.scalar(select(DagRun).where(DagRun.dag_id == DAG))
        return None if found is None else found.note


def people_write(text: str) -> None:
    from airflow.models.dagrun import DagRun
    from airflow.utils.session import create_session
    from sqlalchemy import select

    with create_session() as session:
        run = session.scalar(select(DagRun).where(DagRun.dag_id == DAG))
        if run.dag_run_note is None:
            run.note = text
        run.dag_run_note.content, run.dag_run_note.user_id = text, "rita"


def pushed(value: object, status: int = 201, key: str = KEY) -> None:
    async def airflow(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    async def receive() -> Any:
        return {"type": "http.request", "body": json.dumps(value).encode(), "more_body": False}

    async def send(message: Any) -> None:
        pass

    path = f"/execution/xcoms/settle/some run/settle/{key}"
    asyncio.run(RunNotes(airflow)({"type": "http", "path": path, "method": "POST"}, receive, send))


def said(text: str, run_id: str = RUN) -> str:
    return json.dumps({"dag_id": DAG, "run_id": run_id, "note": text})


def test_the_newest_note_replaces_the_one_before_and_leaves_what_people_wrote(run: None) -> None:
    pushed(said(note_text("1.1, under way", "asked for")))
    assert note() == "**1.1, under way**: asked for"
    people_write(f"{note()}\n\nIs it the milk?\n\n**Bold** idea")
    pushed(said(note_text("1.1 → rolled back", "3 errors")))
    assert note() == "**1.1 → rolled back**: 3 errors\n\nIs it the milk?\n\n**Bold** idea"


def test_what_people_wrote_first_stays_below(run: None) -> None:
    people_write("Keep an eye on it")
    pushed(said(note_text("1.1 → promoted", "all well")))
    assert note() == "**1.1 → promoted**: all well\n\nKeep an eye on it"


def test_only_what_airflow_accepted_is_written_and_nonsense_does_no_harm(run: None) -> None:
    pushed(said("**x**: not accepted"), status=403)
    pushed(said("**x**: another key"), key="return_value")
    pushed(said("**x**: a run that is gone", run_id="gone"))
    for nonsense in ("no json", [1], {"dag_id": 1}, None, 7):
        pushed(nonsense)
    assert note() is None


def test_a_note_is_one_line_and_has_an_end(run: None) -> None:
    text = note_text("1.1\n**x**", "a\nb " + "long " * 500)
    assert text.startswith("**1.1 x**: a b long") and "\n" not in text and len(text) == LONGEST
    people_write("y" * LONGEST)
    write(DAG, RUN, text)
    assert len(note() or "") == LONGEST
