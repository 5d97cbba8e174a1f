"""How earlier changes of a service ended, and what their fail rate says. Pure; must not know where they are kept."""

from __future__ import annotations

from collections.abc import Iterable
from math import sqrt
from statistics import NormalDist

from pydantic import AwareDatetime, Field

from airlock.models import Category, Frozen, Outcome


class PastChange(Frozen):
    """One release that has ended. ``blamed``: a later review names it as the cause of an emergency, or on-call took it
    back."""

    release: str
    outcome: Outcome
    at: AwareDatetime
    change_type: str
    category: Category = Category.APPLICATION
    score: int | None = Field(None, description="the risk that its plan had; None if it had no plan")
    blamed: bool = False

    @property
    def carried_out(self) -> bool:
        """Return whether something new was deployed: a refused or skipped release is no deployment, and a rollback is
        the remedy of one."""
        return self.outcome in (Outcome.PROMOTED, Outcome.ROLLED_BACK) and self.change_type != "rollback"

    @property
    def failed(self) -> bool:
        """Return whether it was rolled back, or had to be mended later."""
        return self.outcome is Outcome.ROLLED_BACK or self.blamed


class FailRate(Frozen):
    """The change fail rate: failed of those carried out, with the interval that holds the true rate."""

    failed: int
    changes: int
    low: float
    high: float


def fail_rate(changes: Iterable[PastChange], confidence: float = 0.95) -> FailRate:
    """Return the fail rate of those of *changes* that were carried out, after DORA's definition (deployments that
    needed a rollback or an emergency change, of all deployments)."""
    counted = [change for change in changes if change.carried_out]
    failed = sum(change.failed for change in counted)
    low, high = interval(failed, len(counted), confidence)
    return FailRate(failed=failed, changes=len(counted), low=low, high=high)


def interval(failed: int, of: int, confidence: float = 0.95) -> tuple[float, float]:
    """Return the Wilson score interval of a rate; 0 to 1 without any observation.

    E. B. Wilson, "Probable inference, the law of succession, and statistical inference", JASA 22 (1927) 209-212. It
    keeps its promise for few observations and rates near 0 or 1, where the usual normal interval does not (Brown, Cai
    and DasGupta, "Interval estimation for a binomial proportion", Statistical Science 16 (2001) 101-133).
    """
    if of <= 0:
        return 0.0, 1.0
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    rate, square = failed / of, z * z
    middle = (rate + square / (2 * of)) / (1 + square / of)
    half = z / (1 + square / of) * sqrt(rate * (1 - rate) / of + square / (4 * of * of))
    return max(0.0, min(middle - half, rate)), min(1.0, max(middle + half, rate))
