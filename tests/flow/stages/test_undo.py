"""On-call returns to the version before: what is returned to, who lets them, and that it lands with evidence."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import pytest

from airlock.change.return_text import return_text
from airlock.change.way_back import refuses
from airlock.errors import GateRefused, InvalidInput, ProofFailed
from airlock.evidence.pack import verify
from airlock.flow.operators.approval import question
from airlock.flow.stages import change, undo
from airlock.flow.stages.cycle import past_of
from airlock.flow.stages.release import Release
from airlock.flow.stages.settle import RunState, settle
from airlock.models import ArmSample, PlannedMigration, Reversal, Rfc, RollbackSafety, utc_now
from airlock.recompute.release import recompute
from airlock.service import last_good
from airlock.service.model import RollbackPolicy
from airlock.signing import Signer
from tests.recompute import flown

AIRFLOW = "http://127.0.0.1:1"
PUBLIC = Signer.from_pem(flown.KEY).public_pem
GOOD = (
    ArmSample(version="-", requests=900, errors=1, latency_p95_ms=20),
    ArmSample(version="-", requests=100, errors=0, latency_p95_ms=21),
)
BAD = (GOOD[0], ArmSample(version="-", requests=100, errors=90, latency_p95_ms=21))
FORM = {"version": "1.1", "change_type": "standard"}


@pytest.fixture(autouse=True)
def keys() -> Iterator[None]:
    with flown.keys():
        yield


@pytest.fixture
def promoted(tmp_path: Path) -> flown.Flight:
    """The coffee house after its release from 1.0 to 1.1; olga alone may let on-call go back."""
    flight = flown.prepared(tmp_path, "{}", (GOOD,) * 12, ())
    environment = flight.release.environment.model_copy(
        update={"rollback": RollbackPolicy(seats={"service_owner": 1}, observe_seconds=3, bake_seconds=3)}
    )
    path = Path(environment.source)
    text = path.read_text()
    rollback = "rollback: {seats: {service_owner: 1}, observe_seconds: 3, bake_seconds: 3}\n    calendar:"
    path.write_text(text.replace("calendar:", rollback, 1))
    flight.release.environment = environment
    flight.carry_out(FORM)
    assert flight.release.delivery.inspect().stable == "1.1"
    return flight


def back(after: flown.Flight, identity: str, samples=(GOOD,) * 8, answers=(("olga", "approve", ""),), **asked):
    release = Release(after.release.environment, identity, "test")
    release.delivery, release.metrics = after.release.delivery, flown.GivenMetrics(samples)

    def request(release: Release, form: object) -> None:
        undo.request(release, asked.pop("reason", "1.1 burns"), asked.pop("incident", None), "rita", **asked)

    return flown.Flight(release, answers, request)


def test_all_traffic_returns_in_one_step_under_its_own_permit_with_its_own_proofs(promoted: flown.Flight) -> None:
    flight = back(promoted, "cafe-live-2")
    pack = flight.carry_out({})
    release = flight.release
    assert release.latest("outcome")["outcome"] == "promoted"
    assert release.delivery.inspect().stable == "1.0"
    assert [one.data.get("percent") for one in release.recorded("act") if one.subject == "shift"] == [100]
    assert release.latest("restore_set") is not None
    assert release.rfc.undoes == "cafe-live-1" and release.rfc.change_type == "rollback"
    assert [(rule.group, rule.quorum) for rule in release.plan.approvals] == [("service_owner", 1)]
    assert verify(pack, (PUBLIC,)).problems == ()
    again = recompute(pack, [PUBLIC])
    assert again.ok, again.differing
    assert "version before" in {one.decision for one in again.decisions}


def test_traffic_moves_before_any_backup_and_all_is_proved_before_the_seal(promoted: flown.Flight) -> None:
    flight = back(promoted, "cafe-live-2")
    pack = flight.carry_out({})
    kinds = [(one.type, one.subject) for one in flight.release.records()]
    acts, taken = [n for n, one in enumerate(kinds) if one[0] == "act"], kinds.index(
        ("recovery_point", "configuration.settings"))
    assert [kinds[n][1] for n in acts if n < taken] == ["stage", "shift", "promote"]
    assert taken < kinds.index(("restore_set", "")) < kinds.index(("outcome", ""))
    why = flight.release.latest("outcome")["why"]
    assert "all traffic is back on 1.0" in why and "every resource is backed up and proved" in why
    assert "canary" not in why and "canary" not in flight.release.latest("decision")["why"]
    assert recompute(pack, [PUBLIC]).ok


def test_a_backup_that_fails_afterwards_sends_no_traffic_anywhere_and_is_said(
    promoted: flown.Flight, tmp_path: Path
) -> None:
    flight = back(promoted, "cafe-live-2")
    flight.back_up = lambda: (_ for _ in ()).throw(ProofFailed("configuration.settings: the backup is no proof"))
    pack = flight.carry_out({})
    release = flight.release
    assert release.delivery.inspect().stable == "1.0"
    ended = release.latest("outcome")
    assert ended["outcome"] == "promoted" and "NOT every resource" in ended["why"]
    assert recompute(pack, [PUBLIC]).ok


def test_a_return_that_fails_after_a_failed_backup_says_why_it_really_went_back(promoted: flown.Flight) -> None:
    flight = back(promoted, "cafe-live-2", samples=(GOOD, *(BAD,) * 8))
    flight.back_up = lambda: (_ for _ in ()).throw(ProofFailed("configuration.settings: the backup is no proof"))
    pack = flight.carry_out({})
    ended = flight.release.latest("outcome")
    assert ended["outcome"] == "rolled_back" and "no proof" not in ended["why"]
    assert flight.release.delivery.inspect().stable == "1.1"
    assert recompute(pack, [PUBLIC]).ok


@pytest.mark.parametrize(("baked", "outcome", "stable"), [(False, "rolled_back", "1.1"), (True, "promoted", "1.0")])
def test_a_return_that_is_killed_while_it_backs_up_is_landed_by_settle(
    promoted: flown.Flight, baked: bool, outcome: str, stable: str
) -> None:
    flight = back(promoted, "cafe-live-2")
    release = flight.release
    release.record("run", dag_id="rollback.cafe.live", run_id="it", airflow=AIRFLOW)

    def killed() -> NoReturn:
        if baked:
            flight._bake()
        raise KeyboardInterrupt

    flight.back_up = killed
    with pytest.raises(KeyboardInterrupt):
        flight.carry_out({})
    settle(release, AIRFLOW, lambda dag, run: RunState.GONE, utc_now())
    ended = release.latest("outcome")
    assert (ended["outcome"], release.delivery.inspect().stable) == (outcome, stable)
    assert ("NOT every resource" in ended["why"]) == baked
    again = recompute(release.ledger.release_folder(release.id), [PUBLIC])
    assert again.ok, again.differing or again.problems


def test_a_return_restores_no_data_whatever_the_policy_of_releases_says(promoted: flown.Flight) -> None:
    release = promoted.release
    release.environment = release.environment.model_copy(update={"backup": release.environment.backup.model_copy(
        update={"restore_on_rollback": ("settings",)})})
    flight = back(promoted, "cafe-live-2", samples=(BAD,) * 8)
    undo.request(flight.release, "1.1 burns", None, "rita")
    plan = change.assess(flight.release)
    assert plan.traffic_first and plan.backup_policy["restore_on_rollback"] == []


def test_only_a_return_goes_before_its_backups(promoted: flown.Flight) -> None:
    flight = back(promoted, "cafe-live-2")
    undo.request(flight.release, "1.1 burns", None, "rita")
    plan = change.assess(flight.release)
    assert plan.traffic_first
    usual = plan.model_copy(update={"rfc": plan.rfc.model_copy(update={"change_type": "emergency"})})
    assert not usual.traffic_first
    restoring = plan.model_copy(update={"backup_policy": {"restore_on_rollback": ["settings"]}})
    assert not restoring.traffic_first


def test_a_return_that_would_migrate_is_refused(promoted: flown.Flight) -> None:
    rfc = Rfc.model_validate({**promoted.release.rfc.model_dump(), "change_type": "rollback"})
    lacking = PlannedMigration(name="0001_a", up_digest="sha256:" + "0" * 64, down_digest=None, undo=False,
                               verdict=Reversal.REVERSIBLE)
    assert "a return to the version before changes no data" in refuses(rfc, RollbackSafety(migrations=(lacking,)))


def test_approvers_read_of_a_return_and_of_no_release(promoted: flown.Flight) -> None:
    flight = back(promoted, "cafe-live-2")
    undo.request(flight.release, "1.1 burns", None, "rita")
    plan = change.assess(flight.release)
    text = return_text(plan)
    assert question(plan) == "Return cafe in live from 1.1 to 1.0?"
    assert "Return of cafe in live from 1\\.1 to 1\\.0" in text and "> 1\\.1 burns" in text
    assert "No data is restored" in text and "when the traffic is back" in text and "Seats" in text
    assert not re.search(r"[Cc]anary|Risk|Rollout|Release ", text)


def test_it_waits_for_no_window(promoted: flown.Flight) -> None:
    release = promoted.release
    closed = release.environment.calendar.model_copy(update={"freezes": (), "windows": ()})
    release.environment = release.environment.model_copy(update={"calendar": closed})
    flight = back(promoted, "cafe-live-2")
    undo.request(flight.release, "1.1 burns", None, "rita")
    assert len(change.assess(flight.release).calendar["windows"][0]["days"]) == 7


def test_no_mistake_in_a_file_stops_the_way_back(
    promoted: flown.Flight, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cafe = promoted.release.environment
    last_good.keep(Path(cafe.source).parent, [cafe])
    Path(cafe.source).unlink()
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies" / "risk.yaml").write_text("half of a risk pol")
    monkeypatch.setenv("AIRLOCK_POLICIES", str(tmp_path / "policies"))
    flight = back(promoted, "cafe-live-2")
    assert recompute(flight.carry_out({}), [PUBLIC]).ok
    assert flight.release.latest("outcome")["outcome"] == "promoted"
    assert flight.release.delivery.inspect().stable == "1.0"
    forward = flown.Flight(Release(cafe, "cafe-live-3", "test"), ())
    with pytest.raises(InvalidInput, match="nothing new begins until it is mended"):
        forward.request(forward.release, FORM)


def test_nobody_approves_their_own_return(promoted: flown.Flight) -> None:
    flight = back(promoted, "cafe-live-2", answers=(("rita", "approve", ""),))
    flight.carry_out({})
    assert flight.release.latest("outcome")["outcome"] == "refused"
    assert flight.release.recorded("act") == ()
    assert flight.release.delivery.inspect().stable == "1.1"


def test_a_version_before_that_fails_too_leaves_traffic_where_it_was(promoted: flown.Flight) -> None:
    flight = back(promoted, "cafe-live-2", samples=(BAD,) * 8)
    flight.carry_out({})
    assert flight.release.latest("outcome")["outcome"] == "rolled_back"
    assert flight.release.delivery.inspect().stable == "1.1"


class _Killed(flown.GivenMetrics):
    def sample(self, *_: object) -> NoReturn:
        raise KeyboardInterrupt


def test_a_return_whose_run_was_killed_is_landed_by_settle(promoted: flown.Flight) -> None:
    flight = back(promoted, "cafe-live-2")
    release = flight.release
    release.record("run", dag_id="rollback.cafe.live", run_id="it", airflow=AIRFLOW)
    release.metrics = _Killed(())
    with pytest.raises(KeyboardInterrupt):
        flight.carry_out({})
    assert release.delivery.inspect().weight_of("1.0") == 100
    seen: list[tuple[str, str]] = []
    settle(release, AIRFLOW, lambda dag, run: seen.append((dag, run)) or RunState.GONE, utc_now())
    assert seen == [("rollback.cafe.live", "it")]
    assert release.latest("outcome")["outcome"] == "rolled_back"
    assert release.delivery.inspect().weight_of("1.1") == 100


def test_without_a_release_on_record_there_is_no_way_back(tmp_path: Path) -> None:
    first = flown.prepared(tmp_path, "{}", (), ())
    flight = back(first, "cafe-live-1")
    with pytest.raises(GateRefused, match="no release on record brought it here"):
        undo.request(flight.release, "it burns", None, "rita")


def test_a_second_return_does_not_go_forward_again(promoted: flown.Flight) -> None:
    back(promoted, "cafe-live-2").carry_out({})
    flight = back(promoted, "cafe-live-3")
    with pytest.raises(GateRefused, match="no way back from 1.0"):
        undo.request(flight.release, "it burns", None, "rita")


def test_other_content_under_the_name_of_the_version_before_is_refused(promoted: flown.Flight, tmp_path: Path) -> None:
    (tmp_path / "cafe-1.0.bin").write_text("something else")
    with pytest.raises(InvalidInput, match="somebody replaced the artifact"):
        undo.request(back(promoted, "cafe-live-2").release, "1.1 burns", None, "rita")


def test_content_replaced_after_the_request_is_refused_as_well(promoted: flown.Flight, tmp_path: Path) -> None:
    flight = back(promoted, "cafe-live-2")
    undo.request(flight.release, "1.1 burns", None, "rita")
    (tmp_path / "cafe-1.0.bin").write_text("something else")
    with pytest.raises(InvalidInput, match="somebody replaced the artifact"):
        change.assess(flight.release)


@pytest.mark.parametrize("reason", ["", "  ", None, "x", "a\x07b it burns"])
def test_a_reason_is_needed(promoted: flown.Flight, reason: str | None) -> None:
    with pytest.raises(InvalidInput, match="reason"):
        undo.request(back(promoted, "cafe-live-2").release, reason, None, "rita")


def test_a_form_cannot_ask_for_the_light_approval_of_a_rollback(promoted: flown.Flight) -> None:
    release = back(promoted, "cafe-live-2").release
    with pytest.raises(InvalidInput, match="change_type"):
        change.validate(release, {**FORM, "version": "1.0", "change_type": "rollback"}, "rita")


def test_what_was_taken_back_is_not_promoted_by_a_cycle(promoted: flown.Flight) -> None:
    back(promoted, "cafe-live-2").carry_out({})
    here = past_of(promoted.release.environment)
    assert [one.undoes for one in here.promoted] == [None, "cafe-live-1"]


def test_a_train_takes_back_only_its_own_release(promoted: flown.Flight) -> None:
    release = back(promoted, "cafe-live-2").release
    with pytest.raises(GateRefused, match="somebody released since"):
        undo.request(release, "the train stops", None, "scheduler", ("weekly-1", "cafe-live-0"))
    undo.request(release, "the train stops", None, "scheduler", ("weekly-1", "cafe-live-1"))
    assert change.assess(release).approvals == ()
