"""What Airflow loses: an answer that meets the task which asks while that is still ending its try, or has ended.

Airflow accepts such an answer, shows it as given, and may never hand it on. This middleware of the API server holds an
answer until the task is parked and its former try has been reported, and refuses it with a sentence where that does not
come about. It asks Airflow first whether the caller may see the request at all, and decides nothing else. Loaded in
every component by the plugin, so it imports nothing heavy. Knows no release.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Awaitable, Callable, MutableMapping
from datetime import UTC, datetime
from typing import Any

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Message, Receive, Send], Awaitable[None]]

_CALL = re.compile(r".*/api/v2/dags/([^/]+)/dagRuns/([^/]+)/taskInstances/([^/]+)/(-?[0-9]{1,9})/hitlDetails/?")
_OK = 200
_CONFLICT = 409
HELD_SECONDS = 20.0
"""How long an answer is held at most; browsers wait longer."""
REPORTED_SECONDS = 3.0
"""How long after a task was parked the executor has reported the end of its try: resumed before, it counts as lost."""
_LOOK_SECONDS = 0.25
_PARKED = ("awaiting_input", "deferred")
_COMING = (None, "scheduled", "queued", "running", "restarting", "up_for_retry", "up_for_reschedule")
LATE = "The task that asked has ended, so this answer was not taken: look at the newest request of this run."
EARLY = ("The task that asks is still busy with the answer before, so this answer was not taken: wait a few seconds, "
         "load the page again, and answer what it asks then.")


class EarlyAnswers:
    """ASGI middleware; see the module."""

    def __init__(self, app: Application) -> None:
        """Wrap *app*."""
        self._app = app

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Pass everything on; an answer only when the task that asked can take it."""
        call = _CALL.fullmatch(scope.get("path", "")) if scope["type"] == "http" else None
        if call is not None and scope["method"] == "PATCH" and await self._may_see(scope):
            refused = await _held(*call.group(1, 2, 3, 4))
            if refused:
                await _refuse(send, refused)
                return
        await self._app(scope, receive, send)

    async def _may_see(self, scope: Message) -> bool:
        """Ask Airflow for the request in the name of the caller: who may not see it gets Airflow's own answer."""
        seen: list[int] = []

        async def nothing() -> Message:
            return {"type": "http.request", "body": b"", "more_body": False}

        async def status(message: Message) -> None:
            if message["type"] == "http.response.start":
                seen.append(int(message["status"]))

        left_out = (b"content-length", b"content-type", b"transfer-encoding")
        headers = [(name, value) for name, value in scope["headers"] if name.lower() not in left_out]
        await self._app({**scope, "method": "GET", "headers": headers, "state": {}}, nothing, status)
        return seen == [_OK]


async def _held(dag: str, run: str, task: str, index: str) -> str:
    """Hold the caller until *task* can take an answer; return why it is refused, empty if it is not."""
    import anyio
    import anyio.to_thread

    limit = time.monotonic() + HELD_SECONDS
    while True:
        state, since = await anyio.to_thread.run_sync(state_of, dag, run, task, index)
        parked = state in _PARKED
        if not parked and state not in _COMING:
            return LATE
        if parked and since >= REPORTED_SECONDS:
            return ""
        if time.monotonic() > limit:
            return "" if parked else EARLY
        await anyio.sleep(min(_LOOK_SECONDS, REPORTED_SECONDS - since) if parked else _LOOK_SECONDS)


def state_of(dag: str, run: str, task: str, index: str) -> tuple[str | None, float]:
    """Return the state of a task in Airflow, and for how many seconds it has had it."""
    from airflow.models.taskinstance import TaskInstance
    from airflow.utils.session import create_session
    from sqlalchemy import select

    chosen = select(TaskInstance.state, TaskInstance.updated_at).where(
        TaskInstance.dag_id == dag, TaskInstance.run_id == run, TaskInstance.task_id == task,
        TaskInstance.map_index == int(index),
    )
    with create_session() as session:
        found = session.execute(chosen).one_or_none()
    if found is None or found[1] is None:
        return (None, 0.0) if found is None else (found[0], REPORTED_SECONDS)
    return found[0], max(0.0, (datetime.now(UTC) - found[1]).total_seconds())


async def _refuse(send: Send, why: str) -> None:
    body = json.dumps({"detail": why}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": _CONFLICT, "headers": headers})
    await send({"type": "http.response.body", "body": body})
