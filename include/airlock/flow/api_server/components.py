"""What Airflow leaves out: a task of the DAG ``doctor`` may ask what only the API server knows.

A task has no account at Airflow's API, and asks by pulling an XCom that nobody pushed: once Airflow itself has said to
the task that there is none, this middleware answers in its place. It tells which code the API server and the DAG
processor have, which of Airflow's processes live, and which people exist. Changes nothing. Imports nothing heavy.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Sequence
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from airlock.doctor import code
from airlock.doctor.components import API_SERVER, DAG_PROCESSOR, SCHEDULER, TRIGGERER, Component, Job, ServerView
from airlock.flow.api_server.middleware import Call, Middleware, keeping, send_all, with_body
from airlock.models import utc_now

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

DAG_ID = "doctor"
_PREFIX = "airlock_doctor_"
_PARSED = re.compile(r"code `([0-9a-f]{64})`")
_JOBS = {"SchedulerJob": SCHEDULER, "TriggererJob": TRIGGERER, "DagProcessorJob": DAG_PROCESSOR}
_NOT_TOLD = "the auth manager of this Airflow ({}) does not tell who exists"


def key_for(people: Sequence[str]) -> str:
    """Return the key of the XCom to pull, which asks for *people* as well."""
    return _PREFIX + base64.urlsafe_b64encode(json.dumps(sorted(set(people))).encode()).decode().rstrip("=")


def parsed_mark() -> str:
    """Return what the DAG's documentation says of the code that it was read with."""
    return f"Read with code `{code.digest()}` of Airlock."


def own(role: str) -> Component:
    """Return what this process is, in the *role* that it has."""
    import socket

    from airflow import __version__

    return Component(role=role, host=socket.getfqdn(), code=code.digest(), airflow=__version__, plugin=_has_plugin(),
                     changed=code.changed_since_begin())  # fmt: skip


def _has_plugin() -> bool:
    from airflow.plugins_manager import get_plugin_info

    return any(one.get("name") == "airlock" for one in get_plugin_info(["name"]))


class ComponentQuestions(Middleware):
    """ASGI middleware; see the module."""

    method = "GET"
    path = re.compile(rf"/execution/xcoms/{DAG_ID}/[^/]+/[^/]+/{_PREFIX}([A-Za-z0-9_-]*)/?")

    async def handle(self, call: Call) -> None:
        """Answer a task that Airflow accepts, and has told that there is no such XCom."""
        keep, answered = keeping()
        await self.app(call.scope, call.receive, keep)
        if answered and answered[0].get("status") == HTTPStatus.NOT_FOUND:
            import anyio.to_thread

            found = await anyio.to_thread.run_sync(view, _names(call.names[0]))
            first = {**answered[0], "status": int(HTTPStatus.OK)}
            key = call.scope["path"].rstrip("/").rpartition("/")[2]
            answered = with_body(first, {"key": key, "value": found.model_dump_json()})
        await send_all(call.send, answered)


def _names(text: str) -> list[str]:
    try:
        found = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    except ValueError:
        return []
    return [str(name) for name in found] if isinstance(found, list) else []


def view(people: Sequence[str]) -> ServerView:
    """Return what this API server knows, with which of *people* exist."""
    from airflow.utils.session import create_session

    known, why = _existing(people)
    with create_session() as session:
        return ServerView(itself=own(API_SERVER), parsed_with=_parsed_with(session), jobs=_jobs(session), people=known,
                          people_unknown=why)  # fmt: skip


def _parsed_with(session: Session) -> str:
    from airflow.models.serialized_dag import SerializedDagModel

    row = SerializedDagModel.get(DAG_ID, session=session)
    found = _PARSED.search(json.dumps(row.data)) if row is not None else None
    return found[1] if found else ""


def _jobs(session: Session) -> tuple[Job, ...]:
    from airflow.jobs.job import Job as JobRow
    from sqlalchemy import select

    now = utc_now()
    rows = session.scalars(select(JobRow).where(JobRow.job_type.in_(_JOBS), JobRow.state == "running"))
    return tuple(Job(role=_JOBS[str(row.job_type)], host=str(row.hostname),
                     silent_seconds=(now - row.latest_heartbeat).total_seconds())
                 for row in rows if row.latest_heartbeat is not None)  # fmt: skip


def _existing(people: Sequence[str]) -> tuple[dict[str, bool], str]:
    """Return which of *people* exist, or why that cannot be told."""
    from airflow.api_fastapi.app import get_auth_manager

    manager: Any = get_auth_manager()
    if hasattr(manager, "get_users"):  # Airflow's simple one
        names = {str(user.username) for user in manager.get_users()}
        return {name: name in names for name in people}, ""
    if hasattr(manager, "security_manager"):  # that of FAB
        found = {name: manager.security_manager.find_user(username=name) for name in people}
        return {name: bool(user and user.is_active) for name, user in found.items()}, ""
    return {}, _NOT_TOLD.format(type(manager).__name__)
