from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from airlock.change.history import PastChange, fail_rate, interval
from airlock.models import Outcome

NOW = datetime(2026, 11, 24, tzinfo=UTC)


def change(outcome, blamed=False):
    return PastChange(release="r", outcome=outcome, at=NOW, change_type="normal", blamed=blamed)


@pytest.mark.parametrize(
    ("failed", "of", "low", "high"),
    [  # R. G. Newcombe, Statistics in Medicine 17 (1998) 857-872, table I, method 3
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0000, 0.1611),
        (1, 29, 0.0061, 0.1718),
        (0, 0, 0.0, 1.0),
    ],
)
def test_the_wilson_interval(failed, of, low, high):
    assert interval(failed, of) == pytest.approx((low, high), abs=5e-5)


@given(of=st.integers(1, 500), failed=st.integers(0, 500), confidence=st.floats(0.6, 0.999))
def test_the_interval_holds_the_rate_and_rises_with_failures(of, failed, confidence):
    failed = min(failed, of)
    low, high = interval(failed, of, confidence)
    assert 0 <= low <= failed / of <= high <= 1
    oracle = binomtest(failed, of).proportion_ci(confidence, method="wilson")
    assert (low, high) == pytest.approx((oracle.low, oracle.high), abs=1e-9)
    if failed < of:
        above = interval(failed + 1, of, confidence)
        assert above[0] >= low and above[1] >= high


def test_only_what_was_carried_out_counts_and_a_named_cause_is_a_failure():
    found = fail_rate([change(Outcome.PROMOTED), change(Outcome.PROMOTED, blamed=True), change(Outcome.ROLLED_BACK),
                       change(Outcome.REFUSED), change(Outcome.SKIPPED)])
    assert (found.failed, found.changes) == (2, 3)
