from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airlock.plain_text import LOGIN_NAME, fault_in, harmless, visible_length


@given(st.text())
def test_what_was_made_harmless_has_no_fault_and_what_has_none_is_left_alone(text):
    shown = harmless(text)
    assert fault_in(shown) is None
    shown.encode()
    if fault_in(text) is None:
        assert shown == text


@pytest.mark.parametrize(
    ("text", "length"), [("abc", 3), ("\u200d\ufe0f \n", 0), ("e\u0301", 1), ("👩\u200d🚒", 2), ("\u0301" * 5, 0)]
)
def test_only_what_is_seen_counts(text, length):
    assert visible_length(text) == length


@pytest.mark.parametrize("name", ["", "\u043ewner", "owner\u200b", "owner\n", "a b", ".hidden", "-x", "x" * 129, "é"])
def test_no_log_in_name(name):
    assert not LOGIN_NAME.fullmatch(name)
