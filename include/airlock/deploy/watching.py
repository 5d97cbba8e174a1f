"""What one observation has seen so far: how long data flowed, and from which look on they stopped. Pure.

Watching time is not what the clock says went by. It is credited look by look, at most one look interval for each look,
and only when the look brings new requests of every arm: a clock that jumps, a source that repeats old numbers and a
traffic that stopped earn nothing. A short silence (``silent_looks`` of the policy) is credited once data flow again.
Looks without a sample, or of a version that is not healthy, are never credited. Knows no verdict.
"""

from __future__ import annotations

from datetime import datetime

from pydantic import AwareDatetime, Field

from airlock.errors import CountsLost
from airlock.models import AnalysisPolicy, ArmSample, Frozen, Sample


class Seen(Frozen):
    """What the newest look saw of one arm."""

    requests: int = 0
    errors: int = 0
    silent_looks: int = 0
    newest_at: AwareDatetime | None = None


class Watch(Frozen):
    """One observation: ``seconds`` are credited, ``pending`` are credited when data flow again."""

    since: AwareDatetime
    looked_at: AwareDatetime
    seconds: float = Field(0, ge=0)
    pending: float = Field(0, ge=0)
    stable: Seen = Seen()
    canary: Seen = Seen()


def begin(now: datetime) -> Watch:
    """Return an observation that begins now."""
    return Watch(since=now, looked_at=now)


def compared(watch: Watch, sample: Sample) -> Sample:
    """Return *sample* with what tells it from the look before: silent looks, the newest data, since when.

    :raises CountsLost: an arm has fewer requests or errors than at the look before
    """
    return sample.model_copy(
        update={
            "since": watch.since,
            "stable": _compared(watch.stable, sample.stable, sample.at),
            "canary": _compared(watch.canary, sample.canary, sample.at),
        }
    )


def _compared(seen: Seen, arm: ArmSample, at: datetime) -> ArmSample:
    for name, before, now in (("requests", seen.requests, arm.requests), ("errors", seen.errors, arm.errors)):
        if now < before:
            raise CountsLost(
                f"{arm.version} has {now} {name} where the look before saw {before}: the counter was reset; the "
                "observation begins again"
            )
    new = arm.requests > seen.requests
    return arm.model_copy(
        update={
            "silent_looks": 0 if new else seen.silent_looks + 1,
            "newest_at": at if new else seen.newest_at,
        }
    )


def credited(policy: AnalysisPolicy, watch: Watch, sample: Sample | None, now: datetime) -> Watch:
    """Return the observation after a look that brought *sample* (already ``compared``), or nothing."""
    elapsed = min(max(0.0, (now - watch.looked_at).total_seconds()), policy.look_every_seconds)
    if sample is None:
        return watch.model_copy(update={"looked_at": now, "pending": 0.0})
    seconds, pending = watch.seconds, watch.pending + elapsed
    if not sample.canary.ready:
        pending = 0.0
    elif _silence(sample) == 0:
        seconds += min(pending, policy.silent_looks * policy.look_every_seconds)
        pending = 0.0
    return watch.model_copy(
        update={
            "looked_at": now,
            "seconds": seconds,
            "pending": pending,
            "stable": _seen(sample.stable),
            "canary": _seen(sample.canary),
        }
    )


def _seen(arm: ArmSample) -> Seen:
    return Seen(requests=arm.requests, errors=arm.errors, silent_looks=arm.silent_looks, newest_at=arm.newest_at)


def flows(policy: AnalysisPolicy, sample: Sample | None) -> bool:
    """Return whether data of a healthy canary flow, but for a silence that the policy bears."""
    return sample is not None and sample.canary.ready and _silence(sample) <= policy.silent_looks


def _silence(sample: Sample) -> int:
    """The looks without a new request of the arm that is silent for longest; the stable one counts while it has a
    share of the traffic."""
    stable = sample.stable.silent_looks if sample.canary_share < 1 else 0
    return max(sample.canary.silent_looks, stable)
