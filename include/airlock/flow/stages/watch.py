"""The watch over schedules: tells people what did not begin when it was due, and ends what was left half done.

Level-triggered, as ``settle``: it compares what was due with what is on record, so that it notices afterwards that the
scheduler itself was down. Knows no Airflow.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from airlock.evidence.ledger import Ledger
from airlock.flow.stages import keeping
from airlock.flow.stages.notices import notify
from airlock.flow.stages.outside_releases import BACKUPS, DRILLS, RETENTION, TRAINS, WATCH, StreamRun
from airlock.flow.stages.release import Release
from airlock.flow.stages.settle import RunState
from airlock.flow.stages.train import finish as finish_train
from airlock.flow.stages.train import home_of
from airlock.past import ledgers
from airlock.schedule.asking import open_calendar
from airlock.schedule.cycle import next_run
from airlock.schedule.missed import due_between, unmet
from airlock.schedule.train import Train
from airlock.service.find import ServiceEnvironment
from airlock.service.model import Schedule

log = logging.getLogger(__name__)
CYCLE = "cycle"
"""What releases by a cycle are called in the watch; also the record that such a release has."""
_MOST_TIMES = 1000
StateOf = Callable[[str, str], RunState]


@dataclass(frozen=True)
class Watched:
    """One thing that is due at times: what it is called, when it is due (after, until), its runs, and the record that
    such a run has. When its *terms* change, what was due before is nobody's promise any more."""

    name: str
    what: str
    terms: dict[str, Any]
    due: Callable[[datetime, datetime], tuple[datetime, ...]]
    late_after_minutes: int
    runs: Ledger
    mark: str = "run"


def watched_in(environment: ServiceEnvironment, actor: str) -> Iterator[Watched]:
    """Yield what *environment* wants done at times: backups, drills, retention, and releases by a cycle."""
    policy = environment.backup
    wanted: dict[str, Schedule | None] = {
        BACKUPS: policy.schedule, DRILLS: policy.drills, RETENTION: policy.retention,
    }
    for stream, schedule in wanted.items():
        if schedule is not None:
            yield _scheduled(environment, stream, schedule, actor)
    if environment.cycle.timed:
        yield Watched(
            CYCLE, _what(environment, CYCLE), environment.cycle.model_dump(mode="json"), partial(_due, environment),
            environment.cycle.late_after_minutes, ledgers.releases(environment), CYCLE,
        )


def _scheduled(environment: ServiceEnvironment, stream: str, schedule: Schedule, actor: str) -> Watched:
    terms = {"cron": schedule.cron, "timezone": schedule.timezone, "late_after_minutes": schedule.late_after_minutes}
    return Watched(stream, _what(environment, stream), terms, partial(due_between, schedule),
                   schedule.late_after_minutes, StreamRun(environment, stream, stream, actor).ledger)


def _what(environment: ServiceEnvironment, name: str) -> str:
    return f"{name} of {environment.service} {environment.environment}"


def _due(environment: ServiceEnvironment, after: datetime, until: datetime) -> tuple[datetime, ...]:
    """Return when the release cycle was due, by its calendar as it is now; live signals are not asked."""
    spelled = open_calendar(environment.calendar).spelled
    found: list[datetime] = []
    at: datetime | None = after
    while at is not None and len(found) < _MOST_TIMES:
        at = next_run(environment.cycle, environment.calendar, at, spelled)
        if at is None or at > until:
            break
        found.append(at)
    return tuple(found)


def look(environment: ServiceEnvironment, now: datetime, actor: str) -> tuple[str, ...]:
    """Return a sentence for everything of *environment* whose newest time was missed; people are told once of each
    time that was, and each is recorded."""
    return tuple(said for one in watched_in(environment, actor) for said in _looked(environment, one, now, actor))


def look_at_train(train: Train, now: datetime, actor: str) -> tuple[str, ...]:
    """Return the same for *train*.

    :raises UnknownName: its first service, beside which its evidence lies, is not declared
    """
    if train.schedule is None:
        return ()
    home = home_of(train)
    return _looked(home, _scheduled(home, TRAINS, train.schedule, actor), now, actor)


def _looked(environment: ServiceEnvironment, watched: Watched, now: datetime, actor: str) -> tuple[str, ...]:
    watch = StreamRun(environment, WATCH, watched.name, actor)
    since = _watched_since(watch, watched.terms, now)
    due = watched.due(since, now)
    late = timedelta(minutes=watched.late_after_minutes)
    missing = unmet(due, tuple(_begun(watched, since)), now, late)
    for tick in missing:
        _tell(watch, watched, tick, now)
    if missing and missing[-1] == due[-1]:
        return (f"{watched.what}: missed since {missing[-1]:%d %b %H:%M} UTC",)
    return ()


def _watched_since(watch: Release, terms: dict[str, Any], now: datetime) -> datetime:
    recorded = watch.latest("watching")
    if recorded is not None and recorded["terms"] == terms:
        return datetime.fromisoformat(recorded["since"])
    watch.record("watching", since=now.isoformat(), terms=terms)
    log.info("%s: watched from now on: %s", watch.id, terms)
    return now


def _begun(watched: Watched, since: datetime) -> Iterator[datetime]:
    """Yield for when each run later than *since* was due; only one with its signed record counts."""
    for identity in watched.runs.releases():
        stamp = identity.split("-")[-2] if identity.count("-") > 1 else ""
        try:
            due = datetime.strptime(stamp, "%Y%m%dT%H%M%S").replace(tzinfo=UTC)
        except ValueError:
            continue
        if due >= since.replace(microsecond=0) and watched.runs.latest(identity, watched.mark) is not None:
            yield due


def _tell(watch: Release, watched: Watched, tick: datetime, now: datetime) -> None:
    """Record and tell a missed time, once."""
    moment = tick.isoformat()
    if watch.latest("missed", moment) is not None:
        return
    why = (f"{watched.what}: due on {tick:%a %d %b %Y %H:%M} UTC, and not begun {watched.late_after_minutes} min "
           "later: look whether the scheduler runs and the DAG is not paused, then trigger it by hand")
    log.error("missed: %s", why)
    notify(watch, "alarm", f"Missed: {watched.what}, {tick:%d %b %H:%M} UTC", why)
    watch.record("missed", moment, noticed=now.isoformat(), why=why)


def look_at_open(
    environment: ServiceEnvironment, wrong: str, own_airflow: str, state_of: StateOf, actor: str
) -> tuple[str, ...]:
    """Return a sentence for every open release that goes on under alarm, of which people are told once: while its
    service file is *wrong* (empty: it is right), or after Airflow dropped its DAG."""
    said = []
    for identity in ledgers.releases(environment).unsettled():
        release = Release(environment, identity, actor)
        run = release.latest("run")
        if run is None or run["airflow"] != own_airflow:
            continue
        if wrong:
            said.append(_alarm(release, f"{identity} is open while its service file is wrong",
                               f"{wrong}; it goes on by the last good version of the file: mend the file"))
        if state_of(run["dag_id"], run["run_id"]) is RunState.STRANDED:
            said.append(_alarm(release, f"{identity}: Airflow has its DAG no more",
                               f"the DAG {run['dag_id']} has vanished, so the run {run['run_id']} cannot go on: look "
                               "at Airflow's import errors; what is in mid-release is brought back by the DAG settle"))
    return tuple(said)


def _alarm(release: Release, title: str, text: str) -> str:
    log.error("%s: %s", title, text)
    notify(release, "alarm", title, text)
    return f"{title}: {text}"


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
            if (state := state_of(of["dag_id"], of["run_id"])) in (RunState.ALIVE, RunState.STRANDED):
                continue
            run.record("fault", "watch", error="RunOver", attempt=1,
                       message=f"the DAG run {of['run_id']} {'is gone' if state is RunState.GONE else 'ended'} before "
                               f"the {stream} had ended")
            outcome, _ = finish_train(run) if stream == TRAINS else keeping.finish(run)
            found.append(f"{identity}: {stream} ended as {outcome}")
    return tuple(found)
