"""What Airflow leaves out: a task that asks for a DAG which Airflow has dropped is told that it is not there.

A DAG that no file builds any more is kept in Airflow's tables as stale: its runs stay "running" for ever, and no task
of them begins. Airflow refuses to trigger such a DAG as unknown, but describes it to a task as if nothing had happened.
This middleware of the API server answers as the other calls do, so that ``settle`` and ``watch`` can tell. It speaks
only after Airflow itself has answered the task. Imports nothing heavy. Knows no release.
"""

from __future__ import annotations

import json
import re
from urllib.parse import unquote

from airlock.flow.renewed_requests import Application, Message, Receive, Send

_CALL = re.compile(r"/execution/dags/([^/]+)")
_FOUND, _NOT_FOUND = 200, 404


class DroppedDags:
    """ASGI middleware; see the module."""

    def __init__(self, app: Application) -> None:
        """Wrap *app*."""
        self._app = app

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Pass everything on, but for what Airflow says of a DAG that it has dropped."""
        call = _CALL.fullmatch(scope.get("path", "")) if scope["type"] == "http" else None
        if call is None or scope["method"] != "GET":
            await self._app(scope, receive, send)
            return
        answered: list[Message] = []

        async def kept(message: Message) -> None:
            answered.append(message)

        await self._app(scope, receive, kept)
        if answered and answered[0].get("status") == _FOUND and await _dropped(unquote(call[1])):
            answered = _not_found(unquote(call[1]))
        for message in answered:
            await send(message)


async def _dropped(dag_id: str) -> bool:
    import anyio.to_thread

    return await anyio.to_thread.run_sync(dropped, dag_id)


def dropped(dag_id: str) -> bool:
    """Return whether Airflow knows *dag_id* only from former times."""
    from airflow.models.dag import DagModel
    from airflow.utils.session import create_session
    from sqlalchemy import select

    with create_session() as session:
        return bool(session.scalar(select(DagModel.is_stale).where(DagModel.dag_id == dag_id)))


def _not_found(dag_id: str) -> list[Message]:
    said = {"detail": {"reason": "not_found", "message": f"The Dag with dag_id: `{dag_id}` was dropped by Airflow"}}
    body = json.dumps(said).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    return [{"type": "http.response.start", "status": _NOT_FOUND, "headers": headers},
            {"type": "http.response.body", "body": body}]
