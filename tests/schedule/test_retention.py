"""What a retention policy keeps, by table and by property."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airlock.schedule.retention import KeptPoint, fates
from airlock.service.model import RetentionPolicy

NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)


def policy(**terms) -> RetentionPolicy:
    return RetentionPolicy(cron="0 3 * * *", **{"days": 3, "newest": 1, **terms})


def point(days: float, proved: bool = True, open_change: bool = False, resource: str = "databases.db") -> KeptPoint:
    return KeptPoint(id=f"{resource}-{days:g}", resource=resource, taken_at=NOW - timedelta(days=days), proved=proved,
                     open_change=open_change)


def kept(terms: RetentionPolicy, *points: KeptPoint) -> list[float]:
    return [float(fate.id.rpartition("-")[2]) for fate in fates(terms, points, NOW) if fate.keep]


@pytest.mark.parametrize(
    ("terms", "points", "expected"),
    [
        ({}, [point(1), point(2), point(3), point(4), point(400)], [1, 2, 3]),
        ({}, [point(40), point(400)], [40]),
        ({}, [point(40, proved=False), point(400)], [400]),
        ({}, [point(40, proved=False), point(400, proved=False)], [40, 400]),
        ({}, [point(1), point(40, open_change=True)], [1, 40]),
        ({"newest": 3}, [point(40), point(41, proved=False), point(42), point(43), point(44)], [40, 42, 43]),
        ({"monthly": 2}, [point(10), point(11), point(40), point(41), point(80)], [10, 40]),
        ({"monthly": 2}, [point(10, proved=False), point(11), point(40), point(80)], [11, 40]),
        ({"weekly": 3}, [point(5), point(6), point(12), point(13), point(19), point(26)], [5, 12, 19]),
        ({}, [], []),
    ],
)
def test_what_is_kept(terms, points, expected):
    assert kept(policy(**terms), *points) == expected


def test_each_resource_has_a_last_good_one_of_its_own():
    found = fates(policy(), [point(1), point(400, resource="logs.files")], NOW)
    assert all(fate.keep for fate in found)
    assert "last good one" in found[1].why


points = st.lists(
    st.builds(point, st.floats(0, 900), st.booleans(), st.booleans(), st.sampled_from(["a.x", "b.y"])),
    max_size=25, unique_by=lambda one: one.id,
)  # fmt: skip
policies = st.builds(policy, days=st.floats(0.1, 400), newest=st.integers(1, 5), weekly=st.integers(0, 5),
                     monthly=st.integers(0, 5))


@given(policies, points, st.randoms())
def test_nothing_that_must_stay_ever_goes(terms, given_points, chance):
    found = {fate.id: fate for fate in fates(terms, given_points, NOW)}
    assert set(found) == {one.id for one in given_points}
    for resource in {one.resource for one in given_points}:
        mine = [one for one in given_points if one.resource == resource]
        good = [one for one in mine if one.proved]
        newest_good = max(good, key=lambda one: (one.taken_at, one.id)) if good else None
        assert newest_good is None or found[newest_good.id].keep
        assert newest_good is not None or all(found[one.id].keep for one in mine)
        assert all(found[one.id].keep for one in mine if one.open_change)
        assert all(found[one.id].keep for one in mine if NOW - one.taken_at <= timedelta(days=terms.days))
    shuffled = list(given_points)
    chance.shuffle(shuffled)
    assert fates(terms, shuffled, NOW) == tuple(found.values())


@given(policies, points)
def test_expiring_twice_changes_nothing_more(terms, given_points):
    stay = {fate.id for fate in fates(terms, given_points, NOW) if fate.keep}
    left = [one for one in given_points if one.id in stay]
    assert all(fate.keep for fate in fates(terms, left, NOW))
