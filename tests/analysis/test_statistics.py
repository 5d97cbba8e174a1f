from __future__ import annotations

import math

import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st

from airlock.analysis.statistics import count_above, log_evidence, quantile, upper_bound

limits = st.floats(0.001, 0.999)


@pytest.mark.parametrize(
    ("hits", "trials", "limit", "evidence"),
    [
        # (1 / (1 - w)) * integral of (p / w)^k from w to 1 = (1 - w^(k+1)) / ((1 - w) (k + 1) w^k)
        (0, 0, 0.05, 1.0),
        (1, 1, 0.05, (1 - 0.05**2) / (0.95 * 2 * 0.05)),
        (3, 3, 0.05, 2105.25),
        (3, 3, 0.5, 3.75),
        # Only misses: integral of ((1 - p) / (1 - w))^m, divided by 1 - w, is 1 / (m + 1).
        (0, 1, 0.3, 1 / 2),
        (0, 9, 0.3, 1 / 10),
    ],
)
def test_worked_examples(hits: int, trials: int, limit: float, evidence: float) -> None:
    assert math.exp(log_evidence(hits, trials, limit)) == pytest.approx(evidence, rel=1e-6)


def test_the_far_tail_stays_finite_and_joins_smoothly() -> None:
    far = [log_evidence(0, trials, 0.9) for trials in (100, 1000, 10_000, 100_000)]
    assert far == pytest.approx([-math.log(trials + 1) for trials in (100, 1000, 10_000, 100_000)], abs=1e-3)


@given(st.integers(0, 2000), st.integers(0, 2000), limits)
def test_evidence_is_finite_and_grows_with_hits(hits: int, misses: int, limit: float) -> None:
    trials = hits + misses + 1
    fewer, more = log_evidence(hits, trials, limit), log_evidence(hits + 1, trials, limit)
    assert math.isfinite(fewer)
    assert math.isfinite(more)
    assert more >= fewer - 1e-6 - 1e-3 * abs(fewer)


@given(st.integers(0, 60), st.integers(0, 60), st.floats(0.02, 0.9))
def test_the_expected_evidence_of_the_next_trial_is_what_it_was(hits: int, misses: int, limit: float) -> None:
    # The martingale property, on which every promise about repeated looks rests.
    now = log_evidence(hits, hits + misses, limit)
    hit = log_evidence(hits + 1, hits + misses + 1, limit)
    miss = log_evidence(hits, hits + misses + 1, limit)
    following = limit * math.exp(hit - now) + (1 - limit) * math.exp(miss - now)
    assert following == pytest.approx(1, rel=1e-6)


def test_looking_after_every_error_keeps_the_false_alarms_below_alpha() -> None:
    chance = numpy.random.default_rng(7)
    alpha, share, runs, errors = 0.05, 0.25, 600, 200
    alarms = 0
    for _ in range(runs):
        hits = chance.random(errors).__lt__(share).cumsum()
        alarms += any(log_evidence(int(hits[n]), n + 1, share) >= -math.log(alpha) for n in range(errors))
    # Three standard errors of slack: a test of alpha = .05 that alarms in 8 % of the runs fails here.
    assert alarms / runs <= alpha + 3 * math.sqrt(alpha * (1 - alpha) / runs)


def test_the_upper_bound_covers_at_all_times() -> None:
    chance = numpy.random.default_rng(11)
    alpha, rate, runs, requests = 0.1, 0.05, 300, 400
    broken = 0
    for _ in range(runs):
        hits = (chance.random(requests) < rate).cumsum()
        broken += any(upper_bound(int(hits[n]), n + 1, alpha) < rate for n in range(0, requests, 10))
    assert broken / runs <= alpha + 3 * math.sqrt(alpha * (1 - alpha) / runs)


@given(st.integers(0, 500), st.integers(0, 500), st.floats(0.001, 0.2))
def test_the_upper_bound_is_above_what_was_seen(hits: int, misses: int, alpha: float) -> None:
    bound = upper_bound(hits, hits + misses, alpha)
    assert bound <= 1
    assert bound >= (hits / (hits + misses) if hits + misses else 1)


@pytest.mark.parametrize(("hits", "trials", "limit"), [(2, 1, 0.5), (-1, 3, 0.5), (0, 1, 0.0), (0, 1, 1.0)])
def test_nonsense_is_refused(hits: int, trials: int, limit: float) -> None:
    with pytest.raises(ValueError, match=r"trials|limit"):
        log_evidence(hits, trials, limit)


def test_quantiles_of_a_histogram() -> None:
    buckets = ((1.0, 0), (2.0, 50), (4.0, 90), (8.0, 100))
    assert quantile(buckets, 0.5) == pytest.approx(2.0)
    assert quantile(buckets, 0.7) == pytest.approx(3.0)
    assert quantile(buckets, 0.95) == pytest.approx(6.0)
    assert quantile((), 0.5) is None
    assert quantile(((1.0, 0),), 0.5) is None
    assert count_above(buckets, 4.0) == 10
    assert count_above(buckets, 3.0) == 10
    assert count_above(buckets, 9.0) == 0


@given(st.lists(st.floats(0.1, 90), min_size=1, max_size=80), st.floats(0.01, 0.99), st.floats(0.1, 100))
def test_a_histogram_brackets_the_values_it_holds(values: list[float], share: float, above: float) -> None:
    bounds = [float(bound) for bound in range(0, 101, 5)]
    buckets = [(bound, sum(value <= bound for value in values)) for bound in bounds]
    found = quantile(buckets, share)
    assert found is not None
    true = sorted(values)[max(0, math.ceil(share * len(values) - 1e-9) - 1)]
    assert abs(found - true) <= 5
    assert count_above(buckets, above) <= sum(value > above for value in values)
