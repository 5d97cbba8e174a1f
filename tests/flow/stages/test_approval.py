"""The approval of one release from its records alone: reminders, escalation, absence, late and delegated votes."""

from __future__ import annotations

import dataclasses
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from airlock.change.approval import rules_for
from airlock.change.planning import build_plan
from airlock.change.rfc import rfc_from_form
from airlock.change.risk import assess
from airlock.change.risk_policy import load_risk_policy
from airlock.deploy.resolution import resolve_artifact
from airlock.errors import EvidenceInvalid, GateRefused
from airlock.flow.stages import approval
from airlock.flow.stages.change import permit
from airlock.flow.stages.release import Release
from airlock.models import Absence, Plan, Vote, utc_now
from tests import service_data
from tests.flow.operators.test_approval import FORM

OWNER_ONLY = ("high: {service_owner: 1, board: 2}", "high: {service_owner: 1}")
TERMS = ("    approvals:\n", "    approvals:\n      timeout_hours: 10\n      reminder_hours: [1, 4]\n"
         "      escalation: {seats: {board: 1}, timeout_hours: 3}\n")


@dataclasses.dataclass(frozen=True)
class Asked:
    release: Release
    plan: Plan
    begun: datetime

    def look(self, hours: float) -> approval.Standing:
        return approval.look(self.release, self.plan, self.begun + timedelta(hours=hours))

    def vote(self, person: str, hours: float, choice: str = "approve", reason: str = "") -> str:
        moment = self.begun + timedelta(hours=hours)
        return approval.cast(self.release, self.plan, Vote(person=person, choice=choice, at=moment, reason=reason))

    def kinds(self) -> list[str]:
        return [one.type for one in self.release.records() if one.type not in ("rfc", "plan", "notification")]


def asked_with(folder: Path, *changes: tuple[str, str], absences: tuple[Absence, ...] = ()) -> Asked:
    (folder / "cafe-1.1.bin").write_bytes(b"oat milk")
    cafe = service_data.environment(folder, OWNER_ONLY, *changes).model_copy(update={"absences": absences})
    rfc = rfc_from_form(FORM, "rita", cafe)
    begun = utc_now() - timedelta(hours=20)  # so that records are never from before what they tell of
    risk = assess(rfc, cafe, {"now": begun, "current_version": "1.0"}, load_risk_policy())
    plan = build_plan("r1", rfc, cafe, resolve_artifact(cafe, "1.1"), "1.0", rules_for(risk, rfc, cafe), risk)
    release = Release(cafe, "r1", "test")
    release.record("rfc", rfc=rfc.model_dump(mode="json"))
    release.record("plan", plan=plan.model_dump(mode="json"), digest=plan.digest)
    approval.opened(release, plan, begun)
    return Asked(release, plan, begun)


@pytest.fixture
def asked(tmp_path: Path) -> Asked:
    return asked_with(tmp_path, TERMS)


def test_reminders_come_once_each_however_often_it_is_looked(asked: Asked) -> None:
    for hours in (0, 1, 5.9):
        assert asked.look(hours).look_at == asked.begun + timedelta(hours=6)
    for hours in (6, 6, 7, 8.9):
        asked.look(hours)
    for hours in (9, 9.5):
        assert asked.look(hours).look_at == asked.begun + timedelta(hours=10)
    assert [one.data["key"] for one in asked.release.recorded("reminder")] == ["first-4", "first-1"]


def test_a_scheduler_that_slept_sends_only_the_newest_reminder(asked: Asked) -> None:
    asked.look(9.5)
    assert [one.data["key"] for one in asked.release.recorded("reminder")] == ["first-1"]


def test_time_out_escalates_to_the_named_group_whose_seats_then_decide(asked: Asked) -> None:
    asked.look(10)
    assert asked.kinds() == ["approval_request", "escalation"]
    standing = asked.look(10.5)
    assert standing.asking.stage == "escalated"
    assert standing.present.people == ("bert", "cleo", "olga")
    assert asked.vote("bert", 11) == ""
    assert asked.look(11).decided == "approved"


def test_a_vote_of_before_counts_after_the_escalation_too(tmp_path: Path) -> None:
    asked = asked_with(tmp_path, TERMS, ("high: {service_owner: 1}", "high: {service_owner: 1, board: 1}"))
    assert asked.vote("cleo", 1) == ""
    assert asked.look(2).decided == "waiting"
    assert asked.look(10).decided == "approved", "the escalation asks for one of the board, and cleo is of it"


def test_the_second_time_out_refuses_and_asks_anew_only_when_it_is_asked_again(asked: Asked) -> None:
    asked.look(10)
    with pytest.raises(GateRefused, match="nobody decided within 13 h, also not whom it was escalated to"):
        asked.look(13)
    with pytest.raises(GateRefused, match="no permit"):
        permit(asked.release)
    assert asked.kinds()[-1] == "approval_over"
    first = asked.release.latest("approval_request")
    again = approval.opened(asked.release, asked.plan, asked.begun + timedelta(hours=14))
    assert first is not None and again != first["request"]


def test_looking_much_too_late_still_asks_the_escalation_for_its_whole_time(asked: Asked) -> None:
    standing = asked.look(20)
    assert standing.asking.ends_at == asked.begun + timedelta(hours=23)


def test_without_an_escalation_silence_refuses(tmp_path: Path) -> None:
    asked = asked_with(tmp_path)
    with pytest.raises(GateRefused, match="nobody decided within 48 h; silence is not consent"):
        asked.look(48)


def test_a_vote_after_the_time_counts_for_nothing(asked: Asked) -> None:
    assert "after the time was up" in asked.vote("olga", 10)
    assert asked.look(10).decided == "waiting"
    assert asked.vote("olga", 10.1) == "", "of the board she is one, and the board is asked now"


def test_a_rejection_needs_a_reason_and_ends_it(asked: Asked) -> None:
    assert "without a reason" in asked.vote("olga", 1, "reject")
    asked.vote("olga", 2, "reject", "not today")
    for hours in (2, 5, 11):
        with pytest.raises(GateRefused, match="olga rejected it: not today"):
            asked.look(hours)


def gone(asked: Asked, *kinds: str) -> None:
    folder = Path(str(asked.release.ledger.release_folder("r1")))
    for kind in kinds:
        (path,) = folder.glob(f"*-{kind}-*")
        path.unlink()


def test_a_rejection_that_is_removed_at_once_is_noticed_and_nobody_is_asked_again(asked: Asked) -> None:
    asked.vote("olga", 2, "reject", "not today")
    gone(asked, "vote")
    with pytest.raises(EvidenceInvalid, match="is missing"):
        asked.look(3)


def test_with_an_anchor_it_is_noticed_also_when_all_that_names_it_is_removed(tmp_path: Path) -> None:
    anchored = ("    evidence: FOLDER/evidence\n", "    evidence: FOLDER/evidence\n    anchor: FOLDER/anchor\n")
    asked = asked_with(tmp_path, TERMS, anchored)
    asked.vote("olga", 2, "reject", "not today")
    gone(asked, "tally", "vote")
    with pytest.raises(EvidenceInvalid, match="vote-olga-.* is missing, which the anchor knows"):
        asked.look(3)


def away(begin: datetime, end: datetime, delegate: str | None) -> Absence:
    return Absence(person="olga", start=begin, end=end, delegate=delegate)


def test_a_delegate_decides_while_the_owner_is_away(tmp_path: Path) -> None:
    now = utc_now()
    asked = asked_with(tmp_path, TERMS, absences=(away(now - timedelta(days=9), now + timedelta(days=9), "dora"),))
    assert asked.look(0).present.people == ("dora",)
    assert "declared absent" in asked.vote("olga", 1)
    assert asked.vote("dora", 1) == ""
    standing = asked.look(2)
    assert standing.decided == "approved"
    assert "dora for olga" in standing.sentence
    (vote,) = asked.release.recorded("vote")
    assert vote.data["vote"]["stands_for"] == ["olga"]
    assert vote.data["absences"][0]["delegate"] == "dora"


def test_too_few_approvers_are_waited_for_and_looked_at_again_when_they_are_back(tmp_path: Path) -> None:
    back = utc_now() - timedelta(hours=17)
    asked = asked_with(tmp_path, TERMS, absences=(away(back - timedelta(days=9), back, None),))
    standing = asked.look(0)
    assert (standing.present.code, standing.present.people) == ("approver_absent", ())
    assert standing.look_at == back
    assert asked.look(1).look_at == back
    (said,) = asked.release.recorded("attendance")
    assert said.data["code"] == "approver_absent"
    assert said.data["back"] == [back.isoformat()]
    assert asked.look(4).present.people == ("olga",)


def test_too_few_approvers_refuse_where_the_policy_says_so(tmp_path: Path) -> None:
    now = utc_now()
    refuses = (TERMS[0], f"{TERMS[1]}      absent: refuse\n")
    asked = asked_with(tmp_path, refuses, absences=(away(now - timedelta(days=9), now + timedelta(days=9), None),))
    with pytest.raises(GateRefused, match="approver_absent: too few approvers are there: olga is away until"):
        asked.look(0)
