"""The contract of every target: where versions are installed and run. Knows no traffic: that is the router's, and no
approval, permit or Airflow task.

A target has named *backends*, each of which can run one version; one of them is marked as the stable one. ``delivery``
combines a target with a router, whose weights go by the same names.

All methods are idempotent: calling one again when its effect is there already changes nothing and succeeds. What is
where is read from the target each time and never remembered, so that a crash between any two acts leaves a state that
every method can go on from.

Errors: ``TemporaryError`` when the target cannot be reached or is slow (the caller retries), ``EffectMissing`` when an
act was accepted but its effect cannot be seen, other ``PermanentError`` for what a retry cannot mend. Messages name
the target, the version and what to do next. Targets do not retry by themselves, but they do wait (bounded) for an
effect to appear.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

from airlock.models import Artifact, Backend
from airlock.models.needs import Needs
from airlock.options import Options, validated


class TargetOptions(Options):
    """Base of the options of targets."""

    health_path: str

    @property
    def backend_names(self) -> tuple[str, ...]:
        """Return the names of the backends, which a router must have too."""
        raise NotImplementedError


class Target(ABC):
    """Where versions run."""

    Options: ClassVar[type[TargetOptions]]
    needs: ClassVar[Needs]

    def __init__(self, options: dict[str, Any]) -> None:
        """Validate the options.

        :raises InvalidInput: an option is missing, unknown or of the wrong type
        """
        self.options = validated(self.Options, options, f"target {type(self).__name__}")

    @abstractmethod
    def stable(self) -> str:
        """Return the name of the backend that is marked as the stable one.

        :raises PermanentError: none is, or one that the options do not have
        """

    @abstractmethod
    def mark_stable(self, backend: str) -> None:
        """Mark *backend* as the stable one, in one step: a crash leaves the mark before or after it."""

    @abstractmethod
    def backends(self) -> tuple[Backend, ...]:
        """Return every backend as it is seen now. Changes nothing."""

    @abstractmethod
    def install(self, artifact: Artifact, backend: str) -> None:
        """Stop what runs in *backend*, install *artifact* there, start it, and wait until it is healthy.

        What already runs there from the very same content is left alone.

        :raises PermanentError: the content does not have the digest that was approved, or it does not start
        :raises TemporaryError: it is not healthy in time
        """

    @abstractmethod
    def await_healthy(self, backend: str, version: str) -> None:
        """Wait until *version* runs in *backend* and is healthy. Errors as in ``install``."""

    @abstractmethod
    def holds(self, backend: str, version: str) -> bool:
        """Return whether *version* could be started in *backend* without its artifact, as ``revive`` does."""

    @abstractmethod
    def revive(self, backend: str, version: str) -> None:
        """Let *backend* run *version*, which it holds, whatever ran there; does not wait until it is healthy.

        :raises PermanentError: it is not held there
        """

    @abstractmethod
    def stop(self, backend: str) -> None:
        """Stop what runs in *backend* and let nothing start there. What is installed stays, for a way back."""

    @abstractmethod
    def purge(self, backend: str) -> None:
        """Remove what *backend* has installed and does not run."""
