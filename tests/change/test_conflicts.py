"""Which releases touch the same thing, and the next free times: by table, and by properties."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airlock.change.conflicts import UNDER_WAY, WAITS, OpenChange, conflicts, free_slots

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


def change(name: str, *touches: str, state: str = WAITS, since: float = -1, until: float | None = None) -> OpenChange:
    ends = None if until is None else NOW + until * HOUR
    return OpenChange(service=name, environment="prod", release=f"{name}-1", version="2.0", state=state,
                      since=NOW + since * HOUR, until=ends, touches=touches)


@pytest.mark.parametrize(
    ("own", "theirs", "shared"),
    [
        (["postgresql://db:5432/shop"], ["postgresql://db:5432/shop"], ["postgresql://db:5432/shop"]),
        (["postgresql://db:5432/shop"], ["postgresql://db:5432/shop2"], []),
        (["postgresql://db:5432/shop"], ["postgresql://db:5433/shop"], []),
        (["file:///srv/uploads"], ["file:///srv/uploads/logo.png"], ["file:///srv/uploads/logo.png"]),
        (["file:///srv/uploads/logo.png"], ["file:///srv/uploads"], ["file:///srv/uploads"]),
        (["file:///srv/uploads"], ["file:///srv/uploads-old"], []),
        (["file:///srv/a"], ["file:///srv/b"], []),
        (["vault://v:8200/secret"], ["vault://v:8200/secret/shop"], ["vault://v:8200/secret/shop"]),
        (['driver:x:{"path":"/a"}'], ['driver:x:{"path":"/a"}'], ['driver:x:{"path":"/a"}']),
        ([], ["file:///srv"], []),
    ],
)
def test_what_touches_what(own, theirs, shared):
    found = conflicts(own, "me-1", [change("other", *theirs)])
    assert [list(one.shared) for one in found] == ([shared] if shared else [])


def test_those_under_way_come_first_and_the_release_itself_does_not_count():
    others = [change("late", "file:///a", since=-1), change("early", "file:///a", since=-9),
              change("busy", "file:///a", state=UNDER_WAY, until=2), change("me", "file:///a")]
    found = conflicts(["file:///a"], "me-1", others)
    assert [one.service for one in found] == ["busy", "early", "late"]
    assert "busy-1 (busy 2.0 to prod) under way since Tue 24 Nov 2026 11:00 UTC" in found[0].sentence
    assert "expected to end at Tue 24 Nov 2026 14:00 UTC and touches file:///a" in found[0].sentence


parts = st.lists(st.sampled_from(["a", "b", "ab", "srv"]), min_size=1, max_size=3)
identity = st.builds(
    lambda scheme, path: f"{scheme}://host:1/{'/'.join(path)}", st.sampled_from(["file", "vault"]), parts
)
touched = st.lists(identity, max_size=4)


@given(one=touched, other=touched)
def test_a_conflict_is_one_for_both(one, other):
    first = conflicts(one, "a-1", [change("b", *other)])
    second = conflicts(other, "b-1", [change("a", *one)])
    assert bool(first) == bool(second)
    inside = any(x == y or x.startswith(f"{y}/") or y.startswith(f"{x}/") for x in one for y in other)
    assert bool(first) == inside


def span(begin: float, end: float):
    return (NOW + begin * HOUR, NOW + end * HOUR)


def test_the_next_three_free_times_and_why_earlier_ones_are_refused():
    holders = conflicts(["file:///a"], "me-1", [change("busy", "file:///a", state=UNDER_WAY, until=5)])
    spans = [span(-1, 2), span(4, 8), span(10, 12), span(20, 22), span(30, 31)]
    closed = [(span(2, 4), "frozen party"), (span(8, 10), "outside_window"), (span(22, 30), "outside_window")]
    slots = free_slots(spans, closed, holders, NOW)
    assert slots.free == (span(5, 8), span(10, 12), span(20, 22))
    assert [one for one, _ in slots.refused] == [span(0, 2), span(2, 4), span(4, 5), span(8, 10)]
    lines = slots.lines()
    assert lines[0].startswith("not Tue 24 Nov 2026 12:00 to Tue 24 Nov 2026 14:00 UTC: busy-1")
    assert lines[1].endswith("frozen party")
    assert lines[3].startswith("free: ")


def test_whoever_only_waits_or_is_overdue_keeps_no_time_closed():
    others = [change("waits", "file:///a"), change("overdue", "file:///a", state=UNDER_WAY, until=-1)]
    found = conflicts(["file:///a"], "me-1", others)
    assert free_slots([span(0, 2)], (), found, NOW).free == (span(0, 2),)


spans_of = st.lists(st.tuples(st.floats(0.1, 5), st.floats(0.1, 5)), max_size=6)


@given(gaps=spans_of, holders=st.lists(st.floats(-5, 40), max_size=4), count=st.integers(1, 4))
def test_free_times_lie_in_open_ones_after_every_holder(gaps, holders, count):
    spans, at = [], -2.0
    for gap, length in gaps:
        spans.append(span(at + gap, at + gap + length))
        at += gap + length
    found = conflicts(["file:///a"], "me-1", [
        change(f"h{n}", "file:///a", state=UNDER_WAY, until=until) for n, until in enumerate(holders)
    ])
    slots = free_slots(spans, (), found, NOW, count)
    assert len(slots.free) <= count
    for begin, end in slots.free:
        assert begin < end and begin >= NOW
        assert any(start <= begin and end == stop for start, stop in spans)
        assert all(begin >= NOW + until * HOUR for until in holders)
