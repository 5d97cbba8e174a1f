"""What Airflow leaves out: a request for input that is asked again shows what is asked now.

When a task is cleared or tried again, Airflow keeps the row of its first request and only removes the answer: people
would read the former plan, and former approvers would be the ones who may answer. This middleware of the API server
writes the new text and people once Airflow has accepted the task's call; it takes nobody's word but that of a call
that Airflow answered with 201. An answer to the very same text and people is put back: a try that was lost has not
counted it, because every answer that was counted is told in the text that is shown next. Loaded in every component by
the plugin, so it imports nothing heavy. Knows no release.
"""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Message, Receive, Send], Awaitable[None]]

_CALL = re.compile(r"/execution/hitlDetails/([0-9a-f-]{36})/?")
_CREATED = 201
_ANSWER = ("responded_by", "responded_at", "chosen_options", "params_input")


class RenewedRequests:
    """ASGI middleware; see the module."""

    def __init__(self, app: Application) -> None:
        """Wrap *app*."""
        self._app = app

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Pass everything on; after a task's request for input was accepted, renew it."""
        call = _CALL.fullmatch(scope.get("path", "")) if scope["type"] == "http" else None
        if call is None or scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        import anyio.to_thread

        asked, answered = bytearray(), []
        before = await anyio.to_thread.run_sync(answer_to, call[1])

        async def heard() -> Message:
            message = await receive()
            asked.extend(message.get("body", b""))
            return message

        async def kept(message: Message) -> None:
            answered.append(message)

        await self._app(scope, heard, kept)
        if answered and answered[0].get("status") == _CREATED:
            answered = await _renewed(call[1], bytes(asked), answered, before)
        for message in answered:
            await send(message)


async def _renewed(
    task_instance: str, asked: bytes, answered: list[Message], before: dict[str, Any]
) -> list[Message]:
    """Return the answer to the task with what is shown to people now."""
    import anyio.to_thread

    request = json.loads(asked)
    shown = await anyio.to_thread.run_sync(renew, task_instance, request, before)
    if not shown:
        return answered
    said = json.loads(b"".join(message.get("body", b"") for message in answered))
    body = json.dumps({**said, **shown}).encode()
    first = answered[0]
    headers = [(name, value) for name, value in first["headers"] if name.lower() != b"content-length"]
    headers.append((b"content-length", str(len(body)).encode()))
    return [{**first, "headers": headers}, {"type": "http.response.body", "body": body}]


def answer_to(task_instance: str) -> dict[str, Any]:
    """Return the answer in the row of *task_instance*; empty if there is no row, or nobody has answered."""
    from uuid import UUID

    from airflow.models.hitl import HITLDetail
    from airflow.utils.session import create_session

    with create_session() as session:
        row = session.get(HITLDetail, UUID(task_instance))
        return {name: getattr(row, name) for name in _ANSWER} if row is not None and row.responded_by else {}


def renew(task_instance: str, request: dict[str, Any], before: dict[str, Any]) -> dict[str, Any]:
    """Write what *request* asks over the row of *task_instance*; return what is shown then, empty if nothing differed.

    An answer that came meanwhile was to the former text: it is removed. Where nothing differed, the answer from
    *before* Airflow removed it is put back.
    """
    from uuid import UUID

    from airflow.models.hitl import HITLDetail
    from airflow.utils.session import create_session
    from sqlalchemy import select

    wanted = {
        "subject": request["subject"],
        "body": request.get("body"),
        "options": request["options"],
        "params": request.get("params") or {},
        "assignees": request.get("assigned_users") or [],
    }
    with create_session() as session:
        chosen = select(HITLDetail).where(HITLDetail.ti_id == UUID(task_instance)).with_for_update(of=HITLDetail)
        row = session.scalar(chosen)
        if row is None:
            return {}
        if all(getattr(row, name) == value for name, value in wanted.items()):
            for name, value in before.items() if not row.responded_by else ():
                setattr(row, name, value)
            return {}
        for name, value in wanted.items():
            setattr(row, name, value)
        row.responded_by = row.responded_at = row.chosen_options = None
        row.params_input = {}
    return {
        **{name: wanted[name] for name in ("subject", "body", "options", "params")},
        "assigned_users": wanted["assignees"],
    }
