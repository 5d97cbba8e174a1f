"""What Airflow leaves out: a task may leave a note on a run, so that lists and pages say how the release ended.

A task has no account at Airflow's API. It pushes the note as an XCom, as any task may, and this middleware of the API
server writes it on the run once Airflow has accepted the XCom. What people wrote there stays below it. Without the
plugin there is only the XCom. Imports nothing heavy. Knows no release.
"""

from __future__ import annotations

import json
import logging
import re
from http import HTTPStatus
from typing import TYPE_CHECKING

from airlock.flow.api_server.middleware import Call, Middleware, keeping, overhearing, send_all

if TYPE_CHECKING:
    from airflow.sdk import Context
    from airflow.sdk.types import RuntimeTaskInstanceProtocol

log = logging.getLogger(__name__)
KEY = "airlock_run_note"
LONGEST = 1000
_OURS = re.compile(r"\*\*[^*\n]+\*\*[^\n]*")


def note_text(head: str, detail: str) -> str:
    """Return the note: one paragraph, *head* in bold, which is how it is known again when it is replaced."""
    plain = " ".join(detail.split())
    said = f"**{' '.join(head.replace('*', '').split())}**: {plain}"
    return said if len(said) <= LONGEST else f"{said[: LONGEST - 1]}…"


def leave_note(task: RuntimeTaskInstanceProtocol, dag_id: str, run_id: str, text: str) -> None:
    """Leave *text*, made by ``note_text``, on a run; it is no harm when that does not work."""
    try:
        task.xcom_push(key=KEY, value=json.dumps({"dag_id": dag_id, "run_id": run_id, "note": text}))
    except Exception as error:  # noqa: BLE001 - whatever Airflow answers, a note stops no release
        log.warning("no note could be left on the run %s: %s", run_id, error)


def note_own_run(context: Context, head: str, detail: str) -> None:
    """Leave a note on the run of the task that runs."""
    run = context["dag_run"]
    leave_note(context["ti"], run.dag_id, run.run_id, note_text(head, detail))


class RunNotes(Middleware):
    """ASGI middleware; see the module."""

    method = "POST"
    path = re.compile(rf"/execution/xcoms/[^/]+/[^/]+/[^/]+/{KEY}/?")

    async def handle(self, call: Call) -> None:
        """Write the note that a task pushed and Airflow accepted."""
        heard, asked = overhearing(call.receive)
        keep, answered = keeping()
        await self.app(call.scope, heard, keep)
        await send_all(call.send, answered)
        if answered and answered[0].get("status") == HTTPStatus.CREATED:
            import anyio.to_thread

            await anyio.to_thread.run_sync(_written, bytes(asked))


def _written(asked: bytes) -> None:
    try:
        value = json.loads(asked)
        said = json.loads(value) if isinstance(value, str) else value
        write(str(said["dag_id"]), str(said["run_id"]), str(said["note"]))
    except Exception as error:  # noqa: BLE001 - Airflow has answered already; a note is never worth an error
        log.warning("a note was not written: %s", error)


def write(dag_id: str, run_id: str, text: str) -> None:
    """Write *text* as the note of the run, above what people wrote; a run that is gone gets none."""
    from airflow.models.dagrun import DagRun
    from airflow.utils.session import create_session
    from sqlalchemy import select

    with create_session() as session:
        run = session.scalar(select(DagRun).where(DagRun.dag_id == dag_id, DagRun.run_id == run_id))
        if run is None:
            return
        note = run.dag_run_note
        if note is None:
            run.note = text[:LONGEST]
            return
        theirs = _OURS.sub("", note.content or "", count=1) if _OURS.match(note.content or "") else note.content or ""
        note.content = f"{text}\n\n{theirs.strip()}".strip()[:LONGEST]
