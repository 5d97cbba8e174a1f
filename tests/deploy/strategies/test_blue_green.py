from __future__ import annotations

from pathlib import Path

import pytest

from airlock.deploy.strategy import strategy_of
from airlock.errors import GateRefused
from airlock.flow.stages import checks
from airlock.flow.stages.release import Release
from airlock.models import AnalysisPolicy, Checkpoint, Rollout, RolloutStep
from airlock.recompute.release import recompute
from tests.contracts.strategy_contract import FORM, GOOD, POLICY, StrategyContract
from tests.recompute import flown


class TestBlueGreen(StrategyContract):
    settings = "{strategy: blue_green, observe_seconds: 5, bake_seconds: 4}"
    rollout = Rollout(strategy="blue_green", observe_seconds=5, bake_seconds=4)

    def test_the_preview_is_checked_before_any_traffic(self, tmp_path: Path) -> None:
        with flown.keys():
            flight = self.flight(tmp_path, *(GOOD,) * 30)
            flight.carry_out(FORM)
            order = [(one.type, one.subject) for one in flight.release.records()
                     if one.type == "checks" or one.subject == "shift"]
        order = [one for one in order if one[0] != "calendar"]
        assert order[:2] == [("checks", "smoke"), ("checks", "validation")]
        assert ("checks", "validation") in order[order.index(("act", "shift")):], "and once more under traffic"

    def test_a_preview_that_fails_gets_no_traffic(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        real = checks.require

        def fails(release: Release, checkpoint: Checkpoint) -> None:
            real(release, checkpoint)
            if checkpoint is Checkpoint.VALIDATION:
                raise GateRefused("the preview shows an empty page")

        monkeypatch.setattr(checks, "require", fails)
        with flown.keys():
            flight = self.flight(tmp_path, *(GOOD,) * 30)
            flight.carry_out(FORM)
            acts = [act.subject for act in flight.release.recorded("act")]
            assert acts == ["stage", "roll_back"]
            assert flight.release.delivery.inspect().weight_of("1.0") == 100
            ended = flight.release.latest("outcome") or {}
        assert (ended["outcome"], ended["why"]) == ("rolled_back", "the preview shows an empty page")

    def test_a_preview_that_was_left_out_is_named_from_the_evidence(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("airlock.deploy.strategies.blue_green.BlueGreen.previews", False)
        with flown.keys():
            pack = self.flight(tmp_path, *(GOOD,) * 30).carry_out(FORM)
            monkeypatch.undo()
            found = recompute(pack, any_signer=True)
        assert not found.ok
        assert any("staged" in str(one) for one in found.differing), found.differing


def test_what_is_wrong_is_said() -> None:
    rollout = Rollout(strategy="blue_green", steps=(RolloutStep(percent=5, observe_seconds=5),))
    places = [".".join(where) for where, _ in strategy_of(rollout).faults(rollout, AnalysisPolicy())]
    assert places == ["rollout.steps", "rollout.observe_seconds", "analysis.max_latency_ms"]


def test_a_slow_version_is_caught_although_nobody_serves_to_compare_with(tmp_path: Path) -> None:
    slow = GOOD[1].model_copy(update={"latency_p95_ms": 900.0, "latency_buckets": ((400.0, 5), (1000.0, 100))})
    idle = GOOD[0].model_copy(update={"requests": 0, "errors": 0, "latency_p95_ms": None})
    with flown.keys():
        flight = flown.prepared(tmp_path, POLICY, ((idle, slow),) * 30, (), steps=TestBlueGreen.settings)
        flight.carry_out(FORM)
        ended = flight.release.latest("outcome") or {}
    assert ended["outcome"] == "rolled_back"
    assert "took longer than 400 ms, which is the most that is allowed" in ended["why"]
