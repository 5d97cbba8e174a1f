"""A release train as its own ledger tells it: who leaves when, who arrived, who goes back. No Airflow.

The train only asks. Each release and each way back is a run of its own, with its own plan, permit and evidence, and
takes nothing from the train but what is on record here. How it ended is read from its own ledger.
"""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any

from airlock.errors import GateRefused
from airlock.evidence.ledger import SEAL, Ledger
from airlock.flow.stages.notices import notify
from airlock.flow.stages.outside_releases import TRAINS, StreamRun
from airlock.flow.stages.release import Release
from airlock.flow.stages.settle import RunState
from airlock.models import Outcome
from airlock.places import objects
from airlock.schedule.asking import ask
from airlock.schedule.cycle import standard_form
from airlock.schedule.promotion import Candidate
from airlock.schedule.train import Train, course_of, next_back
from airlock.schedule.train import ended as rule_of_ending
from airlock.schedule.train_file import find_standing_train, trains_folder
from airlock.service.find import ServiceEnvironment, services_folder
from airlock.service.stand_ins import find_standing

log = logging.getLogger(__name__)
SCHEDULER = "scheduler"
"""Who asks for a change that no person triggered."""
_BACK = ".back"
_RUN_ID = re.compile(r"train\.(?P<train>[a-z][a-z0-9_-]{0,62})\.(?P<departure>[A-Za-z0-9_-]{1,128})(\.back)?")
_GONE_FOR = timedelta(minutes=5)
_UNKNOWN_OPENING = timedelta(minutes=10)
"""When it is looked again where nobody knows when a calendar opens: an incident, a spent error budget."""
StateOf = Callable[[str, str], RunState]


def home_of(train: Train) -> ServiceEnvironment:
    """Return where the train keeps its evidence: as its first service does, under the train's own name.

    :raises UnknownName: that service is not declared
    """
    first = find_standing(services_folder(), train.services[0].name, train.environment)
    return first.model_copy(update={"service": train.train})


def run_id(train: Train, departure: str, kind: str = "start") -> str:
    """Return the id of the DAG runs that *departure* of *train* triggers: always the same, so that none is doubled.

    :param kind: ``start`` for releases, ``send_back`` for returns
    """
    return f"train.{train.train}.{departure}{_BACK if kind == 'send_back' else ''}"


def dag_of(kind: str, service: str, environment: str) -> str:
    """Return the id of the DAG that carries out what is asked of *service*."""
    return f"{'release' if kind == 'start' else 'rollback'}.{service}.{environment}"


def departure_of(run_id_: str) -> tuple[str, str] | None:
    """Return the train and the departure that a DAG run says it belongs to; ``None``: to none."""
    found = _RUN_ID.fullmatch(run_id_)
    return (found["train"], found["departure"]) if found else None


def held_until(run: StreamRun, train: Train, now: datetime) -> datetime | None:
    """Return until when the train waits for the calendars of its services; ``None``: it leaves, or is carried over
    whole, which then is on record."""
    departure = _departure(run)
    closed = {}
    for service in departure["passengers"]:
        where = find_standing(services_folder(), service, train.environment)
        asked = ask(where.calendar, service, where.environment, now)
        if not asked.decision.open:
            closed[service] = asked.decision
    if not closed and departure["passengers"]:
        log.info("every calendar is open; next: the releases of %s, one after the other",
                 ", ".join(departure["passengers"]))
    if not closed or run.latest("carried_over") is not None or any(one.type == "start" for one in run.records()):
        return None
    called = datetime.fromisoformat((run.latest("boarding") or {})["at"])
    limit = called + timedelta(hours=train.wait_hours)
    opens = [one.next_open or now + _UNKNOWN_OPENING for one in closed.values()]
    until = max(now + timedelta(seconds=1), *opens)
    why = "; ".join(f"{service}: {decision.sentence}" for service, decision in closed.items())
    if train.on_freeze == "wait" and until <= limit:
        if (run.latest("held") or {}).get("until") != until.isoformat():
            run.record("held", until=until.isoformat(), why=why)
            notify(run, "held", f"Train {train.train} waits until {until:%d %b %H:%M} UTC", why)
        log.warning("the train waits until %s UTC: %s", f"{until:%a %d %b %H:%M}", why)
        return until
    patience = "" if train.on_freeze == "carry_over" else f", and it does not open within {train.wait_hours:g} h"
    run.record("carried_over", why=f"the calendar is closed{patience}: {why}", at=now.isoformat())
    notify(run, "held", f"Train {train.train} is carried over", why)
    log.warning("nobody leaves, everybody is carried over to the next train: %s", why)
    return None


# --- leaving and arriving ---------------------------------------------------------------------------------------------


def leaves(run: StreamRun, service: str) -> Mapping[str, Any] | None:
    """Record that the release of *service* is asked for now, and return the form that its DAG is triggered with;
    ``None`` when it is not its turn: somebody before it failed, or it stays behind."""
    departure = _departure(run)
    if course_of(run.records()).next != service:
        return None
    if run.latest("start", service) is None:
        run.record("start", service, **departure["releases"][service])
    where = find_standing(services_folder(), service, run.environment.environment)
    return _form(where, departure["releases"][service])


def _form(where: ServiceEnvironment, chosen: Mapping[str, Any]) -> dict[str, Any]:
    return standard_form(where, Candidate(str(chosen["version"]), str(chosen["digest"]), ""))


def goes_back(run: StreamRun, service: str) -> Mapping[str, Any] | None:
    """Record that the return of *service* is asked for now, and return the form of its DAG; ``None``: it does not."""
    records = run.records()
    if next_back(records) != service:
        return None
    if run.latest("send_back", service) is None:
        arrived = run.latest("arrived", service) or {}
        run.record("send_back", service, release=arrived["release"])
    return {"reason": f"The release train {run.id} goes back because {course_of(records).failed} failed."}


def asked_now(run: StreamRun, service: str, kind: str) -> bool:
    """Return whether *service* was asked to leave (``start``) or to go back (``send_back``), and its end is awaited."""
    end = "arrived" if kind == "start" else "returned"
    return run.latest(kind, service) is not None and run.latest(end, service) is None


def arrived(run: StreamRun, service: str, kind: str, state_of: StateOf, now: datetime) -> bool:
    """Record how what *service* was asked for ended, if it has, by its own sealed ledger; return whether it has.

    :param kind: ``start`` for its release, ``send_back`` for its return
    """
    where = find_standing(services_folder(), service, run.environment.environment)
    release = Release(where, "none", run.actor)
    wanted = run_id(Train.model_validate(_departure(run)["train"]), run.id, kind)
    dag = dag_of(kind, service, where.environment)
    identity = _release_of(release.ledger, dag, wanted)
    end = "arrived" if kind == "start" else "returned"
    if identity is not None:
        if not release.ledger.sealed(identity):
            log.info("%s is under way; next: look again", identity)
            return False
        outcome = release.ledger.latest(identity, "outcome")
        seal = objects.read(release.ledger.release_folder(identity) / SEAL) or b""
        said = outcome.data if outcome else {"outcome": Outcome.REFUSED, "why": "it has no outcome on record"}
        run.record(end, service, release=identity, outcome=said["outcome"], why=said["why"],
                   seal="sha256:" + hashlib.sha256(seal).hexdigest())
        log.info("%s: %s: %s", identity, str(said["outcome"]).upper(), said["why"])
        return True
    why = _never_began(run, service, kind, state_of(dag, wanted), now)
    if not why:
        return False
    run.record("given_up", f"{kind}.{service}", why=why)
    run.record(end, service, release=None, outcome=Outcome.REFUSED, why=why, seal=None)
    log.error("%s: given up: %s", dag, why)
    return True


def _never_began(run: StreamRun, service: str, kind: str, state: RunState, now: datetime) -> str:
    """Return why a release that has nothing on record is not waited for any longer; empty while it is."""
    asked = run.ledger.latest(run.id, kind, service)
    waited = now - asked.at if asked else timedelta()
    hours = Train.model_validate(_departure(run)["train"]).start_hours
    if state in (RunState.FAILED, RunState.SUCCESS):
        return "its run ended before anything was on record"
    if state is RunState.GONE and waited > _GONE_FOR:
        return "there is no such run: it could not be triggered, or was deleted"
    if waited > timedelta(hours=hours):
        return f"it had not begun after {hours:g} h: look whether its DAG is paused"
    return ""


def _release_of(ledger: Ledger, dag: str, wanted: str) -> str | None:
    """Return the release that the run *wanted* of *dag* carries out; the newest one, if it asked again."""
    short = hashlib.sha256(wanted.encode()).hexdigest()[:16]
    found = [identity for identity in ledger.releases() if re.search(rf"-{short}(-\d+)?$", identity)]
    for identity in reversed(found):
        run = ledger.latest(identity, "run")
        if run is not None and (run.data["dag_id"], run.data["run_id"]) == (dag, wanted):
            return identity
    return None


def _departure(run: StreamRun) -> Mapping[str, Any]:
    found = run.latest("departure")
    if found is None:
        raise GateRefused(f"{run.id}: nobody has boarded: clear the task board")
    return found


# --- what a release takes from the train ------------------------------------------------------------------------------


def request_of(release: Release, asked: tuple[str, str], own_run: str) -> tuple[dict[str, Any], str]:
    """Return the form and the digest of the release that a train asked for, by the signed word of the train alone.

    :raises GateRefused: the train did not ask for it, it is not its turn, or the train has given it up
    :raises InvalidInput: the environment has no standard-change template
    """
    run = _train_run(release, asked)
    service = release.environment.service
    start = _asked(run, service, "start", own_run)
    return _form(release.environment, start), str(start["digest"])


def return_of(release: Release, asked: tuple[str, str], own_run: str) -> tuple[str, str]:
    """Return the departure that sends the service back, and the release that is to be taken back.

    :raises GateRefused: the train did not ask for it
    """
    run = _train_run(release, asked)
    return run.id, str(_asked(run, release.environment.service, "send_back", own_run)["release"])


def _train_run(release: Release, asked: tuple[str, str]) -> StreamRun:
    train = find_standing_train(trains_folder(), asked[0])
    if train.environment != release.environment.environment:
        raise GateRefused(f"{release.id}: the train {train.train} releases to {train.environment} only")
    return StreamRun(home_of(train), TRAINS, asked[1], release.actor)


def _asked(run: StreamRun, service: str, kind: str, own_run: str) -> Mapping[str, Any]:
    found = run.latest(kind, service)
    departure = run.latest("departure")
    wanted = departure and run_id(Train.model_validate(departure["train"]), run.id, kind)
    if found is None or run.ledger.sealed(run.id) or wanted != own_run:
        raise GateRefused(f"{own_run}: the train has not asked {service} for this now: its ledger says nothing of it; "
                          "trigger a release under another run id")
    if run.latest("given_up", f"{kind}.{service}") is not None:
        raise GateRefused(f"{own_run}: it began too late, the train has given it up; the next train takes it")
    return found


# --- the end ----------------------------------------------------------------------------------------------------------


def finish(run: StreamRun) -> tuple[Outcome, str]:
    """Record the index of all releases with the digests of their seals, and seal the train; idempotent."""
    recorded = run.latest("outcome")
    if recorded is None:
        records = run.records()
        ends = [one for one in records if one.type in ("arrived", "returned")]
        run.record("index", releases=[{"service": one.subject, "what": one.type, "release": one.data["release"],
                                       "outcome": one.data["outcome"], "seal": one.data["seal"]} for one in ends])
        outcome, why = rule_of_ending(records)
    else:
        outcome, why = Outcome(recorded["outcome"]), str(recorded["why"])
    pack = run.end(outcome, why)
    log.info("%s: %s: %s; evidence sealed in %s", run.id, outcome.upper(), why, pack)
    return outcome, why
