"""Whatever JSON an address answers: counts of exactly the cluster that was asked for, or a sentence. Never a guess."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airlock.analysis.sources.envoy_counts import Counts, counts
from airlock.errors import NoData, TemporaryError

PREFIX = "cluster.shop_a."


def entry(name: str, value: Any, prefix: str = PREFIX) -> dict[str, Any]:
    return {"name": prefix + name, "value": value}


def histogram(buckets: Any, prefix: str = PREFIX) -> dict[str, Any]:
    return {"histograms": [{"name": prefix + "upstream_rq_time", "buckets": buckets}]}


TOTAL = entry("upstream_rq_total", 9)
RISING = [{"upper_bound": 1, "interval": 3, "cumulative": 3}, {"upper_bound": 2.5, "interval": 4, "cumulative": 7}]


def test_what_envoy_answers() -> None:
    answer = {
        "stats": [
            TOTAL,
            entry("upstream_rq_completed", 9),
            entry("upstream_rq_5xx", 2),
            histogram(RISING),
            entry("x", "y"),
        ]
    }
    found = counts(answer, "shop_a")
    assert found == Counts(requests=9, errors=2, buckets=((1.0, 3), (2.5, 7)))
    assert found.timed == 7
    assert counts({"stats": [TOTAL]}, "shop_a") == Counts()


@pytest.mark.parametrize(
    "value", [-1, 1.5, 5.0, "12", "NaN", None, True, [], {}, 10**13, 10**400, float("inf"), float("nan")]
)
@pytest.mark.parametrize("name", ["upstream_rq_completed", "upstream_rq_5xx"])
def test_a_value_that_is_no_count_is_an_error(name: str, value: Any) -> None:
    with pytest.raises(TemporaryError, match="are no counts"):
        counts({"stats": [TOTAL, entry(name, value)]}, "shop_a")


@pytest.mark.parametrize(
    "buckets",
    [
        [{"upper_bound": 1}],
        [{"cumulative": 1}],
        [{"upper_bound": 1, "cumulative": -1}],
        [{"upper_bound": 1, "cumulative": 1.5}],
        [{"upper_bound": float("nan"), "cumulative": 1}],
        [{"upper_bound": float("inf"), "cumulative": 1}],
        [{"upper_bound": -1, "cumulative": 1}],
        [3],
        "rubbish",
        None,
    ],
)
def test_a_histogram_of_rubbish_is_an_error(buckets: Any) -> None:
    with pytest.raises(TemporaryError, match=r"are no counts|another shape"):
        counts({"stats": [TOTAL, histogram(buckets)]}, "shop_a")


@pytest.mark.parametrize("twice", [TOTAL, entry("upstream_rq_completed", 3), entry("upstream_rq_5xx", 0)])
def test_two_values_for_one_name_are_no_value(twice: dict[str, Any]) -> None:
    with pytest.raises(NoData, match=f"{twice['name']} has several values"):
        counts({"stats": [TOTAL, twice, twice]}, "shop_a")
    with pytest.raises(NoData, match="several values"):
        counts({"stats": [TOTAL, histogram(RISING), histogram(RISING)]}, "shop_a")


def test_numbers_of_another_cluster_are_not_taken() -> None:
    stranger = [
        entry("upstream_rq_completed", 500, prefix)
        for prefix in ("cluster.shop_b.", "cluster.shop_a.x.", "shop_a.", "")
    ]
    answer = {"stats": [TOTAL, *stranger, histogram(RISING, "cluster.shop_b.")]}
    assert counts(answer, "shop_a") == Counts()
    with pytest.raises(NoData, match=r"cluster\.shop_c\.upstream_rq_total has no value"):
        counts(answer, "shop_c")


@pytest.mark.parametrize(
    "answer", [None, [], "x", 3, {}, {"stats": None}, {"stats": {}}, {"stats": [None]}, {"stats": [[]]}]
)
def test_another_shape_is_an_error(answer: Any) -> None:
    with pytest.raises(TemporaryError, match="another shape"):
        counts(answer, "shop_a")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["stats", "name", "value", "histograms", "buckets", "upper_bound", "cumulative"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)
ENTRIES = st.lists(
    st.builds(entry, st.sampled_from(["upstream_rq_total", "upstream_rq_completed", "upstream_rq_5xx"]), JSON)
    | st.builds(histogram, JSON)
    | JSON,
    max_size=6,
)


@given(JSON | st.builds(lambda entries: {"stats": entries}, ENTRIES))
def test_any_json_is_counts_or_a_temporary_error(answer: Any) -> None:
    try:
        found = counts(answer, "shop_a")
    except TemporaryError as error:
        assert str(error)
        return
    assert found.requests >= 0
    assert found.errors >= 0
    assert PREFIX + "upstream_rq_total" in str(answer)
