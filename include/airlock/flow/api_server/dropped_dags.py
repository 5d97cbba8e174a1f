"""What Airflow leaves out: a task that asks for a DAG which Airflow has dropped is told that it is not there.

A DAG that no file builds any more is kept in Airflow's tables as stale: its runs stay "running" for ever, and no task
of them begins. Airflow refuses to trigger such a DAG as unknown, but describes it to a task as if nothing had happened.
This middleware of the API server answers as the other calls do, so that ``settle`` and ``watch`` can tell. It speaks
only after Airflow itself has answered the task. Imports nothing heavy. Knows no release.
"""

from __future__ import annotations

import re
from http import HTTPStatus
from urllib.parse import unquote

from airlock.flow.api_server.middleware import Call, Middleware, answer, keeping, send_all


class DroppedDags(Middleware):
    """ASGI middleware; see the module."""

    method = "GET"
    path = re.compile(r"/execution/dags/([^/]+)")

    async def handle(self, call: Call) -> None:
        """Pass on what Airflow says of a DAG, but for one that it has dropped."""
        keep, answered = keeping()
        await self.app(call.scope, call.receive, keep)
        dag_id = unquote(call.names[0])
        if answered and answered[0].get("status") == HTTPStatus.OK and await _dropped(dag_id):
            said = {"reason": "not_found", "message": f"The Dag with dag_id: `{dag_id}` was dropped by Airflow"}
            answered = answer(HTTPStatus.NOT_FOUND, said)
        await send_all(call.send, answered)


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
