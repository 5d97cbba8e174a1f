"""The contract of every strategy: in which steps a new version gets the traffic, and what comes before the first.

A strategy is a few rules about one frozen rollout. It acts on nothing: stages shift, judge, promote and go back by the
steps that it gives, so that each strategy has the same promises (a permit before each act, a way back at any moment,
evidence from which every decision is made again). Knows no target, no router and no Airflow.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import ClassVar

from airlock import registry
from airlock.models import AnalysisPolicy, Rollout, RolloutStep
from airlock.models.needs import Needs

Fault = tuple[tuple[str, ...], str]
WHOLE = 100


class Strategy(ABC):
    """How a version gets its traffic."""

    needs: ClassVar[Needs] = Needs()
    previews: ClassVar[bool] = False
    """Whether the checks of the validation are made before the version gets any traffic, too."""

    @abstractmethod
    def steps(self, rollout: Rollout) -> tuple[RolloutStep, ...]:
        """Return the steps up to all traffic, at least one, of a *rollout* without faults."""

    @abstractmethod
    def faults(self, rollout: Rollout, policy: AnalysisPolicy) -> Iterator[Fault]:
        """Yield what is wrong in the settings: a place from ``rollout`` or ``analysis`` on, what, and what to do."""

    @abstractmethod
    def sentences(self, rollout: Rollout) -> tuple[str, ...]:
        """Return what happens, step by step, for the people who approve it."""


class AtOnce(Strategy):
    """What strategies have in common that give all traffic in one step: nothing serves beside the new version that it
    could be compared with, so it is judged by limits that are said beforehand."""

    def steps(self, rollout: Rollout) -> tuple[RolloutStep, ...]:
        """As ``Strategy.steps``."""
        assert rollout.observe_seconds is not None  # noqa: S101 - refused by faults
        return (RolloutStep(percent=WHOLE, observe_seconds=rollout.observe_seconds),)

    def faults(self, rollout: Rollout, policy: AnalysisPolicy) -> Iterator[Fault]:
        """As ``Strategy.faults``."""
        if rollout.steps:
            yield ("rollout", "steps"), (f"{rollout.strategy} gives all traffic in one step; remove them, and write "
                                         "observe_seconds")
        if rollout.observe_seconds is None:
            yield ("rollout", "observe_seconds"), ("is missing; say how long the new version is watched with all "
                                                   "traffic before it counts as good")
        if policy.max_latency_ms is None:
            yield ("analysis", "max_latency_ms"), (
                f"is missing; with {rollout.strategy} no other version serves to compare latencies with, so say which "
                "p95 is too slow")


def strategy_of(rollout: Rollout) -> Strategy:
    """Return the strategy of *rollout*.

    :raises UnknownName: it is not registered
    """
    found: Strategy = registry.resolve(registry.STRATEGIES, "strategy", rollout.strategy)()
    return found
