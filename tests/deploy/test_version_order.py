"""Which version is newer, by names of any scheme."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airlock.deploy.version_order import newest_first, order


@pytest.mark.parametrize(
    "rising",
    [
        ("1.0-alpha", "1.0-alpha.1", "1.0-beta.2", "1.0-beta.11", "1.0-rc.1", "1.0"),  # semantic versions
        ("1.0.dev1", "1.0a1", "1.0b1", "1.0rc1", "1.0", "1.0.post1", "1.0.1"),  # Python's
        ("1.2", "1.9", "1.10", "2.0", "10.0"),
        ("2024.01.15", "2024.02.01", "2025.01.01"),
        ("v1.0-SNAPSHOT", "v1.0", "v1.0-hotfix", "v1.1"),
        ("221506-164030", "222406-162230", "222406-163830"),
        ("1.0.0-nightly", "1.0.0-20260101", "1.0.1"),
    ],
)
def test_newer_is_later(rising: tuple[str, ...]) -> None:
    for older, newer in itertools.pairwise(rising):
        assert order(older) < order(newer), f"{older} before {newer}"
    assert newest_first(rising[::-1]) == newest_first(rising) == rising[::-1]


@given(st.lists(st.from_regex(r"[0-9A-Za-z][0-9A-Za-z.+_-]{0,20}", fullmatch=True), max_size=20))
def test_any_names_are_ordered_in_one_way_and_none_is_lost(names: list[str]) -> None:
    assert newest_first(names) == newest_first(reversed(names))
    assert set(newest_first(names)) == set(names)
