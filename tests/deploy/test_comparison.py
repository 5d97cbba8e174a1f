"""Values beside what they should be: whatever comes, only what fits passes, and nothing of it is kept."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airlock.deploy.comparison import Comparison, Relation, relation

BOUNDS = st.one_of(st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.text(max_size=9))
VALUES = st.one_of(st.none(), BOUNDS, st.decimals(), st.floats(), st.lists(st.integers(), max_size=2), st.binary())


def fits(options: dict[str, Any], value: Any) -> bool:
    comparison = Comparison.model_validate(options)
    return not list(comparison.faults(comparison.relations(value)))


@given(BOUNDS)
def test_a_value_equals_itself_and_is_not_other_than_itself(bound: Any) -> None:
    assert fits({"equals": bound}, bound)
    assert not fits({"not_equals": bound}, bound)


@given(st.integers(-(10**30), 10**30), st.integers(-(10**30), 10**30))
def test_numbers_of_any_size_are_compared_exactly(value: int, bound: int) -> None:
    assert fits({"at_least": bound}, value) == (value >= bound)
    assert fits({"at_most": bound}, Decimal(value)) == (value <= bound)
    assert fits({"equals": bound}, value) == (value == bound)


@given(VALUES, BOUNDS)
def test_no_value_fits_nothing_and_nothing_fits_both_sides(value: Any, bound: Any) -> None:
    found = relation(value, bound)
    assert (found is Relation.MISSING) == (value is None)
    equal, other = fits({"equals": bound}, value), fits({"not_equals": bound}, value)
    assert not (equal and other)
    assert (equal or other) == (value is not None)


@given(VALUES, st.integers())
def test_only_numbers_have_an_order(value: Any, bound: int) -> None:
    number = isinstance(value, int | float | Decimal) and not isinstance(value, bool)
    ordered = number and Decimal(repr(value) if isinstance(value, float) else value).is_finite()
    assert (fits({"at_least": bound}, value) or fits({"at_most": bound}, value)) == ordered


@given(st.text(min_size=12, max_size=40), BOUNDS)
def test_what_is_kept_of_a_value_is_one_word(value: str, bound: Any) -> None:
    comparison = Comparison(equals=bound)
    assert json.dumps(comparison.relations(value)) in ('{"equals": "equal"}', '{"equals": "different"}')


@pytest.mark.parametrize(
    ("value", "bound", "found"),
    [(True, 1, "different"), (1, True, "different"), (1.0, 1, "equal"), (Decimal("0.10"), 0.1, "equal"),
     ("1", 1, "different"), (1, "1", "different"), (float("nan"), 0, "different"),
     (Decimal("Infinity"), 0, "different"), (10**400, 1, "more"), (Decimal("1E+999999"), 1e308, "more"),
     (None, "None", "missing")],
)  # fmt: skip
def test_what_only_looks_alike_is_different(value: Any, bound: Any, found: str) -> None:
    assert relation(value, bound) == found


def test_a_relation_that_was_not_kept_fits_nothing() -> None:
    assert list(Comparison(equals=1).faults({})) == ["must be equal to 1 and is missing"]
    assert list(Comparison().faults({})) == ["must be there and is missing"]
