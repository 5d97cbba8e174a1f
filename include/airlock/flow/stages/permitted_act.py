"""The moment of an act: one process at a time, under a valid permit, announced before it is done.

Exists because tasks can be killed, cleared and run twice, and because ``settle`` may bring a release back while one of
its tasks still runs somewhere. Knows the ledger and the permit, no target and no Airflow.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from airlock.deploy.landing import acted, goes_back, landed
from airlock.errors import AirlockError, GateRefused, TemporaryError
from airlock.evidence.ledger import Ledger
from airlock.flow.stages.calendar_gate import require_open
from airlock.flow.stages.conflicts import check_held
from airlock.flow.stages.release import Release
from airlock.service.find import ServiceEnvironment

log = logging.getLogger(__name__)
PATIENCE_SECONDS = 300.0


@contextmanager
def forward(release: Release, act: str, *, ends: bool = False, **data: Any) -> Iterator[None]:
    """Hold the target of the service environment for one *act* of the release; announce it with *data*.

    The calendar must be open, looked up in the very moment of the act.

    :param ends: whether the act only ends a release that has all traffic: a closed calendar does not stop it
    :raises CalendarClosed: the calendar is closed
    :raises PermitInvalid: no permit allows it now
    :raises GateRefused: the release goes back, has landed, or meets a release of another service on a resource
    :raises TemporaryError: an earlier release has not landed, another task acts just now, or the ledger is out of reach
    """
    with release.ledger.acting(PATIENCE_SECONDS):
        _still_under_way(release, act)
        await_earlier(release)
        release.permitted(act)
        check_held(release, act)
        require_open(release, act, obeyed=not ends)
        release.announce(act, **data)
        yield


@contextmanager
def backward(release: Release, act: str, **data: Any) -> Iterator[None]:
    """Hold the target of the service environment for one *act* of the way back, which needs no valid permit.

    A ledger that cannot be written, now or ever, keeps no traffic on a failing version: the act is done all the same.

    :raises GateRefused: the release is sealed
    :raises TemporaryError: another task acts just now
    """
    with release.ledger.acting(PATIENCE_SECONDS):
        try:
            release.announce(act, **data)
        except GateRefused:
            raise
        except AirlockError as error:
            log.error("%s: it is done although it cannot be recorded: %s", act, error)
        yield


def await_earlier(release: Release) -> None:
    """Check that no other release of the same service environment is still between its first act and its landing.

    :raises TemporaryError: one is
    :raises GateRefused: one may be: it began, and its records are gone
    """
    refuse_vanished(release.ledger, release.environment, ": look at the target, and put its folder back into the "
                    "ledger; if it was moved aside on purpose, move its folder in the anchor too")
    for identity in release.ledger.unsettled():
        if identity != release.id and not landed(release.ledger.read(identity)):
            raise TemporaryError(
                f"{identity} changed the target and has not landed yet: it is brought back first, by its own run or by "
                "the DAG settle; this task is tried again"
            )


def refuse_vanished(ledger: Ledger, environment: ServiceEnvironment, what_now: str) -> None:
    """Check that every release that began, and was not sealed, has its records here.

    :param what_now: the end of the sentence where one has not
    :raises GateRefused: one has not
    """
    if vanished := ledger.vanished():
        raise GateRefused(f"{vanished[0]} began and was not sealed, as the anchor {environment.anchor} knows, and its "
                          f"records are gone{what_now}")


def _still_under_way(release: Release, act: str) -> None:
    records = release.records()
    if goes_back(records):
        raise GateRefused(
            f"{release.id}: no {act}: the release is being rolled back, and that is final; trigger a new run to try "
            "again"
        )
    if acted(records) and landed(records):
        raise GateRefused(f"{release.id}: no {act}: the release has landed; trigger a new run for what comes next")
