"""Seats are filled as far as anybody could fill them, checked against trying every way."""

from __future__ import annotations

from itertools import product

from hypothesis import given
from hypothesis import strategies as st

from airlock.change.matching import largest_matching

MEMBERS = "abcd"
VOTERS = "abxy"
ALONE = {name: name for name in MEMBERS + VOTERS}
groups_of = st.lists(st.tuples(st.integers(1, 2), st.sets(st.sampled_from(MEMBERS))), min_size=1, max_size=3)
voters_of = st.dictionaries(st.sampled_from(VOTERS), st.sets(st.sampled_from(MEMBERS)).map(sorted), max_size=4)


def most_seats(groups, voters, people=ALONE):
    """Try every way to give each person one member's seat in one group, or none; *people*: whose name each is."""
    best = 0
    choices = [[None, *((p, m, n) for m in voters[p] for n in range(len(groups)) if m in groups[n][1])] for p in voters]
    for way in product(*choices):
        taken = [one for one in way if one is not None]
        if any(len({people[one[side]] for one in taken}) < len(taken) for side in (0, 1)):
            continue
        if all(sum(1 for *_, n in taken if n == number) <= seats for number, (seats, _) in enumerate(groups)):
            best = max(best, len(taken))
    return best


@given(groups=groups_of, voters=voters_of)
def test_as_many_seats_are_filled_as_any_way_fills(groups, voters):
    filled = largest_matching(groups, voters, ALONE)
    seats = [seat for one in filled for seat in one]
    assert len(seats) == most_seats(groups, voters)
    assert len({seat.person for seat in seats}) == len(seats), "a person sits once"
    assert len({seat.member for seat in seats}) == len(seats), "a member's seat is taken once"
    for (quorum, members), one in zip(groups, filled, strict=True):
        assert len(one) <= quorum
        assert all(seat.member in members and seat.member in voters[seat.person] for seat in one)


@given(groups=groups_of, voters=voters_of, twins=st.sets(st.sampled_from(("ab", "bc", "ax", "xy", "cd")), max_size=3))
def test_whoever_goes_by_several_names_sits_once_and_in_no_seat_that_the_name_has_not(groups, voters, twins):
    people = dict(ALONE)
    for one, other in sorted(twins):
        was = {people[one], people[other]}
        people.update({name: min(was) for name in people if people[name] in was})
    filled = largest_matching(groups, voters, people)
    seats = [seat for one in filled for seat in one]
    assert len(seats) == most_seats(groups, voters, people)
    assert len({people[seat.person] for seat in seats}) == len({people[seat.member] for seat in seats}) == len(seats)
    for (quorum, members), one in zip(groups, filled, strict=True):
        assert len(one) <= quorum
        assert all(seat.member in members and seat.member in voters[seat.person] for seat in one)


@given(groups=groups_of, voters=voters_of)
def test_the_order_of_voters_does_not_matter(groups, voters):
    backwards = dict(reversed(voters.items()))
    assert largest_matching(groups, voters, ALONE) == largest_matching(groups, backwards, ALONE)


def test_a_delegate_of_two_sits_once():
    groups = [(1, {"a"}), (1, {"b"})]
    assert [len(one) for one in largest_matching(groups, {"x": ("a", "b")}, ALONE)] == [1, 0]
    both = largest_matching(groups, {"x": ("a", "b"), "b": ("b",)}, ALONE)
    assert [[(seat.person, seat.member) for seat in one] for one in both] == [[("x", "a")], [("b", "b")]]
