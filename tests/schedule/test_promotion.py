"""What a cycle takes and what a rollback returns to, from promotions alone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airlock.schedule.promotion import (
    Candidate,
    Hint,
    NothingNew,
    NoWayBack,
    Promotion,
    WayBack,
    candidate,
    hints_of,
    version_before,
)

DAY = datetime(2026, 11, 1, tzinfo=UTC)


def released(number: int, version: str, came_from: str, undoes: int | None = None) -> Promotion:
    return Promotion(
        version=version, digest=f"sha256:{version}", at=DAY + timedelta(days=number), release=f"r{number}",
        came_from=came_from, came_from_digest=f"sha256:{came_from}", undoes=None if undoes is None else f"r{undoes}",
    )  # fmt: skip


ONE, TWO, THREE = released(1, "1.1", "1.0"), released(2, "1.2", "1.1"), released(3, "1.3", "1.2")


@pytest.mark.parametrize(
    ("promotions", "stable", "expected"),
    [
        ([], "1.0", "no release on record"),
        ([ONE], "1.1", "1.0"),
        ([TWO, ONE], "1.2", "1.1"),
        ([ONE, TWO, released(3, "1.1", "1.2", undoes=2)], "1.1", "1.0"),
        ([ONE, released(2, "1.0", "1.1", undoes=1)], "1.0", "no release on record"),
        ([ONE, TWO, released(3, "1.0", "1.2", undoes=1)], "1.0", "no release on record"),
        ([ONE, TWO, released(3, "1.1", "1.2", undoes=2), released(4, "1.3", "1.1")], "1.3", "1.1"),
        ([ONE, TWO], "1.9", "somebody released past Airlock"),
        ([ONE.model_copy(update={"came_from_digest": ""})], "1.1", "is not on record"),
        ([ONE, TWO.model_copy(update={"came_from_digest": ""})], "1.2", "1.1"),
    ],
)
def test_the_version_before(promotions, stable, expected):
    found = version_before(promotions, stable)
    if isinstance(found, WayBack):
        assert (found.version, found.digest) == (expected, f"sha256:{expected}")
    else:
        assert isinstance(found, NoWayBack)
        assert expected in found.sentence


@given(st.lists(st.booleans(), max_size=30))
def test_going_back_walks_the_releases_in_reverse_however_both_are_mixed(moves):
    stack, on_record = ["v0"], []
    for number, forward in enumerate(moves):
        found = version_before(on_record, stack[-1])
        if forward:
            on_record.append(released(number, f"v{number + 1}", stack[-1]))
            stack.append(f"v{number + 1}")
        elif len(stack) == 1:
            assert isinstance(found, NoWayBack)
        else:
            assert isinstance(found, WayBack)
            left = stack.pop()
            assert found.version == stack[-1]
            on_record.append(
                released(number, found.version, left).model_copy(update={"undoes": found.undoes})
            )


@pytest.mark.parametrize(
    ("before", "here", "hints", "expected"),
    [
        ([ONE], [], [Hint(version="1.1", digest="sha256:1.1")], "1.1"),
        ([ONE, TWO], [], [Hint(version="1.1", digest="sha256:1.1")], "1.1"),
        ([ONE, TWO], [], [Hint(version=v, digest=f"sha256:{v}") for v in ("1.1", "1.2")], "1.2"),
        ([ONE], [], [Hint(version="6.6", digest="sha256:6.6")], "of which nothing stands as promoted"),
        ([ONE], [], [Hint(version="1.1", digest="sha256:evil")], "of which nothing stands as promoted"),
        ([ONE], [], [], "the event names nothing"),
        ([ONE, released(2, "1.0", "1.1", undoes=1)], [], [Hint(version="1.1", digest="sha256:1.1")], "nothing stands"),
        ([ONE, released(2, "1.0", "1.1", undoes=1)], [], None, "nothing was promoted"),
        ([ONE], [ONE, released(2, "1.0", "1.1", undoes=1)], None, "was rolled back here"),
        ([ONE, TWO], [ONE, released(2, "1.0", "1.1", undoes=1)], None, "1.2"),
        ([ONE], [ONE, released(2, "1.0", "1.1", undoes=1).model_copy(update={"train": "weekly-1"})], None, "1.1"),
    ],
)
def test_only_what_stands_in_the_environment_before_is_taken(before, here, hints, expected):
    chosen = candidate(before, here, (), hints)
    if isinstance(chosen, Candidate):
        assert chosen.version == expected
    else:
        assert isinstance(chosen, NothingNew)
        assert expected in chosen.sentence


@pytest.mark.campaign
@given(st.lists(st.recursive(st.none() | st.text() | st.integers(), lambda x: st.dictionaries(st.text(), x))))
def test_what_strangers_write_into_events_never_breaks_and_never_releases(extras):
    assert not isinstance(candidate([ONE], [], (), hints_of(extras)), Candidate)


def test_a_hint_is_read():
    assert hints_of([{"version": "1.1", "digest": "sha256:1.1", "more": 1}, {"version": 3}, None]) == (
        Hint(version="1.1", digest="sha256:1.1"),
    )
