"""Checks of a release on a real HTTP server, without Airflow: what is recorded, and what follows from each verdict."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from airlock.deploy.check import judged_again
from airlock.errors import PermitInvalid, TemporaryError
from airlock.flow.stages import change
from airlock.models import Artifact, Backend, CheckResult
from airlock.recompute.release import recompute
from tests.faulty_proxy import Fault, FaultyProxy, faulty_proxy
from tests.memory_delivery import MemoryTarget
from tests.recompute import flown

FORM = {"version": "1.1", "change_type": "standard"}
POLICY = "{extend_looks: 2, hold_looks: 1, hold_every_seconds: 30, new_beginnings: 1}"
CHECKS = """{wait_seconds: 0, attempts: 2, smoke: [{name: http, options: {paths: [/smoke]}}],
      validation: [{name: http, options: {paths: [/validation]}}], bake: [{name: http, options: {paths: [/bake]}}]}"""


@pytest.fixture(autouse=True)
def keys() -> Iterator[None]:
    with flown.keys():
        yield


@pytest.fixture
def version() -> Iterator[FaultyProxy]:
    with faulty_proxy("http://127.0.0.1:9") as server:
        server.always(Fault(status=200))
        yield server


def prepared(folder: Path, version: FaultyProxy, given: str = CHECKS) -> flown.Flight:
    flight = flown.prepared(folder, POLICY, (flown.GOOD,) * 99, (), checks=given)
    flight.release.delivery.target.host.address = version.url
    return flight


def flown_out(flight: flown.Flight) -> tuple[str, str]:
    found = recompute(flight.carry_out(FORM), any_signer=True)
    assert found.ok, found.differing
    ended = flight.release.latest("outcome")
    assert ended is not None
    return str(ended["outcome"]), str(ended["why"])


def tried(flight: flown.Flight, checkpoint: str) -> list[str]:
    return [one.data["verdict"]["answer"] for one in flight.release.recorded("checks") if one.subject == checkpoint]


def fails(version: FaultyProxy, path: str, fault: Fault, when: Callable[[int], bool] = lambda number: True) -> None:
    """Answer requests for *path* with *fault*, those whose number (from 1) *when* says so."""
    seen: list[str] = []

    def decide(method: str, asked: str) -> Fault:
        if asked != path:
            return Fault(status=200)
        seen.append(asked)
        return fault if when(len(seen)) else Fault(status=200)

    version.decide = decide


def test_each_is_asked_of_the_version_itself_when_it_should_be(tmp_path: Path, version: FaultyProxy) -> None:
    flight = prepared(tmp_path, version)
    assert flown_out(flight)[0] == "promoted"
    assert [path for _, path in version.seen[:2]] == ["/smoke", "/validation"]
    assert {path for _, path in version.seen[2:]} == {"/bake"}
    looks = [one for one in flight.release.recorded("verdict") if one.subject == "bake"]
    assert [one.data["look"] for one in flight.release.recorded("checks") if one.subject == "bake"] == [
        one.data["look"] for one in looks]
    assert len(looks) > 1, "the bake is checked again and again"


def test_the_plan_holds_the_checks_with_every_option(tmp_path: Path, version: FaultyProxy) -> None:
    flight = prepared(tmp_path, version)
    flown_out(flight)
    planned = flight.release.plan.checks
    assert planned.attempts == 2
    assert planned.smoke[0].options["within_seconds"] == 5
    result = flight.release.recorded("checks")[0].data["results"][0]
    assert judged_again(planned.smoke[0], CheckResult.model_validate(result)).answer == "pass"


@pytest.mark.parametrize(("path", "checkpoint"), [("/smoke", "smoke"), ("/validation", "validation")])
def test_a_version_that_fails_is_tried_again_and_then_goes_back(
    tmp_path: Path, version: FaultyProxy, path: str, checkpoint: str
) -> None:
    fails(version, path, Fault(status=500, body=b"a customer's row"))
    flight = prepared(tmp_path, version)
    outcome, why = flown_out(flight)
    assert (outcome, tried(flight, checkpoint)) == ("rolled_back", ["fail", "fail"])
    assert f"{checkpoint} checks of 1.1: fail: {path} answered 500, not 2xx" in why
    assert flight.release.delivery.inspect().weight_of("1.0") == 100
    assert "customer" not in json.dumps([one.data for one in flight.release.records()], default=str)


def test_one_that_passes_at_the_second_try_goes_on(tmp_path: Path, version: FaultyProxy) -> None:
    fails(version, "/smoke", Fault(status=503), lambda number: number == 1)
    flight = prepared(tmp_path, version)
    assert (flown_out(flight)[0], tried(flight, "smoke")) == ("promoted", ["fail", "pass"])


def test_a_check_that_errors_is_no_pass_and_is_tried_again_by_the_task(tmp_path: Path, version: FaultyProxy) -> None:
    fails(version, "/smoke", Fault(drop=True))
    flight = prepared(tmp_path, version)
    assert flown_out(flight)[0] == "rolled_back"
    assert tried(flight, "smoke") == ["error", "error"]
    fault = flight.release.recorded("fault")[0].data
    assert (fault["error"], "smoke checks of 1.1: error: /smoke has no answer" in fault["message"]) == (
        "TemporaryError", True)


def test_a_version_that_fails_in_the_bake_goes_back_at_once(tmp_path: Path, version: FaultyProxy) -> None:
    fails(version, "/bake", Fault(status=500))
    flight = prepared(tmp_path, version)
    outcome, why = flown_out(flight)
    assert (outcome, tried(flight, "bake")) == ("rolled_back", ["fail", "fail"])
    assert "/bake answered 500" in why
    assert not [act for act in flight.release.recorded("act") if act.subject == "retire"]
    last = [one for one in flight.release.recorded("verdict") if one.subject == "bake"][-1]
    assert (last.data["judged"]["answer"], last.data["verdict"]["answer"]) == ("pass", "fail")


def test_checks_of_the_bake_that_error_extend_it_hold_it_and_go_back(tmp_path: Path, version: FaultyProxy) -> None:
    fails(version, "/bake", Fault(drop=True))
    flight = prepared(tmp_path, version)
    assert flown_out(flight)[0] == "rolled_back"
    moves = [one.data["move"] for one in flight.release.recorded("verdict") if one.subject == "bake"]
    assert moves[-4:] == ["observe", "observe", "hold", "roll back"]


def test_a_bake_whose_checks_answer_again_is_promoted(tmp_path: Path, version: FaultyProxy) -> None:
    fails(version, "/bake", Fault(drop=True), lambda number: number in (1, 2, 3, 4))
    flight = prepared(tmp_path, version)
    assert flown_out(flight)[0] == "promoted"
    assert tried(flight, "bake")[:5] == ["error", "error", "error", "error", "pass"]


def test_a_target_that_cannot_be_asked_is_an_error(tmp_path: Path, version: FaultyProxy) -> None:
    class Away(MemoryTarget):
        away = 0

        def install(self, artifact: Artifact, backend: str) -> None:
            super().install(artifact, backend)
            self.away = 3  # what staging sees of its effect, and the two tries of the checks

        def backends(self) -> tuple[Backend, ...]:
            if self.away:
                self.away -= 1
                if self.away < 2:
                    raise TemporaryError("the host is away")
            return super().backends()

    flight = prepared(tmp_path, version)
    flight.release.delivery.target = Away(flight.release.delivery.target.host)
    outcome, why = flown_out(flight)
    assert (outcome, "the host is away" in why, tried(flight, "smoke")) == ("rolled_back", True, ["error", "error"])
    assert version.seen == []


def test_without_checks_of_its_own_the_validation_asks_what_smoke_asked(tmp_path: Path, version: FaultyProxy) -> None:
    flight = prepared(tmp_path, version, "{wait_seconds: 0, smoke: [{name: http, options: {paths: [/smoke]}}]}")
    assert flown_out(flight)[0] == "promoted"
    assert {path for _, path in version.seen} == {"/smoke"}
    assert (len(tried(flight, "validation")), tried(flight, "bake")) == (1, [])


def test_who_changes_the_allow_list_makes_the_permit_stale(
    tmp_path: Path, version: FaultyProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    policies = tmp_path / "policies"
    policies.mkdir()
    for name in ("risk.yaml", "approval.yaml"):
        (policies / name).write_bytes((flown.POLICIES / name).read_bytes())
    monkeypatch.setenv("AIRLOCK_POLICIES", str(policies))
    rule = {"name": "tool", "program": "/bin/true", "arguments": ["{version}"]}
    (policies / "commands.yaml").write_text(json.dumps({"commands": [rule]}))
    given = CHECKS.replace("smoke: [", "smoke: [{name: command, options: {run: [/bin/true, '{version}']}}, ")
    flight = prepared(tmp_path, version, given)
    assert flown_out(flight)[0] == "promoted"
    release = prepared(tmp_path, version, given).release
    release.id = "cafe-live-2"
    change.validate(release, {"version": "1.1", "change_type": "standard"}, "rita")
    change.assess(release)
    change.permit(release)
    release.permitted("stage")
    (policies / "commands.yaml").write_text(json.dumps({"commands": [{**rule, "arguments": [".*"]}]}))
    with pytest.raises(PermitInvalid, match="checks"):
        release.permitted("stage")
    (policies / "commands.yaml").write_text("commands: []")
    with pytest.raises(Exception, match="no rule allows"):
        release.permitted("stage")
