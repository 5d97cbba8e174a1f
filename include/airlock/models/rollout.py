"""Where a version runs, how it gets its traffic, and what a judge saw of it."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Self

from pydantic import AwareDatetime, Field, model_validator

from airlock.models.frozen import Frozen, Name
from airlock.models.terms import Answer


class Backend(Frozen):
    """One place of a target in which a version can run, as it is seen now.

    ``version`` is the one that answers there, else the one that is installed; ``digest`` is that of the installed
    content, ``claimed`` the one that the running version says it has.
    """

    name: Name
    version: str | None
    installed: str | None
    running: bool
    healthy: bool
    digest: str = ""
    claimed: str = ""
    address: str = ""


class VersionState(Frozen):
    """One version as it is seen on a target. ``digest`` is the artifact digest observed there."""

    version: str
    running: bool
    healthy: bool
    weight: int
    digest: str = ""
    address: str = ""


class TargetState(Frozen):
    """What a target really does now. ``weight`` of all versions adds up to 100."""

    stable: str
    canary: str | None
    versions: tuple[VersionState, ...]

    def weight_of(self, version: str) -> int:
        """Return the share of traffic, in percent, that *version* gets; 0 if it is not there."""
        return sum(state.weight for state in self.versions if state.version == version)


Count = Annotated[int, Field(strict=True, ge=0, le=10**12)]
"""A count of requests; more than a release can see is refused, and beyond 10**12 the statistics lose precision."""
Milliseconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class ArmSample(Frozen):
    """Cumulative counts of one arm since the observation began.

    ``ready``: the version itself answers and calls itself healthy at this look. ``silent_looks``: how many looks in a
    row, this one included, brought no new request; ``newest_at``: the look that brought the last one.
    """

    version: str
    requests: Count
    errors: Count
    latency_p50_ms: Milliseconds | None = None
    latency_p95_ms: Milliseconds | None = None
    latency_buckets: tuple[tuple[Milliseconds, Count], ...] = Field(
        (), description="(upper bound in ms, requests up to it)"
    )
    ready: bool = True
    silent_looks: int = Field(0, ge=0)
    newest_at: AwareDatetime | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.errors > self.requests:
            raise ValueError(f"{self.version} has {self.errors} errors in {self.requests} requests")
        for one, following in itertools.pairwise(self.latency_buckets):
            if following[0] <= one[0] or following[1] < one[1]:
                raise ValueError(f"the latency histogram of {self.version} falls")
        return self


class Sample(Frozen):
    """One look at both arms. ``canary_share`` is the share of traffic that the canary was meant to get, 0 to 1."""

    at: AwareDatetime
    since: AwareDatetime | None = Field(None, description="when counting began")
    canary_share: float = Field(gt=0, le=1, allow_inf_nan=False)
    stable: ArmSample
    canary: ArmSample


class Verdict(Frozen):
    """What the judge says, the numbers that it used, and the sentence that explains it."""

    answer: Answer
    sentence: str
    numbers: dict[str, Any] = Field(default_factory=dict)


class AnalysisPolicy(Frozen):
    """When a canary is good enough. All of it is part of the plan, so changing it makes a permit stale."""

    minimum_requests: int = Field(50, ge=1, description="requests the canary must have answered before it can pass")
    alpha: float = Field(0.01, gt=0, lt=0.5, description="chance of a false alarm over all looks together")
    max_error_rate: float = Field(0.05, gt=0, lt=1, description="ceiling of the canary's own error rate")
    latency_ratio: float = Field(2.0, gt=1, allow_inf_nan=False, description="canary p95 over stable p95 that fails")
    latency_floor_ms: Milliseconds = Field(50, description="a p95 below this never fails")
    max_latency_ms: Milliseconds | None = Field(
        None, description="a p95 above this fails whatever the other version does; left out: only the ratio counts")
    look_every_seconds: Seconds = 5
    """Time between two looks."""
    silent_looks: int = Field(3, ge=1, description="looks in a row without a new request before data count as missing")
    extend_looks: int = Field(6, ge=0, description="looks of a step without an answer, before the canary is held")
    hold_looks: int = Field(10, ge=0, description="looks while held, before the release is rolled back")
    hold_every_seconds: Seconds = Field(60, description="time between two looks while held")
    new_beginnings: int = Field(2, ge=0, description="how often a step is observed anew after its counters were reset")


class RolloutStep(Frozen):
    """One step of a canary: its share of traffic, and the least time that it is watched."""

    percent: int = Field(ge=1, le=100)
    """Share of the traffic, in percent."""
    observe_seconds: Seconds
    """The least time that it is watched."""


class Rollout(Frozen):
    """How a version gets its traffic."""

    FORMER_FIELDS: ClassVar[Mapping[str, str]] = {
        "smoke_paths": "write checks: {smoke: [{name: http, options: {paths: [...]}}]} beside rollout, with what stood "
                       "here as paths",
    }

    strategy: str = "canary"
    """How traffic moves: ``canary``, ``blue_green`` or ``all_at_once``."""
    steps: tuple[RolloutStep, ...] = ()
    """The steps of a canary up to all traffic; other strategies have one of their own."""
    observe_seconds: Seconds | None = None
    """How long a version that got all traffic in one step is watched before it counts as good."""
    bake_seconds: float = Field(60, ge=0, allow_inf_nan=False)
    """How long it is watched with all traffic before it counts as promoted; the version before is kept warm as long."""
    on_freeze: str = Field("hold", pattern="^(hold|roll_back)$")
    """What a release does that is under way when the calendar closes."""
