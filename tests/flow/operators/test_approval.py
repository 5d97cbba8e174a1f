"""Which request votes belong to: nobody is asked twice for the same plan, and everybody again for another one."""

from __future__ import annotations

import dataclasses
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from airlock.change.approval import rules_for
from airlock.change.basis import basis_of
from airlock.change.planning import build_plan
from airlock.change.rfc import rfc_from_form
from airlock.change.risk import assess
from airlock.change.risk_policy import load_risk_policy
from airlock.deploy.resolution import resolve_artifact
from airlock.errors import GateRefused
from airlock.flow.operators.approval import vote_of
from airlock.flow.stages.change import open_request, permit, votes_of
from airlock.flow.stages.release import Release
from airlock.models import Plan, Vote, utc_now
from tests import service_data

FORM = {
    "version": "1.1", "change_type": "normal", "title": "Oat milk", "reason": "Guests ask for it.", "impact": "high",
    "rollback_plan": "All traffic goes back to 1.0.",
}


@dataclasses.dataclass(frozen=True)
class Asked:
    release: Release
    plan: Plan

    def ask(self, request: str, plan: Plan | None = None) -> None:
        self.release.record("approval_request", request=request, plan_digest=(plan or self.plan).digest)

    def vote(self, person: str, request: str, choice: str = "approve", hours_ago: float = 0) -> None:
        vote = Vote(person=person, choice=choice, at=utc_now() - timedelta(hours=hours_ago), reason="because")
        data = vote.model_dump(mode="json")
        self.release.record("vote", person, request=request, plan_digest=self.plan.digest, vote=data)

    def open(self) -> str | None:
        return open_request(self.release, self.plan, utc_now())


@pytest.fixture
def asked(tmp_path: Path) -> Asked:
    (tmp_path / "cafe-1.1.bin").write_bytes(b"oat milk")
    cafe = service_data.environment(tmp_path)
    rfc = rfc_from_form(FORM, "rita", cafe)
    risk = assess(rfc, cafe, {"now": utc_now(), "current_version": "1.0"}, load_risk_policy())
    plan = build_plan("r1", rfc, cafe, resolve_artifact(cafe, "1.1"), "1.0", rules_for(risk, rfc, cafe), risk)
    release = Release(cafe, "r1", "test")
    kept = basis_of(cafe, load_risk_policy()).model_dump(mode="json")
    release.record("plan", plan=plan.model_dump(mode="json"), digest=plan.digest, basis=kept)
    return Asked(release, plan)


def test_nobody_was_asked_yet(asked: Asked) -> None:
    assert asked.open() is None


def test_a_retry_goes_on_with_its_request_and_its_votes(asked: Asked) -> None:
    asked.ask("one")
    asked.vote("olga", "one")
    assert asked.open() == "one"
    assert [vote.person for vote in votes_of(asked.release, "one")] == ["olga"]


def test_a_rejection_is_not_asked_about_again_when_the_task_is_tried_again(asked: Asked) -> None:
    asked.ask("one")
    asked.vote("olga", "one", "reject")
    for act in (asked.open, lambda: permit(asked.release)):
        with pytest.raises(GateRefused, match="^olga rejected it: because; nothing was changed"):
            act()


@pytest.mark.parametrize("changed", [{"current_version": "0.9"}, {"approvals": ()}])
def test_a_rejection_stays_one_when_the_plan_changes_before_the_task_is_tried_again(
    asked: Asked, changed: dict[str, Any]
) -> None:
    asked.ask("one")
    asked.vote("olga", "one", "reject", hours_ago=30)
    plan = asked.plan.model_copy(update=changed)
    asked.release.record("plan", plan=plan.model_dump(mode="json"), digest=plan.digest,
                         basis=(asked.release.latest("plan") or {})["basis"], replaces=asked.plan.digest)
    for act in (lambda: open_request(asked.release, plan, utc_now()), lambda: permit(asked.release)):
        with pytest.raises(GateRefused, match="olga rejected it"):
            act()


def test_another_plan_and_old_votes_ask_anew(asked: Asked) -> None:
    asked.ask("one", asked.plan.model_copy(update={"current_version": "0.9"}))
    assert asked.open() is None
    asked.ask("three")
    asked.vote("olga", "three", hours_ago=25)
    assert asked.open() is None


def test_votes_of_an_earlier_request_never_count(asked: Asked) -> None:
    asked.ask("one")
    for person in ("olga", "bert", "cleo"):
        asked.vote(person, "one")
    asked.ask("two")
    with pytest.raises(GateRefused, match="do not carry the plan"):
        permit(asked.release)


def test_without_a_request_there_is_no_permit(asked: Asked) -> None:
    with pytest.raises(GateRefused, match="nobody was asked"):
        permit(asked.release)


@pytest.mark.parametrize(
    ("user", "person"),
    [({"id": "bert", "name": "bert"}, "bert"), ({"id": "17", "name": "rita"}, "rita"), ({"id": "rita"}, "rita")],
)
def test_who_asked_votes_under_their_name_whatever_their_id_is(user: dict[str, str], person: str) -> None:
    answer = {"responded_by_user": user, "chosen_options": ["Approve"], "params_input": {}}
    assert vote_of(answer, "rita").person == person


@pytest.mark.parametrize("user", [None, {}, {"name": "bert"}])
def test_an_answer_without_a_person_is_no_vote(user: dict[str, str] | None) -> None:
    with pytest.raises(GateRefused, match="without a person"):
        vote_of({"responded_by_user": user, "chosen_options": ["Approve"], "params_input": {}}, "rita")
