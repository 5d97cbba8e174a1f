"""What every strategy must do. A test derives from ``StrategyContract`` and gives ``rollout`` and what is judged good.

A whole release is carried out without Airflow and servers, stage by stage, with what is recorded for real.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path

import pytest

from airlock.deploy.strategy import WHOLE, strategy_of
from airlock.flow.stages import deploy, rollback
from airlock.flow.stages.settle import RunState, settle
from airlock.models import AnalysisPolicy, ArmSample, Rollout, utc_now
from airlock.recompute.release import recompute
from tests.recompute import flown

GOOD = (
    ArmSample(version="-", requests=900, errors=1, latency_p95_ms=20),
    ArmSample(version="-", requests=100, errors=0, latency_p95_ms=21),
)
BAD = (GOOD[0], ArmSample(version="-", requests=100, errors=90, latency_p95_ms=21))
POLICY = "{minimum_requests: 50, look_every_seconds: 2, max_latency_ms: 400}"
FORM = {"version": "1.1", "change_type": "standard"}


class StrategyContract(ABC):
    """``settings`` is ``rollout`` of a service file, in YAML."""

    settings: str

    @property
    @abstractmethod
    def rollout(self) -> Rollout: ...

    def flight(self, folder: Path, *samples: tuple[ArmSample, ArmSample]) -> flown.Flight:
        return flown.prepared(folder, POLICY, samples, (), steps=self.settings)

    def test_it_has_no_faults_and_ends_with_all_traffic(self) -> None:
        strategy = strategy_of(self.rollout)
        assert not list(strategy.faults(self.rollout, AnalysisPolicy(max_latency_ms=400)))
        steps = strategy.steps(self.rollout)
        percents = [step.percent for step in steps]
        assert percents == sorted(set(percents)) and percents
        said = " ".join(strategy.sentences(self.rollout))
        assert all(f"{percent} %" in said for percent in (*percents, WHOLE))

    def test_a_good_version_is_promoted_and_every_decision_is_made_again(self, tmp_path: Path) -> None:
        with flown.keys():
            flight = self.flight(tmp_path, *(GOOD,) * 30)
            pack = flight.carry_out(FORM)
            state = flight.release.delivery.inspect()
            assert (state.stable, state.weight_of("1.1")) == ("1.1", WHOLE)
            assert (flight.release.latest("outcome") or {})["outcome"] == "promoted"
            wanted = [step.percent == WHOLE for step in strategy_of(self.rollout).steps(self.rollout)]
            assert flight.release.metrics.alone == [*wanted, True]  # type: ignore[attr-defined]
            shifts = [act.data["percent"] for act in flight.release.recorded("act") if act.subject == "shift"]
            assert shifts == [step.percent for step in strategy_of(self.rollout).steps(self.rollout)]
            found = recompute(pack, any_signer=True)
            assert found.ok, found.differing

    @pytest.mark.parametrize("good_looks", [0, 2])
    def test_a_version_that_fails_goes_back_in_one_step(self, tmp_path: Path, good_looks: int) -> None:
        with flown.keys():
            flight = self.flight(tmp_path, *(GOOD,) * good_looks, *(BAD,) * 30)
            pack = flight.carry_out(FORM)
            state = flight.release.delivery.inspect()
            ended = flight.release.latest("outcome") or {}
            assert ended["outcome"] == "rolled_back"
            assert (state.stable, state.weight_of("1.0"), state.canary) == ("1.0", WHOLE, None)
            found = recompute(pack, any_signer=True)
            assert found.ok, found.differing

    @pytest.mark.parametrize("after", ["stage", "shift", "promote"])
    def test_whenever_its_run_ends_it_is_brought_back(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: str
    ) -> None:
        class Killed(BaseException):
            """Not an error that anything catches."""

        with flown.keys():
            flight = self.flight(tmp_path, *(GOOD,) * 30)
            release, delivery = flight.release, flight.release.delivery
            release.record("run", dag_id="d", run_id="r", airflow="here")
            act = getattr(delivery, after)

            def struck(*given: object) -> None:
                act(*given)
                raise Killed

            monkeypatch.setattr(delivery, after, struck)
            with pytest.raises(Killed):
                flight.carry_out(FORM)
            monkeypatch.undo()
            again = type(release)(release.environment, release.id, "settle")
            again.delivery = delivery
            assert settle(again, "here", lambda dag, run: RunState.FAILED, utc_now()).endswith("settled as rolled_back")
            state = delivery.inspect()
            assert (state.stable, state.weight_of("1.0"), state.canary) == ("1.0", WHOLE, None)

    def test_without_a_permit_nothing_is_done(self, tmp_path: Path) -> None:
        with flown.keys():
            flight = self.flight(tmp_path, *(GOOD,) * 30)
            before = flight.release.delivery.inspect()
            for act in (deploy.stage, deploy.promote, deploy.retire):
                with pytest.raises(Exception, match="there is no|has not passed|no plan|not passed"):
                    act(flight.release)
            assert not rollback.needed(flight.release)
            assert flight.release.delivery.inspect() == before
