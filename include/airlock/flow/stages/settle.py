"""The safety net: bring back, and seal, every release whose DAG run is over, gone or stranded. Knows no Airflow.

Level-triggered: it compares what is on record with the state of the runs, so that it may run at any time, be killed at
any time, and need not know what happened. A release whose run still works is left to it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime, timedelta
from enum import StrEnum

from airlock.deploy.landing import acted, landed, way_back_needed
from airlock.errors import AirlockError, PermanentError
from airlock.evidence.ledger import Ledger
from airlock.flow.stages import backup, close, rollback, tickets
from airlock.flow.stages.notices import notify
from airlock.flow.stages.release import Release

log = logging.getLogger(__name__)
QUIET_LIMIT = timedelta(minutes=30)
PACK_LIMIT = timedelta(hours=1)
STRANDED_LIMIT = timedelta(minutes=2)
"""How long a DAG may be away: while Airlock itself is updated, it may come back."""
NEWEST = 5


class RunState(StrEnum):
    """What Airflow says of the DAG run of a release."""

    ALIVE = "alive"
    SUCCESS = "success"
    FAILED = "failed"
    GONE = "gone"
    STRANDED = "stranded"
    """It is at work, and Airflow has its DAG no more: no further task of it begins."""


def to_settle(ledger: Ledger) -> tuple[str, ...]:
    """Return the releases that are worth a look: those that are not sealed, and the newest ones."""
    return tuple(dict.fromkeys((*ledger.unsettled(), *ledger.releases()[-NEWEST:])))


def settle(release: Release, own_airflow: str, state_of: Callable[[str, str], RunState], now: datetime) -> str:
    """Land and seal *release* if its run is over; return what was done, in a sentence, which is empty for nothing.

    :param own_airflow: address of the Airflow that asks; runs of another one are left alone
    :param state_of: state of a run, by DAG id and run id
    :raises AirlockError: it could not be landed, or not be sealed, now
    """
    if release.ledger.sealed(release.id):
        return _write_lost_pack(release, now)
    run = release.latest("run")
    if run is None:
        return f"{release.id}: no run is on record yet: left alone"
    if run["airflow"] != own_airflow:
        log.warning("%s belongs to the Airflow at %s, not to this one: left alone", release.id, run["airflow"])
        return f"{release.id}: belongs to another Airflow: left alone"
    state = state_of(run["dag_id"], run["run_id"])
    if state is RunState.ALIVE:
        _note_return(release)
        _ask_for_help_if_quiet(release, now)
        return f"{release.id}: its run works: left alone"
    if state is RunState.STRANDED and (waits := _may_come_back(release, run["dag_id"], now)):
        return f"{release.id}: {waits}: left alone"
    return _land(release, state, run["run_id"])


def _may_come_back(release: Release, dag_id: str, now: datetime) -> str:
    """Return what a stranded *release* waits for; empty when it is to be landed now."""
    if landed(release.records()):
        return f"the DAG {dag_id} has vanished, but nothing is under way: it goes on when the DAG is back"
    seen = release.latest("stranded", dag_id)
    if seen is None or seen["back"]:
        release.record("stranded", dag_id, since=now.isoformat(), back=False)
        seen = {"since": now.isoformat()}
    back_at = datetime.fromisoformat(seen["since"]) + STRANDED_LIMIT
    if now < back_at:
        log.warning("%s: the DAG %s has vanished; next: it is brought back if the DAG is not there again by %s UTC",
                    release.id, dag_id, f"{back_at:%H:%M:%S}")
        return f"the DAG {dag_id} has vanished a moment ago"
    return ""


def _note_return(release: Release) -> None:
    run = release.latest("run") or {}
    seen = release.latest("stranded", str(run.get("dag_id")))
    if seen is not None and not seen["back"]:
        release.record("stranded", str(run["dag_id"]), since=seen["since"], back=True)


def _land(release: Release, state: RunState, run_id: str) -> str:
    _record_why(release, state, run_id)
    return carry_home(release)


def carry_home(release: Release) -> str:
    """Bring *release* back if that is needed, and seal it; return how it ended, in a sentence. May be repeated.

    :raises AirlockError: it could not be brought back, or not be sealed, now
    """
    why = rollback.needed(release)
    if why:
        notify(release, "fault", f"{release.id} is brought back", why)
        rollback.traffic(release, why)
        rollback.data(release)
        rollback.verify(release)
    _discard_scratch(release)
    close.seal(release)
    outcome, reason = close.outcome(release)
    log.info("%s: settled: %s: %s", release.id, outcome.upper(), reason)
    close_ticket(release)
    return f"{release.id}: settled as {outcome}"


def close_ticket(release: Release) -> None:
    """Bring the release's ticket to its end; a ticket system that is away keeps no release from being settled."""
    try:
        tickets.close_ticket(release)
    except AirlockError as error:
        log.error("%s: its ticket stays open: %s; next: close it by hand", release.id, error)


def _write_lost_pack(release: Release, now: datetime) -> str:
    """Write the pack of a release whose task was killed between the seal and the pack. Later, packs may be archived."""
    ended = release.ledger.latest(release.id, "outcome")
    if ended is None or now - ended.at > PACK_LIMIT or not close.write_missing_pack(release):
        return ""
    return f"{release.id}: its evidence pack was missing and is written"


def _record_why(release: Release, state: RunState, run_id: str) -> None:
    records, damaged = release.ledger.read_undamaged(release.id)
    back = bool(way_back_needed(records, damaged))
    where = "it had not landed" if back else "it has landed" if acted(records) else "nothing was changed"
    how = {RunState.GONE: "is gone", RunState.STRANDED: "cannot go on, since Airflow has its DAG no more,"}.get(
        state, f"ended as {state}")
    message = f"the DAG run {run_id} {how} before the release was sealed, and {where}"
    log.warning("%s: %s; next: %s", release.id, message, "bring all traffic back" if back else "seal it")
    if release.latest("fault", "settle") is None:
        release.record("fault", "settle", error="RunOver", message=message, attempt=1)


def _discard_scratch(release: Release) -> None:
    """Remove what restore tests left; what can never be removed keeps no release from being sealed."""
    if release.latest("plan") is None:
        return
    for resource in release.plan.resources:
        try:
            backup.discard(release, (resource,))
        except PermanentError as error:
            log.error("%s: the scratch place stays: %s; remove it by hand", resource.name, error)
            release.record("leftover", f"{resource.kind}.{resource.name}", message=str(error))


def _ask_for_help_if_quiet(release: Release, now: datetime) -> None:
    """Tell people of a release between its first act and its landing whose run says nothing: a human may be needed."""
    records = release.records()
    if landed(records):
        return
    last = records[-1]
    if now - last.at < QUIET_LIMIT:
        return
    text = (
        f"the last record is {last.type} {last.subject} of {last.at:%d %b %H:%M} UTC, and the run is still at work: "
        "look whether its DAG is paused or its scheduler stands still; to bring it back, mark the run as failed"
    )
    log.warning("%s has split traffic and is quiet: %s", release.id, text)
    notify(release, "quiet", f"{release.id} is quiet in mid-release", text)
