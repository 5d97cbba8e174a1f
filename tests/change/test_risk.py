from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airlock.change.risk import assess, level_of
from airlock.models import Rfc
from tests.service_data import environment

TUESDAY_NOON = datetime(2026, 11, 24, 11, tzinfo=UTC)


@pytest.fixture(scope="module")
def cafe(tmp_path_factory):
    return environment(tmp_path_factory.mktemp("cafe"))


def request(version="1.1", change_type="normal", impact="low: x", **more):
    return Rfc(
        service="cafe",
        environment="live",
        version=version,
        change_type=change_type,
        title="t",
        reason="r",
        impact=impact,
        rollback_plan="p",
        requester="rita",
        **more,
    )


def points(risk):
    return {factor.name: factor.points for factor in risk.factors}


@pytest.mark.parametrize(
    ("score", "level"), [(0, "low"), (39, "low"), (40, "medium"), (69, "medium"), (70, "high"), (100, "high")]
)
def test_levels(score, level):
    assert level_of(score) == level


def test_score_is_the_sum_of_factors_and_each_has_a_reason(cafe):
    risk = assess(request(), cafe, {"now": TUESDAY_NOON, "current_version": "1.0"})
    assert risk.score == sum(points(risk).values()) == 15 + 0 + 10 + 0 + 0 + 1 + 5
    assert all(factor.reason for factor in risk.factors)


@pytest.mark.parametrize(
    ("current", "wanted", "expected"),
    [
        ("1.0", "1.0.1", 0),
        ("1.0", "1.1", 5),
        ("1.9", "2.0", 15),
        ("1.1", "1.0", 15),
        (None, "1.0", 15),
        ("main", "1.0", 15),
    ],
)
def test_artifact_jump(cafe, current, wanted, expected):
    risk = assess(request(version=wanted), cafe, {"now": TUESDAY_NOON, "current_version": current})
    assert points(risk)["artifact jump"] == expected


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        (TUESDAY_NOON, 0),
        (datetime(2026, 11, 22, 11, tzinfo=UTC), 10),
        (datetime(2026, 11, 24, 6, 59, tzinfo=UTC), 10),
        (datetime(2026, 11, 24, 7, 0, tzinfo=UTC), 0),
        (datetime(2026, 11, 24, 17, 0, tzinfo=UTC), 10),
        (None, 10),
    ],
)
def test_hours_are_local_to_the_calendar(cafe, now, expected):
    assert points(assess(request(), cafe, {"now": now, "current_version": "1.0"}))["hours"] == expected


def test_a_later_start_counts_instead_of_now(cafe):
    late = request(start_after=datetime(2026, 11, 28, 11, tzinfo=UTC))
    assert points(assess(late, cafe, {"now": TUESDAY_NOON}))["hours"] == 10


def test_history_counts_when_it_is_known(cafe):
    assert "history" not in points(assess(request(), cafe, {"now": TUESDAY_NOON}))
    assert points(assess(request(), cafe, {"now": TUESDAY_NOON, "failed_of_last": (2, 5)}))["history"] == 10


@given(
    kind=st.sampled_from(["standard", "normal", "emergency"]),
    impact=st.text(max_size=20),
    version=st.from_regex(r"\A[0-9A-Za-z][0-9A-Za-z.+_-]{0,30}\Z"),
    failed=st.integers(0, 50),
)
def test_score_stays_within_bounds_and_missing_facts_never_lower_it(cafe, kind, impact, version, failed):
    known = {"now": TUESDAY_NOON, "current_version": "1.0", "failed_of_last": (failed, 50)}
    full = assess(request(version, kind, impact), cafe, known)
    blind = assess(request(version, kind, impact), cafe, {"failed_of_last": (failed, 50)})
    assert 0 <= full.score <= blind.score <= 100
