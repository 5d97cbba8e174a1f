"""The contract of every live signal: something outside that closes the calendar for as long as it lasts.

An open incident ("stop the line") and a spent error budget are such. A signal is asked anew for every decision. What
cannot be read, or is older than it may be, is an error, never "nothing is open": ``TemporaryError`` where the same
question may be answered later, ``PermanentError`` where somebody has to mend it first. Knows no calendar.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator

from airlock.models import Frozen
from airlock.models.needs import Needs
from airlock.options import Options, validated
from airlock.plain_text import harmless


def _line(text: str) -> str:
    return " ".join(harmless(text).split())[:200] or "?"


Line = Annotated[str, AfterValidator(_line)]
"""Words of a stranger, on one line."""


class Stop(Frozen):
    """One thing that closes the calendar now: its name (of an incident, its id) and what is known of it."""

    name: Line
    words: Line


class Answer(Frozen):
    """What one signal, or one calendar file, said: its stops, or why it could not be read."""

    signal: str
    closes: Literal["incident", "error_budget", "file"]
    stops: tuple[Stop, ...] = ()
    unreadable: str = ""


class Signal(ABC):
    """Says what stops releases of a service environment now."""

    Options: ClassVar[type[Options]]
    needs: ClassVar[Needs]

    def __init__(self, options: dict[str, Any]) -> None:
        """Validate the options.

        :raises InvalidInput: an option is missing, unknown or of the wrong type
        """
        self.options = validated(self.Options, options, f"signal {type(self).__name__}")

    @abstractmethod
    def where(self) -> str:
        """Return what is asked, in a few words without a secret."""

    @abstractmethod
    def stops(self, service: str, environment: str) -> tuple[Stop, ...]:
        """Return everything that stops releases of *service* to *environment* now; nothing when all is well."""
