"""Whether past risk scores were right: scores in bands against what happened. Pure; must not know ledgers.

A score is no probability, so bands show what share failed at each height, and the concordance how often a change that
failed had the higher score of two. The Brier score reads a score as a chance in percent all the same, and compares it
with always saying the average: it shows whether the height of the numbers, not only their order, means something.
"""

from __future__ import annotations

from collections.abc import Iterable

from airlock.change.history import PastChange, interval
from airlock.models import Frozen

ENOUGH, ENOUGH_OF_EACH = 20, 5
"""From so many changes on, with so many that failed and so many that did not, the figures say something."""
BANDS = ((0, 19), (20, 39), (40, 54), (55, 69), (70, 84), (85, 100))


class Band(Frozen):
    """Changes whose score lay from *low* to *high*: how many, how many failed, and the interval of the true share."""

    low: int
    high: int
    changes: int
    failed: int
    share_low: float
    share_high: float


class Reliability(Frozen):
    """The table, and its figures; ``None`` where there is too little to tell.

    ``concordance``: the chance that of a change that failed and one that did not, the failed one had the higher score
    (0.5 is chance). ``skill``: 1 minus the Brier score over that of always saying the average; above 0 is better.
    """

    bands: tuple[Band, ...]
    changes: int
    failed: int
    concordance: float | None
    brier: float | None
    brier_of_average: float | None
    skill: float | None
    sentence: str


def reliability(changes: Iterable[PastChange], confidence: float = 0.95) -> Reliability:
    """Return how well the scores of those of *changes* that were carried out told which would fail.

    Concordance is the area under the receiver operating characteristic, computed as the Mann-Whitney statistic
    (J. A. Hanley and B. J. McNeil, Radiology 143 (1982) 29-36); ties count half. Brier score: G. W. Brier, Monthly
    Weather Review 78 (1950) 1-3.
    """
    scored = [(one.score, one.failed) for one in changes if one.carried_out and one.score is not None]
    failed = sum(bad for _, bad in scored)
    bands = []
    for low, high in BANDS:
        inside = [bad for score, bad in scored if low <= score <= high]
        share = interval(sum(inside), len(inside), confidence)
        bands.append(Band(low=low, high=high, changes=len(inside), failed=sum(inside), share_low=share[0],
                          share_high=share[1]))
    concordance = _concordance(scored)
    brier = sum((score / 100 - bad) ** 2 for score, bad in scored) / len(scored) if scored else None
    average = failed / len(scored) if scored else 0.0
    plain = average * (1 - average) if scored else None
    skill = 1 - brier / plain if brier is not None and plain else None
    return Reliability(bands=tuple(bands), changes=len(scored), failed=failed, concordance=concordance, brier=brier,
                       brier_of_average=plain, skill=skill, sentence=_sentence(len(scored), failed, concordance, skill))


def _concordance(scored: list[tuple[int, bool]]) -> float | None:
    bad = [score for score, failed in scored if failed]
    good = [score for score, failed in scored if not failed]
    if not bad or not good:
        return None
    wins = sum((one > other) + (one == other) / 2 for one in bad for other in good)
    return wins / (len(bad) * len(good))


def _sentence(changes: int, failed: int, concordance: float | None, skill: float | None) -> str:
    if concordance is None:
        return (f"{failed} of {changes} changes failed: as long as none, or all, failed, nothing can be said about the "
                "scores")
    if changes < ENOUGH or min(failed, changes - failed) < ENOUGH_OF_EACH:
        return (f"{failed} of {changes} changes failed: too few to say anything about the scores (from {ENOUGH} "
                f"changes on, of which {ENOUGH_OF_EACH} failed and {ENOUGH_OF_EACH} did not)")
    order = ("failed changes had the higher scores" if concordance > 0.6 else
             "failed changes had the lower scores: the policy is wrong way round" if concordance < 0.4 else
             "scores and failures have little to do with each other: the policy does not see what makes changes fail")
    better = "better than the average" if skill is None or skill > 0 else "worse than the average: use their order only"
    height = "" if skill is None else f"; read as a chance in percent, the scores are {better}"
    return (f"{failed} of {changes} changes failed; of a failed and a good change, the failed one had the higher "
            f"score in {concordance:.0%} of all pairs: {order}{height}")
