from __future__ import annotations

from pathlib import Path

from airlock.models import Rollout
from tests.contracts.strategy_contract import FORM, GOOD, StrategyContract
from tests.recompute import flown


class TestAllAtOnce(StrategyContract):
    settings = "{strategy: all_at_once, observe_seconds: 5, bake_seconds: 4}"
    rollout = Rollout(strategy="all_at_once", observe_seconds=5, bake_seconds=4)

    def test_only_the_smoke_test_comes_before_the_traffic(self, tmp_path: Path) -> None:
        with flown.keys():
            flight = self.flight(tmp_path, *(GOOD,) * 30)
            flight.carry_out(FORM)
            order = [one.subject for one in flight.release.records()
                     if one.type == "checks" or (one.type, one.subject) == ("act", "shift")]
        assert order[:3] == ["smoke", "shift", "validation"]
