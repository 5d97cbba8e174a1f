"""Who may sit in whose seat while people are away, and when enough of them are back."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airlock.change.absence import attendance, relevant
from airlock.change.approval import check_vote, stands_for, tally
from airlock.errors import GateRefused
from airlock.models import Absence, ApprovalRule, Vote

NOW = datetime(2026, 12, 24, 12, tzinfo=UTC)
DAY = timedelta(days=1)
RULES = (
    ApprovalRule(group="board", quorum=2, members=("bert", "cleo", "olga")),
    ApprovalRule(group="service_owner", quorum=1, members=("olga",)),
)


def away(person: str, begin: float, end: float, delegate: str | None = None) -> Absence:
    return Absence(person=person, start=NOW + begin * DAY, end=NOW + end * DAY, delegate=delegate)


def vote(person: str, *stands_for: str, choice: str = "approve", reason: str = "", at: datetime = NOW) -> Vote:
    return Vote(person=person, choice=choice, at=at, reason=reason, stands_for=stands_for)


def test_everybody_is_there():
    seen = attendance(RULES, "rita", (), NOW)
    assert (seen.code, seen.people) == ("present", ("bert", "cleo", "olga"))


def test_a_delegate_is_asked_in_the_place_of_who_is_away():
    seen = attendance(RULES, "rita", (away("olga", -1, 5, "dora"),), NOW)
    assert (seen.code, seen.people) == ("present", ("bert", "cleo", "dora"))
    assert "olga is away until Tue 29 Dec 2026 12:00 UTC, dora decides meanwhile" in seen.sentence


def test_too_few_names_who_is_away_and_when_enough_are_back():
    absences = (away("olga", -1, 5), away("bert", -1, 9), away("cleo", 6, 7))
    seen = attendance(RULES, "rita", absences, NOW)
    assert seen.code == "approver_absent"
    assert "olga is away until" in seen.sentence
    assert "service_owner would lack 1 of 1" in seen.sentence
    assert seen.back == (NOW + 9 * DAY,), "olga alone is not enough, and cleo is away in between"


def test_when_enough_are_back_in_the_end_nobody_knows_is_said():
    seen = attendance(RULES, "rita", (away("olga", -1, 5, "rita"),), NOW)
    assert seen.code == "approver_absent", "the requester is nobody's delegate here"
    assert seen.back == (NOW + 5 * DAY,)


@pytest.mark.parametrize(
    ("cast", "absences", "sentence"),
    [
        (vote("olga"), (away("olga", -1, 5, "dora"),), "olga is declared absent until.*dora decides meanwhile"),
        (vote("dora", "olga"), (away("olga", 1, 5, "dora"),), "would stand in for olga, but .* stands in for nobody"),
        (vote("dora", "olga"), (away("olga", -1, 0, "dora"),), "stands in for nobody"),
        (vote("dora"), (), "dora is in none of the groups"),
        (vote("dora"), (away("olga", -1, 5, "dora"),), "stands in for olga"),
        (vote("rita", "olga"), (away("olga", -1, 5, "rita"),), "may not vote"),
        (vote("Rita", "olga"), (away("olga", -1, 5, "Rita"),), "may not vote"),
    ],
)
def test_votes_that_do_not_count(cast, absences, sentence):
    with pytest.raises(GateRefused, match=sentence):
        check_vote(RULES, cast, "rita", absences)


def test_a_delegate_sits_in_one_seat_and_the_member_cannot_sit_there_too():
    absences = (away("olga", -1, 5, "dora"),)
    check_vote(RULES, vote("dora", "olga"), "rita", absences)
    one = tally(RULES, [vote("dora", "olga"), vote("bert")], "rita")
    assert one.decided == "waiting"
    both = tally(RULES, [vote("dora", "olga"), vote("olga", at=NOW + 6 * DAY), vote("bert")], "rita")
    assert both.decided == "waiting", "olga's one seat is taken once, by her or by dora"
    whole = tally(RULES, [vote("dora", "olga"), vote("bert"), vote("cleo")], "rita")
    assert whole.decided == "approved"
    assert "dora for olga" in whole.sentence


def test_a_delegate_cannot_sit_for_the_requester():
    assert stands_for(RULES, "dora", "olga", NOW, (away("olga", -1, 5, "dora"),)) == ()
    assert tally(RULES, [vote("dora", "olga"), vote("bert"), vote("cleo")], "olga").decided == "waiting"


def test_what_matters_is_kept_and_what_is_over_is_not():
    absences = (away("olga", -9, -1), away("cleo", 3, 4, "dora"), away("stranger", -1, 9), away("dora", 5, 6))
    assert [one.person for one in relevant(absences, RULES, NOW)] == ["cleo", "dora"]


def test_one_delegate_under_two_names_fills_one_seat():
    board = (ApprovalRule(group="board", quorum=2, members=("bert", "cleo", "olga")),)
    absences = (away("bert", -1, 5, "dan"), away("cleo", -1, 5, "Dan"))
    both = [vote("dan", "bert"), vote("Dan", "cleo")]
    for cast in both:
        check_vote(board, cast, "rita", absences)
    assert tally(board, both, "rita").decided == "waiting"
    assert tally(board, [*both, vote("olga")], "rita").decided == "approved"
    seen = attendance((board[0].model_copy(update={"quorum": 3}),), "rita", absences, NOW)
    assert seen.code == "approver_absent", "three seats are not filled by olga and dan"


def test_two_delegates_do_not_fill_two_seats_of_one_member_of_two_names():
    board = (ApprovalRule(group="board", quorum=2, members=("bert", "Bert", "cleo")),)
    both = [vote("dora", "bert"), vote("elsa", "Bert")]
    assert tally(board, both, "rita").decided == "waiting"
    assert tally(board, [*both, vote("cleo")], "rita").decided == "approved"


def test_nobody_stands_in_for_themselves_or_votes_while_away_under_another_name():
    absences = (away("olga", -1, 5, "olga@corp.example"), away("Bert", -1, 5))
    assert stands_for(RULES, "olga@corp.example", "rita", NOW, absences) == ()
    with pytest.raises(GateRefused, match="declared absent"):
        check_vote(RULES, vote("bert"), "rita", absences)
    assert [one.person for one in relevant(absences, RULES, NOW)] == ["Bert", "olga"]
    assert attendance(RULES, "rita", absences, NOW).people == ("cleo",)


PEOPLE = ("bert", "cleo", "olga", "dora", "rita")
some = st.builds(
    away, st.sampled_from(PEOPLE), st.floats(-9, 0), st.floats(0.1, 9), st.none() | st.sampled_from(PEOPLE)
)


@given(absences=st.lists(some, max_size=4), people=st.permutations(PEOPLE), requester=st.sampled_from(PEOPLE))
def test_whatever_the_absences_the_requester_never_sits_and_nobody_sits_twice(absences, people, requester):
    votes = []
    for person in people:
        cast = vote(person, *stands_for(RULES, person, requester, NOW, absences))
        try:
            check_vote(RULES, cast, requester, absences)
        except GateRefused:
            continue
        votes.append(cast)
    result = tally(RULES, votes, requester)
    seated = [person for group in result.seats.values() for person in group]
    assert requester not in seated
    assert len(seated) == len(set(seated))
    assert result == tally(RULES, votes[::-1], requester), "the order of votes does not matter"
    try:
        seen = attendance(RULES, requester, absences, NOW)
    except GateRefused:
        assert result.decided == "waiting"
        return
    assert {one.person for one in votes} == set(seen.people), "who is asked is whose vote counts"
    assert (seen.code == "present") == (result.decided == "approved")
