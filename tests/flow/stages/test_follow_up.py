"""What is owed after a release is found, asked for, paid, and sealed."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from airlock.errors import EvidenceInvalid, InvalidInput
from airlock.evidence.pack import verify
from airlock.flow.dags.follow_up import RELEASE_DAG_ID, next_run
from airlock.flow.stages import follow_up
from airlock.flow.stages.follow_up import Owed
from airlock.flow.stages.outside_releases import StreamRun
from airlock.flow.stages.settle import RunState
from airlock.models import Absence, Vote, utc_now
from airlock.past import changes, debts, ledgers
from airlock.recompute.release import recompute
from tests.flow.stages.test_change import STANDARD, emergency, fly
from tests.recompute import flown
from tests.recompute.test_release import SIGNER, explained

ANSWERS = {"what_happened": "The canary answered with errors.", "way_back": "as_planned",
           "will_change": "A test is added.", "surprises": None, "caused_by": None}


@pytest.fixture(scope="module", autouse=True)
def keys() -> Iterator[None]:
    with flown.keys():
        yield


def vote(person: str, choice: str = "approve", reason: str = "") -> Vote:
    return Vote(person=person, choice=choice, at=utc_now(), reason=reason)


def run_after(environment, release: str) -> StreamRun:
    return StreamRun(environment, ledgers.FOLLOW_UP, release, "task review")


def test_what_went_well_owes_nothing_and_what_was_rolled_back_a_review(tmp_path):
    fly(tmp_path, "cafe-live-1", STANDARD)
    flight = fly(tmp_path, "cafe-live-2", STANDARD, good=False)
    environment = flight.release.environment
    (owed,) = follow_up.owed(environment)
    assert (owed.release, owed.review, owed.debt) == ("cafe-live-2", "it was rolled back", None)
    run = run_after(environment, owed.release)
    follow_up.begin(run, owed)
    follow_up.begin(run, owed)
    assert len(run.recorded("owed")) == 1 and follow_up.reviewers(run) == ("bert", "cleo", "olga", "rita")
    with pytest.raises(InvalidInput, match="What will change"):
        follow_up.take_review(run, {**ANSWERS, "will_change": ""}, "olga")
    assert "the review is still owed" in follow_up.close(run)
    follow_up.take_review(run, {**ANSWERS, "caused_by": "cafe-live-1"}, "olga")
    assert follow_up.close(run) == "" and follow_up.owed(environment) == ()
    pack = tmp_path / "evidence/follow_up/cafe-live-2.zip"
    assert verify(pack, (SIGNER.public_pem,)).problems == ()
    again = recompute(pack, [SIGNER.public_pem])
    assert again.ok and {one.decision for one in again.decisions} == {"review complete", "outcome"}, explained(again)
    # What the review names as the cause counts as failed from now on.
    named = debts.blamed(ledgers.stream(environment, ledgers.FOLLOW_UP))
    past = changes.past_changes(ledgers.releases(environment), named)
    assert [(one.release, one.failed) for one in past] == [("cafe-live-2", True), ("cafe-live-1", True)]


def test_an_emergency_is_approved_afterwards_by_its_normal_seats(tmp_path):
    environment = emergency(tmp_path).release.environment
    (owed,) = follow_up.owed(environment)
    assert owed.debt is not None and owed.review == "it was an emergency change"
    run = run_after(environment, "cafe-live-1")
    follow_up.begin(run, owed)
    assert follow_up.standing(run, owed.debt) == "waiting"
    people = follow_up.asked(run, owed.debt, utc_now())
    assert "olga" in people and "rita" not in people
    needed = {person for rule in owed.debt.approvals for person in rule.members}
    assert follow_up.cast(run, owed.debt, vote("rita")) == "waiting"
    assert follow_up.cast(run, owed.debt, vote("olga", "reject", "why was nobody told?")) == "rejected"
    assert debts.debts_of(environment) != ()
    follow_up.asked(run, owed.debt, utc_now())
    said = [follow_up.cast(run, owed.debt, vote(person)) for person in sorted(needed)]
    assert "approved" in said
    assert debts.debts_of(environment) == ()
    assert "the review is still owed" in follow_up.close(run)
    follow_up.take_review(run, {**ANSWERS, "way_back": "not_used"}, "olga")
    assert follow_up.close(run) == ""
    again = recompute(tmp_path / "evidence/follow_up/cafe-live-1.zip", [SIGNER.public_pem])
    assert again.ok, explained(again)
    assert {"vote counts afterwards", "votes counted afterwards", "vote refused afterwards", "rejected afterwards",
            "approved afterwards",
            "who may approve afterwards", "review complete", "outcome"} == {one.decision for one in again.decisions}


def test_whoever_wrote_an_emergency_change_does_not_approve_it_afterwards_either(tmp_path):
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("release.json", json.dumps({"authors": ["Bert <7+bert@users.noreply.github.com>"]}))
    environment = emergency(tmp_path, content=content.getvalue()).release.environment
    again = recompute(tmp_path / "evidence/cafe-live-1.zip", [SIGNER.public_pem])
    assert again.ok, explained(again)
    (owed,) = follow_up.owed(environment)
    run = run_after(environment, "cafe-live-1")
    follow_up.begin(run, owed)
    assert "bert" not in follow_up.asked(run, owed.debt, utc_now())
    assert follow_up.cast(run, owed.debt, vote("bert")) == "waiting"
    assert "wrote or asked for what is released" in run.recorded("retro_vote_refused")[-1].data["why"]


def test_a_vote_afterwards_is_named_at_once_by_the_count_that_follows_it(tmp_path):
    """So that whoever removes it, a rejection say, is noticed also where no anchor knows of it."""
    environment = emergency(tmp_path).release.environment
    (owed,) = follow_up.owed(environment)
    run = run_after(environment.model_copy(update={"anchor": None}), "cafe-live-1")
    follow_up.begin(run, owed)
    people = follow_up.asked(run, owed.debt, utc_now())
    assert follow_up.cast(run, owed.debt, vote(people[0], "reject", "why was nobody told?")) == "rejected"
    (counted,) = run.recorded("retro_tally")
    assert (counted.subject, counted.data["counted"], counted.data["decided"]) == ("1", [people[0]], "rejected")
    next(Path(str(run.ledger.release_folder("cafe-live-1"))).glob("*-retro_vote-*")).unlink()
    with pytest.raises(EvidenceInvalid, match="which was there when .*-retro_tally-1-"):
        run.records()


def test_whoever_stands_in_for_somebody_away_approves_afterwards_too(tmp_path):
    environment = emergency(tmp_path).release.environment
    (owed,) = follow_up.owed(environment)
    now = utc_now()
    gone = Absence(person="olga", start=now - timedelta(days=1), end=now + timedelta(days=1), delegate="dora")
    run = run_after(environment.model_copy(update={"absences": (gone,)}), "cafe-live-1")
    follow_up.begin(run, owed)
    people = follow_up.asked(run, owed.debt, now)
    assert "dora" in people and "olga" not in people
    assert follow_up.cast(run, owed.debt, vote("olga")) == "waiting"
    assert "declared absent" in run.recorded("retro_vote_refused")[-1].data["why"]
    said = [follow_up.cast(run, owed.debt, vote(person)) for person in people]
    assert "approved" in said
    assert any("dora for olga" in one.data["sentence"] for one in run.recorded(debts.PAID))
    follow_up.take_review(run, {**ANSWERS, "way_back": "not_used"}, "bert")
    assert follow_up.close(run) == ""
    again = recompute(tmp_path / "evidence/follow_up/cafe-live-1.zip", [SIGNER.public_pem])
    assert again.ok, explained(again)


def test_an_invented_approval_afterwards_is_not_believed(tmp_path):
    environment = emergency(tmp_path).release.environment
    run = run_after(environment, "cafe-live-1")
    run.record(debts.PAID, request="1")
    path = next(Path(str(run.ledger.release_folder("cafe-live-1"))).glob("*-retro_approved-*"))
    path.write_bytes(path.read_bytes().replace(b'"signature"', b'"signaturf"'))
    with pytest.raises(Exception, match="altered"):
        debts.debts_of(environment)


def test_a_changed_answer_is_named(tmp_path):
    flight = fly(tmp_path, "cafe-live-1", STANDARD, good=False)
    (owed,) = follow_up.owed(flight.release.environment)
    run = run_after(flight.release.environment, owed.release)
    follow_up.begin(run, owed)
    follow_up.take_review(run, ANSWERS, "olga")
    follow_up.close(run)
    with zipfile.ZipFile(tmp_path / "evidence/follow_up/cafe-live-1.zip") as pack:
        pack.extractall(tmp_path / "open")
    for path in (tmp_path / "open/records").glob("*review*"):
        path.write_bytes(path.read_bytes().replace(b"as_planned", b"with_surpr"))
    assert not recompute(tmp_path / "open", [SIGNER.public_pem]).ok


@pytest.mark.parametrize(
    ("states", "again", "wanted"),
    [
        ([], False, "after__r1"),
        ([RunState.ALIVE], True, ""),
        ([RunState.FAILED], False, ""),
        ([RunState.FAILED], True, "after__r1__2"),
        ([RunState.SUCCESS, RunState.FAILED], True, "after__r1__3"),
        ([RunState.FAILED, RunState.ALIVE], True, ""),
    ],
)
def test_one_run_at_a_time_asks_and_a_broken_one_is_followed_later(states, again, wanted):
    known = {f"after__r1{f'__{n}' if n > 1 else ''}": state for n, state in enumerate(states, start=1)}

    def state_of(dag, run):
        assert dag == RELEASE_DAG_ID
        return known.get(run, RunState.GONE)

    assert next_run(Owed(release="r1", review="x"), state_of, again) == wanted


def test_people_are_asked_anew_a_day_later(tmp_path):
    flight = fly(tmp_path, "cafe-live-1", STANDARD, good=False)
    run = run_after(flight.release.environment, "cafe-live-1")
    assert follow_up.may_ask_again(run, utc_now())
    follow_up.begin(run, follow_up.owed(flight.release.environment)[0])
    assert not follow_up.may_ask_again(run, utc_now() + timedelta(hours=23))
    assert follow_up.may_ask_again(run, utc_now() + timedelta(hours=25))
