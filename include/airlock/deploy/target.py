"""The contract of every target: where versions run and how traffic is split. Knows no approval, permit or Airflow task.

All methods are idempotent: calling one again when its effect is there already changes nothing and succeeds. Every act
ends with an ``inspect`` that verifies the effect on the target itself, and returns the state it saw.

Errors: ``TemporaryError`` when the target cannot be reached or is slow (the caller retries), ``EffectMissing`` when an
act was accepted but its effect cannot be seen, other ``PermanentError`` for what a retry cannot mend. Messages name
the target, the version and what to do next. Targets do not retry by themselves, but they do wait (bounded) for an
effect to appear.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

from airlock.models import Artifact, TargetState
from airlock.models.needs import Needs
from airlock.options import Options, validated


class Target(ABC):
    """Where a version runs."""

    Options: ClassVar[type[Options]]
    needs: ClassVar[Needs]

    def __init__(self, options: dict[str, Any]) -> None:
        """Validate the options.

        :raises InvalidInput: an option is missing, unknown or of the wrong type
        """
        self.options = validated(self.Options, options, f"target {type(self).__name__}")

    @abstractmethod
    def inspect(self) -> TargetState:
        """Return versions, weights, health and digests as they are seen on the target now. Changes nothing."""

    @abstractmethod
    def stage(self, artifact: Artifact) -> TargetState:
        """Install and start *artifact* beside the stable version with 0 % of the traffic, and wait until it is healthy.

        Refuses an artifact whose content does not have the digest that was approved.
        """

    @abstractmethod
    def shift(self, version: str, percent: int) -> TargetState:
        """Give *version* *percent* of the traffic and the stable version the rest.

        :raises NotReady: it would get more traffic, but is not healthy
        """

    @abstractmethod
    def promote(self, version: str) -> TargetState:
        """Make *version* stable with 100 % of the traffic. The version before stays warm until ``retire``."""

    @abstractmethod
    def retire(self, version: str) -> TargetState:
        """Stop *version*, which must have no traffic."""

    @abstractmethod
    def abort(self, stable: str) -> TargetState:
        """Give *stable* 100 % of the traffic (starting it if it is not running), and stop every other version."""

    @abstractmethod
    def smoke(self, version: str, paths: tuple[str, ...]) -> dict[str, int]:
        """Ask *version* itself, not through the traffic split, for each path; return the status code of each."""
