"""What Airflow loses: an answer that meets the task which asks while that is still ending its try, or has ended.

Airflow accepts such an answer, shows it as given, and may never hand it on. This middleware of the API server holds an
answer until the task is parked and its former try has been reported, and refuses it with a sentence where that does not
come about. It asks Airflow first whether the caller may see the request at all, and decides nothing else. Loaded in
every component by the plugin, so it imports nothing heavy. Knows no release.
"""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime
from http import HTTPStatus

from airlock.flow.api_server.middleware import Call, Message, Middleware, answer, keeping, send_all

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


class EarlyAnswers(Middleware):
    """ASGI middleware; see the module."""

    method = "PATCH"
    path = re.compile(r".*/api/v2/dags/([^/]+)/dagRuns/([^/]+)/taskInstances/([^/]+)/(-?[0-9]{1,9})/hitlDetails/?")

    async def handle(self, call: Call) -> None:
        """Pass the answer on when the task that asked can take it."""
        dag, run, task, index = call.names
        refused = await _held(dag, run, task, index) if await self._may_see(call.scope) else ""
        if refused:
            await send_all(call.send, answer(HTTPStatus.CONFLICT, refused))
        else:
            await self.app(call.scope, call.receive, call.send)

    async def _may_see(self, scope: Message) -> bool:
        """Ask Airflow for the request in the name of the caller: who may not see it gets Airflow's own answer."""
        async def nothing() -> Message:
            return {"type": "http.request", "body": b"", "more_body": False}

        left_out = (b"content-length", b"content-type", b"transfer-encoding")
        headers = [(name, value) for name, value in scope["headers"] if name.lower() not in left_out]
        keep, answered = keeping()
        await self.app({**scope, "method": "GET", "headers": headers, "state": {}}, nothing, keep)
        return bool(answered) and answered[0].get("status") == HTTPStatus.OK


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
