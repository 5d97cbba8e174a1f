from __future__ import annotations

from airlock.deploy.strategy import strategy_of
from airlock.models import AnalysisPolicy, Rollout, RolloutStep
from tests.contracts.strategy_contract import StrategyContract


class TestCanary(StrategyContract):
    settings = "{bake_seconds: 4, steps: [{percent: 10, observe_seconds: 5}, {percent: 50, observe_seconds: 5}]}"
    rollout = Rollout(steps=tuple(RolloutStep(percent=percent, observe_seconds=5) for percent in (10, 50)))


def test_what_is_wrong_is_said() -> None:
    steps = tuple(RolloutStep(percent=percent, observe_seconds=5) for percent in (50, 10))
    for rollout, place in ((Rollout(), "steps"), (Rollout(steps=steps), "steps"),
                           (Rollout(steps=steps[:1], observe_seconds=5), "observe_seconds")):  # fmt: skip
        assert [where for where, _ in strategy_of(rollout).faults(rollout, AnalysisPolicy())] == [("rollout", place)]
