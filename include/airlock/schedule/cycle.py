"""Release cycles: the request that a scheduled run makes from the standard-change template, and when runs are due.

Pure; must not know how promotions are stored or how a request is judged.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from airlock.errors import InvalidInput
from airlock.schedule.promotion import Candidate
from airlock.service_model import Cycle, ServiceEnvironment


def standard_form(environment: ServiceEnvironment, chosen: Candidate) -> dict[str, Any]:
    """Return the trigger form of the standard change that releases *chosen*.

    :raises InvalidInput: the environment has no template
    """
    templates = environment.standard_changes
    name = environment.cycle.template or next(iter(templates), "")
    if name not in templates:
        raise InvalidInput(f"{environment.source}: {environment.environment} has no template {name!r} under "
                           "standard_changes, so a scheduled cycle cannot make its request; add it, or set cycle: "
                           "manual")
    return {"version": chosen.version, "change_type": "standard", "template": name}


def due_times(cycle: Cycle, after: datetime, count: int) -> tuple[datetime, ...]:
    """Return the next *count* moments after *after* at which the cycle runs, in its zone; none when it is manual."""
    if cycle.cron is None:
        return ()
    from croniter import croniter

    ticks = croniter(cycle.cron, after.astimezone(ZoneInfo(cycle.timezone)))
    return tuple(ticks.get_next(datetime) for _ in range(count))
