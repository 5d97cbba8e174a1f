"""What a service file may say of standard and emergency changes, as frozen data. Knows no rule that uses it."""

from __future__ import annotations

from typing import Annotated, Literal, get_args

from pydantic import Field, StringConstraints

from airlock.models import Category, Frozen, Name
from airlock.service.values import Date, Text

Varying = Literal["version", "title", "reason", "start_after"]
Step = Literal["patch", "minor", "major"]


class Variation(Frozen):
    """How one field may differ from use to use of a template."""

    like: tuple[Annotated[str, StringConstraints(min_length=1, max_length=200)], ...] = ()
    """Shell patterns, of which it must fit one; none: anything."""
    step: Step | None = None
    """For the version: the largest step up from the version now."""


class SuspendAfter(Frozen):
    """When a template suspends itself."""

    in_a_row: int = Field(2, ge=1, le=1000)
    """After so many uses in a row that did not stay."""
    failures: int = Field(3, ge=1, le=1000)
    """After so many of them in ``within_days``."""
    within_days: float = Field(30.0, gt=0, le=3660)
    """The days that ``failures`` are counted in."""


class StandardChange(Frozen):
    """A pre-approved template of a request."""

    title: Text
    """Title of the request."""
    reason: Text
    """Why it is done."""
    impact: Text
    """Who notices what: low, medium or high, and a sentence."""
    rollback_plan: Text
    """How it is taken back."""
    maximum_risk: int = Field(40, ge=0, le=100)
    """The risk score up to which it holds."""
    categories: tuple[Category, ...] = Field((Category.APPLICATION,), min_length=1)
    """The categories of change that it is for."""
    may_vary: dict[Varying, Variation] = Field(default_factory=lambda: dict.fromkeys(get_args(Varying), Variation()))
    """Field -> how it may differ from use to use; fields that are not named must stay."""
    valid_until: Date | None = None
    """The last day of it, in UTC; left out: it does not end."""
    promoted_in: Name | None = None
    """An environment in which the content must stand as promoted, beside the one that this one is ``after``."""
    suspend_after: SuspendAfter = SuspendAfter()
    """When it suspends itself, until a human restores it."""


class Emergency(Frozen):
    """What emergency changes owe afterwards."""

    retro_approval_hours: float = Field(72.0, gt=0, le=24 * 31)
    """The hours after landing within which the normal seats must approve it, too."""
