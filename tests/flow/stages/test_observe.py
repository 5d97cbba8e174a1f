"""Canary and bake without Airflow and without servers: what is recorded and done when data are missing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from airlock.deploy.delivery import Delivery
from airlock.errors import CountsLost, GateRefused, NoData, NotReady, TemporaryError
from airlock.flow.stages import deploy
from airlock.models import ArmSample, Sample, TargetState
from airlock.recompute.release import recompute
from tests.recompute import flown

GOOD = tuple(ArmSample(version="-", requests=count, errors=0, latency_p95_ms=20) for count in (900, 100))
FORM = {"version": "1.1", "change_type": "standard"}
POLICY = "{extend_looks: 2, hold_looks: 1, hold_every_seconds: 30, new_beginnings: 1}"


@pytest.fixture(autouse=True)
def keys() -> Iterator[None]:
    with flown.keys():
        yield


class Metrics(flown.GivenMetrics):
    """Raises what *faults* has for the number of its call of ``begin`` or ``sample``; else answers well."""

    def __init__(self, **faults: dict[int, Exception]) -> None:
        super().__init__((GOOD,) * 99)
        self.faults, self.calls = faults, {"begin": 0, "sample": 0}

    def _fault(self, name: str) -> None:
        self.calls[name] += 1
        if fault := self.faults.get(name, {}).get(self.calls[name]):
            raise fault

    def begin(self, stable: str, canary: str, *, alone: bool = False) -> dict[str, Any]:
        self._fault("begin")
        return super().begin(stable, canary, alone=alone)

    def sample(self, mark: dict[str, Any], stable: str, canary: str, canary_share: float) -> Sample:
        self._fault("sample")
        return super().sample(mark, stable, canary, canary_share)


def always(fault: Exception) -> dict[int, Exception]:
    return dict.fromkeys(range(1, 99), fault)


def fly(folder: Path, metrics: Metrics, target: Delivery | None = None) -> flown.Flight:
    flight = flown.prepared(folder, POLICY, (), ())
    flight.release.metrics = metrics
    if target is not None:
        flight.release.delivery = target
    pack = flight.carry_out(FORM)
    found = recompute(pack, any_signer=True)
    assert found.ok, found.differing
    return flight


def verdicts(flight: flown.Flight) -> list[tuple[str, str, str]]:
    looks = flight.release.recorded("verdict")
    return [(one.subject, one.data["verdict"]["answer"], str(one.data["move"])) for one in looks]


def outcome(flight: flown.Flight) -> tuple[str, str]:
    found = flight.release.latest("outcome")
    assert found is not None
    return str(found["outcome"]), str(found["why"])


@pytest.mark.parametrize(
    ("faults", "answer", "says"),
    [
        ({"begin": always(TemporaryError("Envoy is down"))}, "error", "nothing of 1.1 has been counted yet"),
        ({"begin": always(NoData("1.1 answers in no slot"))}, "inconclusive", "1.1 answers in no slot"),
        ({"sample": always(TemporaryError("rubbish"))}, "error", "1.1 had answered 0 of at least 50 requests"),
        ({"sample": always(NoData("slot b runs 1.2"))}, "inconclusive", "slot b runs 1.2"),
    ],
)
def test_metrics_that_never_answer_extend_hold_and_roll_back(
    tmp_path: Path, faults: dict[str, dict[int, Exception]], answer: str, says: str
) -> None:
    flight = fly(tmp_path, Metrics(**faults))
    steps = [("step-1", answer, move) for move in ("observe", "observe", "hold", "roll back")]
    assert verdicts(flight) == steps
    assert outcome(flight)[0] == "rolled_back"
    assert says in outcome(flight)[1]
    assert flight.release.delivery.inspect().weight_of("1.0") == 100


def test_lost_counts_shift_and_count_anew_and_a_good_release_is_promoted(tmp_path: Path) -> None:
    flight = fly(tmp_path, Metrics(sample={1: CountsLost("Envoy restarted")}))
    assert outcome(flight)[0] == "promoted"
    assert verdicts(flight)[0] == ("step-1", "inconclusive", "begin again")
    shifts = [act.data["percent"] for act in flight.release.recorded("act") if act.subject == "shift"]
    assert shifts == [10, 10, 50]


def test_counts_that_are_lost_again_and_again_end_in_a_rollback(tmp_path: Path) -> None:
    flight = fly(tmp_path, Metrics(sample=always(CountsLost("Envoy restarted"))))
    assert [move for _, _, move in verdicts(flight)] == ["begin again", "roll back"]
    assert "the counts were lost 2 times" in outcome(flight)[1]


def test_lost_counts_in_the_bake_are_counted_anew_too(tmp_path: Path) -> None:
    for number, (call, expected) in enumerate(((5, "promoted"), (None, "rolled_back"))):
        faults = {call: CountsLost("reset")} if call else dict.fromkeys(range(5, 99), CountsLost("reset"))
        folder = tmp_path / str(number)
        folder.mkdir()
        flight = fly(folder, Metrics(sample=faults))
        assert outcome(flight)[0] == expected
        assert ("bake", "inconclusive", "begin again") in verdicts(flight)


def test_a_bake_without_data_is_not_promoted_and_the_old_version_is_not_stopped(tmp_path: Path) -> None:
    flight = fly(tmp_path, Metrics(sample=dict.fromkeys(range(5, 99), NoData("nobody asked for a page"))))
    assert [move for subject, _, move in verdicts(flight) if subject == "bake"][-2:] == ["hold", "roll back"]
    assert outcome(flight)[0] == "rolled_back"
    assert not [act for act in flight.release.recorded("act") if act.subject == "retire"]
    with pytest.raises(GateRefused, match="bake has not passed"):
        deploy.retire(flight.release)


class Sick(Delivery):
    """Its canary is healthy until it should get 50 % of the traffic."""

    def shift(self, version: str, percent: int) -> TargetState:
        if percent == 50:
            raise NotReady(f"version {version} is not healthy")
        return super().shift(version, percent)


def test_a_canary_that_is_no_longer_healthy_gets_no_more_traffic(tmp_path: Path) -> None:
    flight = flown.prepared(tmp_path, POLICY, (), ())
    whole = Sick(flight.release.delivery.target, flight.release.delivery.router)
    flight = fly(tmp_path, Metrics(), whole)
    assert verdicts(flight)[-4:] == [("step-2", "inconclusive", m) for m in ("observe", "observe", "hold", "roll back")]
    assert "1.1 is not healthy" in outcome(flight)[1]
    assert whole.inspect().weight_of("1.0") == 100
