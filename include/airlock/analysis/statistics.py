"""Anytime-valid evidence about counts: pure mathematics, no policy, no I/O.

The measure is an *e-value*: how many times better the data fit "it is worse" than the best "it is fine". As the data
grow it is a nonnegative supermartingale under "it is fine", so by Ville's inequality the chance that it ever reaches
``1 / alpha`` is at most ``alpha``: it may be looked at after every request. Everything is computed in logarithms.

Worked example: 5 % of the traffic is on the canary, and the first 3 errors all come from it. Under "same error rate"
each error is the canary's with chance 0.05. ``log_evidence(3, 3, 0.05)`` = ln(2105): much, from three errors.
With half of the traffic on it the same three errors say little: ``log_evidence(3, 3, 0.5)`` = ln(3.75).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

Buckets = Sequence[tuple[float, int]]
"""Cumulative histogram: (upper bound, count at or below it), bounds rising; the last count is the total."""


def log_evidence(hits: int, trials: int, limit: float) -> float:
    """Natural logarithm of the e-value against "each of *trials* is a hit with a chance of at most *limit*".

    The alternative is every chance above *limit*, mixed uniformly. 0 without data.

    :raises ValueError: the counts or the limit make no sense
    """
    if not 0 <= hits <= trials:
        raise ValueError(f"{hits} hits of {trials} trials")
    if not 0 < limit < 1:
        raise ValueError(f"limit {limit} is not between 0 and 1")
    if trials == 0:
        return 0.0
    misses = trials - hits
    at_limit = hits * math.log(limit) + misses * math.log1p(-limit)
    return _log_integral(hits, misses, limit, at_limit) - at_limit - math.log1p(-limit)


def _log_integral(hits: int, misses: int, limit: float, at_limit: float) -> float:
    """Logarithm of the integral of p^hits (1-p)^misses from *limit* to 1; *at_limit* is the log integrand there."""
    from scipy.special import betaincc

    share = float(betaincc(hits + 1, misses + 1, limit))
    if share > 0:
        return log_beta(hits + 1, misses + 1) + math.log(share)
    # The tail is too small for a float: far below the peak the integrand falls as exp(slope * (p - limit)).
    slope = misses / (1 - limit) - hits / limit
    return at_limit - math.log(slope)


def log_beta(a: float, b: float) -> float:
    """Natural logarithm of the beta function."""
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)


def upper_bound(hits: int, trials: int, alpha: float) -> float:
    """A chance of a hit that, with confidence ``1 - alpha`` at all times together, is not exceeded.

    Inverts the mixture over all chances: the largest p whose e-value is below ``1 / alpha``. 1 without data.
    """
    if trials == 0:
        return 1.0
    misses = trials - hits
    mixture = log_beta(hits + 1, misses + 1)

    def contradicted(chance: float) -> bool:
        return mixture - hits * math.log(chance) - misses * math.log1p(-chance) >= -math.log(alpha)

    low, high = max(hits / trials, 1e-12), 1 - 1e-12
    if not contradicted(high):
        return 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (low, middle) if contradicted(middle) else (middle, high)
    return high


def quantile(buckets: Buckets, share: float) -> float | None:
    """The value below which *share* of a histogram lies, linear inside a bucket; None when it is empty."""
    if not buckets or buckets[-1][1] <= 0:
        return None
    wanted = share * buckets[-1][1]
    lower, below = 0.0, 0
    for upper, count in buckets:
        if count >= wanted and count > below:
            return lower + (upper - lower) * (wanted - below) / (count - below)
        lower, below = upper, max(below, count)
    return buckets[-1][0]


def count_above(buckets: Buckets, value: float) -> int:
    """How many are surely above *value*: all in buckets that begin there or later."""
    if not buckets:
        return 0
    at_or_below = next((count for upper, count in buckets if upper >= value), buckets[-1][1])
    return buckets[-1][1] - at_or_below
