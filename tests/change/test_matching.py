"""Seats are filled as far as anybody could fill them, checked against trying every way."""

from __future__ import annotations

from itertools import product

from hypothesis import given
from hypothesis import strategies as st

from airlock.change.matching import largest_matching

MEMBERS = "abcd"
VOTERS = "abxy"
groups_of = st.lists(st.tuples(st.integers(1, 2), st.sets(st.sampled_from(MEMBERS))), min_size=1, max_size=3)
voters_of = st.dictionaries(st.sampled_from(VOTERS), st.sets(st.sampled_from(MEMBERS)).map(sorted), max_size=4)


def most_seats(groups, voters):
    """Try every way to give each person one member's seat in one group, or none."""
    people = sorted(voters)
    best = 0
    choices = [[None, *((m, n) for m in voters[p] for n in range(len(groups)) if m in groups[n][1])] for p in people]
    for way in product(*choices):
        taken = [one for one in way if one is not None]
        if len({member for member, _ in taken}) < len(taken):
            continue
        if all(sum(1 for _, n in taken if n == number) <= seats for number, (seats, _) in enumerate(groups)):
            best = max(best, len(taken))
    return best


@given(groups=groups_of, voters=voters_of)
def test_as_many_seats_are_filled_as_any_way_fills(groups, voters):
    filled = largest_matching(groups, voters)
    seats = [seat for one in filled for seat in one]
    assert len(seats) == most_seats(groups, voters)
    assert len({seat.person for seat in seats}) == len(seats), "a person sits once"
    assert len({seat.member for seat in seats}) == len(seats), "a member's seat is taken once"
    for (quorum, members), one in zip(groups, filled, strict=True):
        assert len(one) <= quorum
        assert all(seat.member in members and seat.member in voters[seat.person] for seat in one)


@given(groups=groups_of, voters=voters_of)
def test_the_order_of_voters_does_not_matter(groups, voters):
    backwards = dict(reversed(voters.items()))
    assert largest_matching(groups, voters) == largest_matching(groups, backwards)


def test_a_delegate_of_two_sits_once():
    groups = [(1, {"a"}), (1, {"b"})]
    assert [len(one) for one in largest_matching(groups, {"x": ("a", "b")})] == [1, 0]
    both = largest_matching(groups, {"x": ("a", "b"), "b": ("b",)})
    assert [[(seat.person, seat.member) for seat in one] for one in both] == [[("x", "a")], [("b", "b")]]
