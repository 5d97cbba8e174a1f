from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from airlock.schedule.drill import DrillPoint, chosen

DAY = datetime(2026, 11, 1, tzinfo=UTC)
POINTS = [DrillPoint(id=f"p{day}", resource="logs.files", taken_at=DAY + timedelta(days=day)) for day in range(10)]


@given(st.integers(1, 4), st.integers(0, 12), st.text(max_size=20), st.randoms())
def test_the_newest_and_as_many_older_ones_by_a_lot_that_can_be_drawn_again(newest, random, seed, chance):
    found = chosen(POINTS, newest, random, seed)
    assert found[:newest] == tuple(f"p{9 - number}" for number in range(newest))
    assert len(found) == len(set(found)) == newest + min(random, 10 - newest)
    shuffled = list(POINTS)
    chance.shuffle(shuffled)
    assert chosen(shuffled, newest, random, seed) == found


def test_every_older_point_is_drawn_in_the_long_run():
    drawn = Counter(chosen(POINTS, 1, 1, f"drill-{number}")[1] for number in range(400))
    assert set(drawn) == {f"p{day}" for day in range(9)}
    assert max(drawn.values()) < 90
