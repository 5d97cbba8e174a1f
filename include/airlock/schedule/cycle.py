"""Release cycles: what a scheduled run would release, and the request that it makes from the standard-change template.

Pure; must not know how promotions are stored or how a request is judged.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from airlock.errors import InvalidInput
from airlock.service_model import Cycle, ServiceEnvironment


@dataclass(frozen=True)
class Promotion:
    """One version that reached an environment; ``at`` is aware."""

    version: str
    digest: str
    at: datetime


@dataclass(frozen=True)
class Candidate:
    """What a cycle would release, and the sentence that says why."""

    version: str
    digest: str
    sentence: str


@dataclass(frozen=True)
class NothingNew:
    """A cycle that ends as skipped, and the sentence that says why."""

    sentence: str


def candidate(
    before: Sequence[Promotion], here: Sequence[Promotion], rolled_back_here: Sequence[Promotion] = ()
) -> Candidate | NothingNew:
    """Return the newest version promoted in the environment before, unless it was here already.

    :param before: promotions in the environment before; any order
    :param here: promotions in this environment; any order
    :param rolled_back_here: versions that came back from this environment: a cycle does not try the same content twice
    """
    if not before:
        return NothingNew("nothing new: nothing was promoted in the environment before")
    newest = max(before, key=lambda one: one.at)
    label = f"{newest.version}, promoted in the environment before on {_shown(newest.at)},"
    for one in sorted(here, key=lambda one: one.at, reverse=True):
        if one.digest == newest.digest:
            return NothingNew(f"nothing new: {label} was promoted here on {_shown(one.at)} already")
    for one in sorted(rolled_back_here, key=lambda one: one.at, reverse=True):
        if one.digest == newest.digest:
            return NothingNew(f"nothing new: {label} was rolled back here on {_shown(one.at)}; "
                              "to try it again, trigger a release by hand")
    return Candidate(newest.version, newest.digest, f"{label} is new here")


def standard_form(environment: ServiceEnvironment, chosen: Candidate) -> dict[str, Any]:
    """Return the trigger form of the standard change that releases *chosen*.

    :raises InvalidInput: the environment has no template
    """
    if environment.standard_change is None:
        raise InvalidInput(f"{environment.source}: {environment.environment} has no standard_change template, so a "
                           "scheduled cycle cannot make its request; add one, or set cycle: manual")
    return {"version": chosen.version, "change_type": "standard", "title": environment.standard_change.title,
            "reason": environment.standard_change.reason}


def due_times(cycle: Cycle, after: datetime, count: int) -> tuple[datetime, ...]:
    """Return the next *count* moments after *after* at which the cycle runs, in its zone; none when it is manual."""
    if cycle.cron is None:
        return ()
    from croniter import croniter

    ticks = croniter(cycle.cron, after.astimezone(ZoneInfo(cycle.timezone)))
    return tuple(ticks.get_next(datetime) for _ in range(count))


def _shown(moment: datetime) -> str:
    return f"{moment:%d %b %Y %H:%M %Z}"
