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
