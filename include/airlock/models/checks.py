"""Checks of a version: as a plan freezes them, and as they are recorded. Knows no implementation."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from pydantic import Field

from airlock.models.frozen import Frozen
from airlock.models.rollout import Verdict


class Checkpoint(StrEnum):
    """When a version is checked: before it gets traffic, before it gets all of it, and while the version before is
    still warm."""

    SMOKE = "smoke"
    VALIDATION = "validation"
    BAKE = "bake"


class PlannedCheck(Frozen):
    """One check as it was approved. ``options`` have every default written out; ``basis`` is what decides beside them
    (the rule of the allow-list, the digest of a certificate file): when it changes, so does the plan."""

    name: str
    options: dict[str, Any] = Field(default_factory=dict)
    basis: dict[str, Any] = Field(default_factory=dict)


class PlannedChecks(Frozen):
    """All checks of a release: which ones, and how often they are tried before they count as not passed."""

    attempts: int = Field(3, ge=1, le=20)
    wait_seconds: float = Field(1, ge=0, le=60)
    smoke: tuple[PlannedCheck, ...] = ()
    validation: tuple[PlannedCheck, ...] = ()
    bake: tuple[PlannedCheck, ...] = ()

    def at(self, checkpoint: Checkpoint) -> tuple[PlannedCheck, ...]:
        """Return the checks of *checkpoint*."""
        found: tuple[PlannedCheck, ...] = getattr(self, checkpoint.value)
        return found


class CheckResult(Frozen):
    """What one check found, and its verdict. ``found`` is ``None`` where the check itself could not be carried out."""

    name: str
    found: dict[str, Any] | None
    verdict: Verdict
