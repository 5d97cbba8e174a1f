"""What a service file may say about the checks of a new version. Knows no check: what one asks is its own part."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from airlock import registry
from airlock.models import Frozen
from airlock.service.values import known


class CheckSetting(Frozen):
    """A check of the new version."""

    name: Annotated[str, known(registry.CHECKS, "check")]
    """Which check."""
    options: dict[str, Any] = Field(default_factory=dict)
    """What it asks, and what must come of it."""


CheckList = Annotated[tuple[CheckSetting, ...], Field(max_length=50)]


class Checks(Frozen):
    """What the new version is asked, and must pass."""

    smoke: Annotated[CheckList, Field(min_length=1)] = (CheckSetting(name="http", options={"paths": ["/health"]}),)
    """Before it gets any traffic."""
    validation: CheckList = ()
    """Before it gets all traffic; none: the smoke checks."""
    bake: CheckList = ()
    """At each look of the bake, while the version before is still warm."""
    attempts: int = Field(3, ge=1, le=20)
    """Tries of all of them before they count as not passed."""
    wait_seconds: float = Field(1, ge=0, le=60)
    """Time between two tries."""
