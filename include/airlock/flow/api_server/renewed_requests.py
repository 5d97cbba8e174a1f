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
from http import HTTPStatus
from typing import Any

from airlock.flow.api_server.middleware import Call, Message, Middleware, keeping, overhearing, send_all, with_body

_ANSWER = ("responded_by", "responded_at", "chosen_options", "params_input")


class RenewedRequests(Middleware):
    """ASGI middleware; see the module."""

    method = "POST"
    path = re.compile(r"/execution/hitlDetails/([0-9a-f-]{36})/?")

    async def handle(self, call: Call) -> None:
        """Renew a task's request for input once Airflow has accepted it."""
        import anyio.to_thread

        before = await anyio.to_thread.run_sync(answer_to, call.names[0])
        heard, asked = overhearing(call.receive)
        keep, answered = keeping()
        await self.app(call.scope, heard, keep)
        if answered and answered[0].get("status") == HTTPStatus.CREATED:
            answered = await _renewed(call.names[0], bytes(asked), answered, before)
        await send_all(call.send, answered)


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
    return with_body(answered[0], {**said, **shown})


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
