"""What a service file may say of standard and emergency changes, as frozen data. Knows no rule that uses it."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Literal, get_args

from pydantic import Field, StringConstraints

from airlock.models import Category, Frozen, Name
from airlock.service.values import Text

Varying = Literal["version", "title", "reason", "start_after"]
Step = Literal["patch", "minor", "major"]


class Variation(Frozen):
    """How one field may differ from use to use of a template: any of the shell patterns ``like`` must fit (none:
    anything); ``step``, for the version, is the largest step up from the version now."""

    like: tuple[Annotated[str, StringConstraints(min_length=1, max_length=200)], ...] = ()
    step: Step | None = None


class SuspendAfter(Frozen):
    """When a template suspends itself: ``in_a_row`` uses that did not stay, or ``failures`` of them in
    ``within_days``."""

    in_a_row: int = Field(2, ge=1, le=1000)
    failures: int = Field(3, ge=1, le=1000)
    within_days: float = Field(30.0, gt=0, le=3660)


class StandardChange(Frozen):
    """A pre-approved template: what may vary and how, the risk up to which it holds, the categories that it is for, and
    until when (a day, its end in UTC).

    ``promoted_in``: an environment in which the content must stand as promoted, beside the one that this one is
    ``after``.
    """

    title: Text
    reason: Text
    impact: Text
    rollback_plan: Text
    maximum_risk: int = Field(40, ge=0, le=100)
    categories: tuple[Category, ...] = Field((Category.APPLICATION,), min_length=1)
    may_vary: dict[Varying, Variation] = Field(default_factory=lambda: dict.fromkeys(get_args(Varying), Variation()))
    valid_until: date | None = None
    promoted_in: Name | None = None
    suspend_after: SuspendAfter = SuspendAfter()


class Emergency(Frozen):
    """Emergency changes: the hours after landing within which the normal seats must approve one, too."""

    retro_approval_hours: float = Field(72.0, gt=0, le=24 * 31)
