from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import mannwhitneyu

from airlock.change.history import PastChange
from airlock.change.reliability import reliability
from airlock.models import Outcome

NOW = datetime(2026, 11, 24, tzinfo=UTC)


def past(*scored):
    return [PastChange(release=f"r{n}", outcome=Outcome.ROLLED_BACK if failed else Outcome.PROMOTED, at=NOW,
                       change_type="normal", score=score) for n, (score, failed) in enumerate(scored)]


def test_a_worked_example():
    found = reliability(past((10, False), (30, False), (50, False), (80, True)))
    assert [(band.changes, band.failed) for band in found.bands] == [(1, 0), (1, 0), (1, 0), (0, 0), (1, 1), (0, 0)]
    assert found.concordance == 1.0
    assert found.brier == pytest.approx((0.01 + 0.09 + 0.25 + 0.04) / 4)
    assert found.brier_of_average == pytest.approx(0.25 * 0.75)
    assert "1 of 4 changes failed: too few to say anything" in found.sentence
    more = reliability(past(*[(10, False), (30, False), (50, False), (80, True)] * 5))
    assert more.concordance == 1.0 and "failed changes had the higher scores" in more.sentence


@pytest.mark.parametrize(
    ("scored", "said"),
    [
        ([], "nothing can be said"),
        ([(50, False)], "nothing can be said"),
        ([(10, True), (90, False)] * 10, "the policy is wrong way round"),
        ([(50, True), (50, False)] * 10, "little to do with each other"),
        ([(10, True), (90, False)] * 3, "3 of 6 changes failed: too few to say anything"),
        ([(10, False)] * 30 + [(90, True)] * 4, "too few to say anything"),
    ],
)
def test_what_cannot_be_told_is_said(scored, said):
    assert said in reliability(past(*scored)).sentence


def test_what_was_refused_or_has_no_score_does_not_count():
    changes = [*past((50, False)), *[one.model_copy(update={"outcome": Outcome.REFUSED}) for one in past((90, True))]]
    assert reliability([*changes, past((1, True))[0].model_copy(update={"score": None})]).changes == 1


@given(st.lists(st.tuples(st.integers(0, 100), st.booleans()), max_size=60))
def test_the_concordance_is_the_mann_whitney_statistic(scored):
    found = reliability(past(*scored))
    assert sum(band.changes for band in found.bands) == len(scored)
    bad = [score for score, failed in scored if failed]
    good = [score for score, failed in scored if not failed]
    if bad and good:
        expected = mannwhitneyu(bad, good).statistic / (len(bad) * len(good))
        assert found.concordance == pytest.approx(expected)
    else:
        assert found.concordance is None
