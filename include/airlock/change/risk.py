"""How risky a release is, with every factor that counted and why. Pure; must not know who approves what.

The score is the sum of points, at most 100: low below 40, medium below 70, high from 70 on.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from airlock.change.basis import Ground
from airlock.models import Rfc, Risk, RiskFactor

MEDIUM_FROM = 40
HIGH_FROM = 70
_TIER = {1: 25, 2: 15, 3: 8, 4: 0}
_TYPE = {"standard": 0, "normal": 10, "emergency": 25, "rollback": 0}
_IMPACT = {"low": 0, "medium": 10, "high": 25}


def level_of(score: int) -> str:
    """Return ``low``, ``medium`` or ``high``."""
    return "low" if score < MEDIUM_FROM else "medium" if score < HIGH_FROM else "high"


def assess(rfc: Rfc, environment: Ground, facts: Mapping[str, Any]) -> Risk:
    """Return the risk of carrying out *rfc*.

    :param facts: what is known besides: ``now`` (aware datetime; ``start_after`` of the RFC wins when it is later),
        ``current_version`` (text, or missing when unknown), ``failed_of_last`` (pair: failed, looked at; optional).
        A missing fact never lowers the score.
    """
    factors = (
        RiskFactor(name="tier", points=_TIER[environment.tier],
                   reason=f"the service is of tier {environment.tier} (1 matters most, 4 least)"),
        RiskFactor(name="environment", points=20 if environment.production else 0,
                   reason=f"{environment.environment} {'is' if environment.production else 'is not'} production"),
        RiskFactor(name="change type", points=_TYPE[rfc.change_type], reason=f"it is a {rfc.change_type} change"),
        _impact(rfc),
        *_hours(rfc, environment, facts.get("now")),
        RiskFactor(name="resources", points=min(10, len(environment.resources)),
                   reason=f"{len(environment.resources)} resource(s) could be damaged"),
        _jump(facts.get("current_version"), rfc.version),
        *_history(facts.get("failed_of_last")),
    )
    score = max(0, min(100, sum(factor.points for factor in factors)))
    return Risk(score=score, level=level_of(score), factors=factors)


def _impact(rfc: Rfc) -> RiskFactor:
    match = re.match(r"(low|medium|high)\b", rfc.impact)
    if match:
        return RiskFactor(name="impact", points=_IMPACT[match[1]], reason=f"the requester expects {match[1]} impact")
    if rfc.change_type == "standard":
        return RiskFactor(name="impact", points=0, reason="the impact was assessed when the template was approved")
    return RiskFactor(name="impact", points=_IMPACT["medium"], reason="the impact is not rated, so it counts as medium")


def _hours(rfc: Rfc, environment: Ground, now: datetime | None) -> Iterator[RiskFactor]:
    moments = [moment for moment in (now, rfc.start_after) if moment is not None]
    if not moments:
        yield RiskFactor(name="hours", points=10, reason="the time is unknown, so it counts as out of hours")
        return
    local = max(moments).astimezone(ZoneInfo(environment.calendar.timezone))
    office = local.weekday() < 5 and 8 <= local.hour < 18
    where = f"{local:%A %H:%M} in {environment.calendar.timezone}"
    yield RiskFactor(name="hours", points=0 if office else 10,
                     reason=f"{where} is {'within' if office else 'outside'} office hours (Mon to Fri, 08:00 to 18:00)")


def _jump(current: Any, wanted: str) -> RiskFactor:
    before, after = _numbers(current), _numbers(wanted)
    if before is None or after is None:
        return RiskFactor(name="artifact jump", points=15,
                          reason="how far the version jumps is unknown: one of both has no numbers to compare")
    if after < before:
        return RiskFactor(name="artifact jump", points=15, reason=f"{wanted} is older than {current}")
    if after[0] != before[0]:
        return RiskFactor(name="artifact jump", points=15, reason=f"{wanted} is another major version than {current}")
    if after[1] != before[1]:
        return RiskFactor(name="artifact jump", points=5, reason=f"{wanted} is another minor version than {current}")
    return RiskFactor(name="artifact jump", points=0, reason=f"{wanted} is a small step from {current}")


def _numbers(version: Any) -> tuple[int, int, int] | None:
    match = re.match(r"v?(\d{1,9})(?:\.(\d{1,9}))?(?:\.(\d{1,9}))?", version) if isinstance(version, str) else None
    return (int(match[1]), int(match[2] or 0), int(match[3] or 0)) if match else None


def _history(failed_of_last: Any) -> Iterator[RiskFactor]:
    if failed_of_last is not None:
        failed, last = failed_of_last
        yield RiskFactor(name="history", points=min(15, 5 * failed),
                         reason=f"{failed} of the last {last} release(s) here did not stay")
