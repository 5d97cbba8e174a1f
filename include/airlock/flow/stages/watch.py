"""The watch over schedules: tells people what did not begin when it was due, and ends what was left half done.

Level-triggered, as ``settle``: it compares what was due with what is on record, so that it notices afterwards that the
scheduler itself was down. Knows no Airflow.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

from airlock.evidence.ledger import Ledger
from airlock.flow.release import Release
from airlock.flow.stages import keeping
from airlock.flow.stages.settle import RunState
from airlock.flow.stages.train import finish as finish_train
from airlock.flow.stages.train import home_of
from airlock.flow.stream import BACKUPS, DRILLS, RETENTION, TRAINS, WATCH, StreamRun
from airlock.schedule.missed import due_between, missed
from airlock.schedule.train import Train
from airlock.service_model import Schedule
from airlock.services import ServiceEnvironment

log = logging.getLogger(__name__)
StateOf = Callable[[str, str], RunState]


def schedules(environment: ServiceEnvironment) -> dict[str, Schedule]:
    """Return what *environment* wants done outside releases, by stream."""
    policy = environment.backup
    wanted: dict[str, Schedule | None] = {
        BACKUPS: policy.schedule, DRILLS: policy.drills, RETENTION: policy.retention,
    }
    return {stream: schedule for stream, schedule in wanted.items() if schedule is not None}


def look(environment: ServiceEnvironment, now: datetime, actor: str) -> tuple[str, ...]:
    """Return a sentence for every schedule of *environment* whose newest time was missed; people are told once of each
    time that was, and each is recorded."""
    return tuple(
        said for stream, schedule in schedules(environment).items()
        for said in _looked(environment, stream, schedule, now, actor)
    )


def look_at_train(train: Train, now: datetime, actor: str) -> tuple[str, ...]:
    """Return the same for *train*.

    :raises UnknownName: its first service, beside which its evidence lies, is not declared
    """
    return _looked(home_of(train), TRAINS, train.schedule, now, actor) if train.schedule else ()


def _looked(
    environment: ServiceEnvironment, stream: str, schedule: Schedule, now: datetime, actor: str
) -> tuple[str, ...]:
    watch = StreamRun(environment, WATCH, stream, actor)
    since = watched_since(watch, schedule, now)
    runs = StreamRun(environment, stream, stream, actor).ledger
    late = missed(schedule, since, tuple(begun(runs, since)), now)
    return tell(watch, f"{stream} of {environment.service} {environment.environment}", late, schedule, now)


def watched_since(watch: Release, schedule: Schedule, now: datetime) -> datetime:
    """Return since when *schedule* is watched as it is now: what was due before is nobody's promise."""
    terms: dict[str, Any] = {"cron": schedule.cron, "timezone": schedule.timezone,
                             "late_after_minutes": schedule.late_after_minutes}
    recorded = watch.latest("watching")
    if recorded is not None and {name: recorded[name] for name in terms} == terms:
        return datetime.fromisoformat(recorded["since"])
    watch.record("watching", since=now.isoformat(), **terms)
    log.info("%s: watched from now on: %s (%s)", watch.id, schedule.cron, schedule.timezone)
    return now


def begun(ledger: Ledger, since: datetime) -> Iterator[datetime]:
    """Yield for when each run in *ledger* later than *since* was due; only one with a signed record counts."""
    for identity in ledger.releases():
        stamp = identity.split("-")[-2] if identity.count("-") > 1 else ""
        try:
            due = datetime.strptime(stamp, "%Y%m%dT%H%M%S").replace(tzinfo=UTC)
        except ValueError:
            continue
        if due >= since.replace(microsecond=0) and ledger.latest(identity, "run") is not None:
            yield due


def tell(watch: Release, what: str, late: tuple[datetime, ...], schedule: Schedule, now: datetime) -> tuple[str, ...]:
    """Record and tell each of the *late* times once; return a sentence while the newest time is one of them."""
    for tick in late:
        moment = tick.isoformat()
        if watch.latest("missed", moment) is not None:
            continue
        why = (f"{what} were due on {tick:%a %d %b %Y %H:%M} UTC and had not begun {schedule.late_after_minutes} min "
               "later: look whether the scheduler runs and the DAG is not paused, then trigger it by hand")
        log.error("missed: %s", why)
        watch.notify("alarm", f"Missed: {what}, {tick:%d %b %H:%M} UTC", why)
        watch.record("missed", moment, noticed=now.isoformat(), why=why)
    if late and late[-1:] == due_between(schedule, watched_since(watch, schedule, now), now)[-1:]:
        return (f"{what}: missed since {late[-1]:%d %b %H:%M} UTC",)
    return ()


def end_leftovers(
    environment: ServiceEnvironment,
    own_airflow: str,
    state_of: StateOf,
    actor: str,
    streams: tuple[str, ...] = (BACKUPS, DRILLS, RETENTION),
) -> tuple[str, ...]:
    """Seal what is done outside releases whose DAG run is over or gone; return what was sealed."""
    found = []
    for stream in streams:
        for identity in StreamRun(environment, stream, stream, actor).ledger.unsettled():
            run = StreamRun(environment, stream, identity, actor)
            of = run.latest("run")
            if of is None or of["airflow"] != own_airflow:
                continue
            if (state := state_of(of["dag_id"], of["run_id"])) is RunState.ALIVE:
                continue
            run.record("fault", "watch", error="RunOver", attempt=1,
                       message=f"the DAG run {of['run_id']} {'is gone' if state is RunState.GONE else 'ended'} before "
                               f"the {stream} had ended")
            outcome, _ = finish_train(run) if stream == TRAINS else keeping.finish(run)
            found.append(f"{identity}: {stream} ended as {outcome}")
    return tuple(found)
