"""The contract of every router: who decides how much of the traffic each backend gets. Knows no version, no approval
and no Airflow task.

``set_shares`` and ``shares`` are symmetrical: what was set is what is read, in percent, for every backend of the
options, adding up to 100; ``set_shares(shares())`` changes nothing. Every ``set`` ends by reading the effect from the
router itself. A change never passes through a state in which a backend gets more, or less, than both before and after
it. ``fallback`` is who gets everything when the router itself restarts and has forgotten what was set.

Errors: ``TemporaryError`` when the router cannot be reached or is slow, ``EffectMissing`` when an act was accepted but
its effect cannot be seen, other ``PermanentError`` for what a retry cannot mend: a router that is configured so that
the shares could not be kept is refused, and the message says what to configure.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import Field

from airlock.deploy.health import Health, ask_health
from airlock.fetch import Address
from airlock.models import Name
from airlock.models.needs import Needs
from airlock.options import Options, validated

WHOLE = 100


class RouterOptions(Options):
    """Base of the options of routers."""

    listener: Address
    """Address at which customers ask."""
    backends: Mapping[Name, Any]
    """Who gets traffic, by the names that the target gives its backends."""
    effect_seconds: float = Field(10, gt=0, description="time for a change of traffic to be seen")

    @property
    def backend_names(self) -> tuple[str, ...]:
        """Return the names of the backends, which the target must have too."""
        return tuple(self.backends)


class Router(ABC):
    """Who splits the traffic."""

    Options: ClassVar[type[RouterOptions]]
    needs: ClassVar[Needs]

    def __init__(self, options: dict[str, Any]) -> None:
        """Validate the options.

        :raises InvalidInput: an option is missing, unknown or of the wrong type
        """
        self.options = validated(self.Options, options, f"router {type(self).__name__}")

    @abstractmethod
    def shares(self) -> dict[str, int]:
        """Return the share of the traffic of every backend, in percent, as the router has it now. Changes nothing."""

    @abstractmethod
    def set_shares(self, shares: Mapping[str, int]) -> dict[str, int]:
        """Give every backend its share, those that are not in *shares* none; return what is read afterwards.

        :raises PermanentError: the router cannot split the traffic like that
        :raises EffectMissing: it does not show it in time
        """

    @abstractmethod
    def fallback(self) -> str | None:
        """Return the backend that gets everything when the router restarts; ``None`` if it is not one."""

    @abstractmethod
    def set_fallback(self, backend: str) -> None:
        """Let *backend* get everything when the router restarts, which changes nothing of the traffic now."""

    def health(self, path: str) -> Health | None:
        """Return what the version that answers a request through the router says of itself."""
        return ask_health(self.options.listener, path)


def checked(shares: Mapping[str, int], names: tuple[str, ...]) -> dict[str, int]:
    """Return *shares* with every backend of *names*.

    :raises ValueError: they name another backend, are no percentages, or do not add up to 100
    """
    full = {name: shares.get(name, 0) for name in names}
    if set(shares) - set(names) or sum(full.values()) != WHOLE or min(full.values()) < 0:
        raise ValueError(f"shares {dict(shares)} are not those of {', '.join(names)} or do not add up to {WHOLE}")
    return full


def percentages(parts: Mapping[str, int], whole: int) -> dict[str, int]:
    """Return *parts* of *whole* in percent, which add up to 100; a small part is never 0, a large one never 100."""
    if not whole:
        return dict.fromkeys(parts, 0)
    found = {name: min(WHOLE - 1, max(1, round(WHOLE * part / whole))) if 0 < part < whole else WHOLE * part // whole
             for name, part in parts.items()}
    largest = max(found, key=lambda name: found[name])
    found[largest] += WHOLE - sum(found.values())
    return found
