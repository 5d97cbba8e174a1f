"""What the ledger learns of each try of a task: that it began after one that ended without a word, and how it failed.

Exists because a process that is killed cannot say so: the next try says it. Knows no Airflow.
"""

from __future__ import annotations

import logging
from typing import Any

from airlock.deploy.landing import BROKEN_GLASS
from airlock.errors import AirlockError, GateRefused
from airlock.flow.stages.release import Release

log = logging.getLogger(__name__)
_LAST_WORDS = ("retry", "fault", "interrupted")


def begin(release: Release, task_id: str, *, after_seal: bool) -> None:
    """Record which DAG run carries out the release, and whether the try before this one left no word of its end.

    :raises GateRefused: the release is sealed, and the task is none that may run again then; or it is another run's
    """
    if release.ledger.sealed(release.id):
        if after_seal:
            return
        glass = release.latest(BROKEN_GLASS)
        by_hand = f" ({glass['message']})" if glass is not None else ""
        raise GateRefused(f"{release.id} has ended and is sealed{by_hand}: nothing more is done in it; trigger a new "
                          "run")
    attempt = release.attempt
    if attempt is None:
        return
    if _of_another_run(release):
        raise GateRefused(f"{release.id} belongs to another DAG run: trigger a new run without naming it")
    if release.latest("run") is None:
        release.record("run", dag_id=attempt.dag_id, run_id=attempt.run_id, airflow=attempt.airflow)
    before = attempt.number - 1
    if before < 1 or _left_word(release, task_id, before):
        return
    message = f"try {before} of {task_id} left no word of its end: its process was killed, or it was cleared by hand"
    log.warning("%s; next: this try goes on from what is on record", message)
    release.record("interrupted", task_id, attempt=before, message=message)


def tell(release: Release, kind: str, task_id: str, message: str, **data: Any) -> None:
    """Record how this try ended; what cannot be recorded is logged, and never hides the reason itself."""
    number = release.attempt.number if release.attempt else 1
    try:
        if _of_another_run(release):
            return
        release.record(kind, task_id, attempt=number, message=message, **data)
    except AirlockError as error:
        log.error("%s: this could not be recorded: %s", task_id, error)


def _of_another_run(release: Release) -> bool:
    run, attempt = release.latest("run"), release.attempt
    if run is None or attempt is None:
        return False
    return (run["dag_id"], run["run_id"]) != (attempt.dag_id, attempt.run_id)


def _left_word(release: Release, task_id: str, number: int) -> bool:
    return any(
        record.type in _LAST_WORDS and record.subject == task_id and record.data.get("attempt") == number
        for record in release.ledger.read(release.id)
    )
