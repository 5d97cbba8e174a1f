"""Strategy ``canary``: a small share of the traffic first, then more, each step judged against the version before."""

from __future__ import annotations

from collections.abc import Iterator

from airlock.deploy.strategy import Fault, Strategy
from airlock.models import AnalysisPolicy, Rollout, RolloutStep


class Canary(Strategy):
    """See the module."""

    def steps(self, rollout: Rollout) -> tuple[RolloutStep, ...]:
        """As ``Strategy.steps``."""
        return rollout.steps

    def faults(self, rollout: Rollout, policy: AnalysisPolicy) -> Iterator[Fault]:  # noqa: ARG002 - the contract's
        """As ``Strategy.faults``."""
        percents = [step.percent for step in rollout.steps]
        if not percents:
            yield ("rollout", "steps"), ("is empty, so no canary would be observed; add steps such as 5, 25 and 50 "
                                         "percent")
        if percents != sorted(set(percents)):
            yield ("rollout", "steps"), (f"percents must rise, found {percents}; put them in rising order, each once")
        if rollout.observe_seconds is not None:
            yield ("rollout", "observe_seconds"), "belongs to each step of a canary; move it there"

    def sentences(self, rollout: Rollout) -> tuple[str, ...]:
        """As ``Strategy.sentences``."""
        return (
            *(f"{step.percent} % of the traffic, watched for at least {step.observe_seconds:g} s"
              for step in rollout.steps),
            f"100 %, then {rollout.bake_seconds:g} s with the version before kept warm",
        )
