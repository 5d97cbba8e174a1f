from __future__ import annotations

from datetime import UTC, datetime
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airlock.change.approval import check_vote, eligible, rules_for, tally
from airlock.errors import GateRefused, InvalidInput
from airlock.models import ApprovalRule, Rfc, Risk, Vote
from tests.service_data import environment

NOW = datetime(2026, 11, 24, tzinfo=UTC)
RULES = (
    ApprovalRule(group="board", quorum=2, members=("bert", "cleo", "olga")),
    ApprovalRule(group="service_owner", quorum=1, members=("olga",)),
)


def yes(*people):
    return [Vote(person=person, choice="approve", at=NOW) for person in people]


def no(person, reason):
    return Vote(person=person, choice="reject", at=NOW, reason=reason)


@pytest.mark.parametrize(
    ("votes", "requester", "decided"),
    [
        ([], "rita", "waiting"),
        (yes("bert", "cleo", "olga"), "rita", "approved"),
        (yes("olga", "bert", "cleo"), "rita", "approved"),
        (yes("olga", "bert"), "rita", "waiting"),
        (yes("bert", "bert", "bert", "olga"), "rita", "waiting"),
        (yes("bert", "cleo", "stranger"), "rita", "waiting"),
        (yes("bert", "cleo", "olga"), "olga", "waiting"),
        ([*yes("bert", "cleo", "olga"), no("cleo", "not today")], "rita", "rejected"),
        ([*yes("bert", "cleo", "olga"), no("stranger", "not today")], "rita", "approved"),
        ([*yes("bert", "cleo", "olga"), no("rita", "changed my mind")], "rita", "approved"),
        ([*yes("bert", "cleo", "olga"), no("cleo", " ")], "rita", "waiting"),
    ],
)
def test_tally(votes, requester, decided):
    assert tally(RULES, votes, requester).decided == decided


def test_a_tally_says_who_sits_where_and_what_is_missing():
    part = tally(RULES, yes("olga", "bert"), "rita")
    assert "lacks 1 of" in part.sentence
    whole = tally(RULES, yes("olga", "bert", "cleo"), "rita")
    assert whole.seats == {"board": ("bert", "cleo"), "service_owner": ("olga",)}
    assert "cleo rejected it: no tests" in tally(RULES, [no("cleo", "no tests")], "rita").sentence


def test_nobody_can_approve_without_rules():
    with pytest.raises(GateRefused):
        eligible((), "rita")
    with pytest.raises(GateRefused):
        tally((), yes("olga"), "rita")


def test_a_quorum_that_cannot_be_met_is_refused_before_anyone_is_asked():
    assert eligible(RULES, "rita") == ("bert", "cleo", "olga")
    with pytest.raises(GateRefused, match="service_owner lacks 1 of 1"):
        eligible(RULES, "olga")
    two_hats = (
        ApprovalRule(group="a", quorum=1, members=("olga",)),
        ApprovalRule(group="b", quorum=1, members=("olga",)),
    )
    with pytest.raises(GateRefused, match="lacks 1 of 1"):
        eligible(two_hats, "rita")


def test_votes_that_must_not_be_recorded():
    check_vote(RULES, yes("bert")[0], "rita")
    with pytest.raises(GateRefused, match="may not vote"):
        check_vote(RULES, yes("bert")[0], "bert")
    with pytest.raises(GateRefused, match="none of the groups"):
        check_vote(RULES, yes("stranger")[0], "rita")
    with pytest.raises(InvalidInput, match="without a reason"):
        check_vote(RULES, no("bert", ""), "rita")


@pytest.mark.parametrize("requester", ["olga", "OLGA", "0lga", "Olga"])
def test_an_account_that_looks_like_the_requesters_never_counts(requester):
    board = (ApprovalRule(group="board", quorum=2, members=("bert", "cleo", "olga")),)
    assert eligible(board, requester) == ("bert", "cleo")
    assert tally(board, yes("olga", "bert"), requester).decided == "waiting"
    with pytest.raises(GateRefused, match="may not vote"):
        check_vote(board, yes("olga")[0], requester)


@pytest.mark.parametrize("requester", ["olga@corp.example", "olga+git@corp.example", "CORP\\Olga", "x|olga"])
def test_the_requesters_other_accounts_never_count(requester):
    board = (ApprovalRule(group="board", quorum=2, members=("bert", "cleo", "olga")),)
    assert eligible(board, requester) == ("bert", "cleo")
    assert tally(board, yes("olga", "bert"), requester).decided == "waiting"
    with pytest.raises(GateRefused, match="may not vote"):
        check_vote(board, yes("olga")[0], requester)


@pytest.mark.parametrize("other", ["Olga", "olga@corp.example", "olga@other.example", "olga+two", "CORP\\olga"])
def test_two_accounts_of_one_person_fill_one_seat(other):
    board = (ApprovalRule(group="board", quorum=2, members=("bert", other, "olga")),)
    assert tally(board, yes("olga", other), "rita").decided == "waiting"
    assert tally(board, yes("olga", other, "bert"), "rita").decided == "approved"
    two = (ApprovalRule(group="board", quorum=2, members=(other, "olga")),)
    with pytest.raises(GateRefused, match="board lacks 1 of 2"):
        eligible(two, "rita")
    silent = [*yes("bert", other), no("olga", "")]
    assert tally(board, silent, "rita").decided == "waiting"


def test_nobody_gets_a_vote_because_a_name_resembles_a_members():
    for stranger in ("Bert", "bert@other.example", "bert+git", "Bert B. <bert@corp.example>"):
        with pytest.raises(GateRefused, match="in none of the groups"):
            check_vote(RULES, yes(stranger)[0], "rita")
        assert tally(RULES, yes(stranger, "cleo", "olga"), "rita").decided == "waiting"


PEOPLE = "abcde"
rules_of = st.lists(
    st.tuples(st.integers(1, 2), st.sets(st.sampled_from(PEOPLE), min_size=1)), min_size=1, max_size=3
).map(
    lambda rows: tuple(ApprovalRule(group=f"g{n}", quorum=q, members=tuple(sorted(m))) for n, (q, m) in enumerate(rows))
)


def can_fill(rules, people):
    """Try every way to give each person one group or none."""
    return any(
        all(
            sum(1 for person, seat in zip(people, seats, strict=True) if seat == n and person in rule.members)
            >= rule.quorum
            for n, rule in enumerate(rules)
        )
        for seats in product(range(-1, len(rules)), repeat=len(people))
    )


@given(
    rules=rules_of, voters=st.lists(st.sampled_from(PEOPLE + "xy"), max_size=7), requester=st.sampled_from(PEOPLE + "z")
)
def test_matching_agrees_with_trying_every_way(rules, voters, requester):
    result = tally(rules, yes(*voters), requester)
    people = sorted(set(voters) - {requester})
    assert (result.decided == "approved") == can_fill(rules, people)
    seated = [person for group in result.seats.values() for person in group]
    assert len(seated) == len(set(seated)) and requester not in seated and set(seated) <= set(voters)
    if result.decided == "approved":
        assert set(seated) <= set(eligible(rules, requester))


def test_rules_follow_level_and_standard_changes_need_nobody_below_their_limit(tmp_path):
    cafe = environment(tmp_path)

    def rfc(kind):
        return Rfc(
            service="cafe",
            environment="live",
            version="1",
            change_type=kind,
            title="t",
            reason="r",
            impact="i",
            rollback_plan="p",
            requester="rita",
        )

    def risk(score, level):
        return Risk(score=score, level=level, factors=())

    assert [rule.group for rule in rules_for(risk(80, "high"), rfc("normal"), cafe)] == ["board", "service_owner"]
    assert [rule.quorum for rule in rules_for(risk(80, "high"), rfc("emergency"), cafe)] == [2, 1]
    assert [rule.group for rule in rules_for(risk(10, "low"), rfc("normal"), cafe)] == ["service_owner"]
    assert rules_for(risk(60, "medium"), rfc("standard"), cafe) == ()
    with pytest.raises(GateRefused, match="risk 61 is above 60"):
        rules_for(risk(61, "medium"), rfc("standard"), cafe)
