"""The contract of every metric source. Knows no policy: it counts, the judge judges.

``sample`` returns cumulative counts of both arms since ``begin`` was called for them. "No value" and "several values"
are ``NoData``, never zero; a server that is down, slow or answers rubbish is ``TemporaryError``; a counter that went
backwards or began anew (a restart) is ``CountsLost``, and the caller begins again. Each message says which arm and
which counter.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

from airlock.models import Sample
from airlock.models.needs import Needs
from airlock.options import Options, validated


class MetricSource(ABC):
    """Counts of requests, errors and latencies per version."""

    Options: ClassVar[type[Options]]
    needs: ClassVar[Needs]

    def __init__(self, options: dict[str, Any]) -> None:
        """Validate the options.

        :raises InvalidInput: an option is missing, unknown or of the wrong type
        """
        self.options = validated(self.Options, options, f"metric source {type(self).__name__}")

    @abstractmethod
    def online(self) -> str:
        """Return a sentence that says where the numbers come from; raise ``TemporaryError`` if that is out of reach."""

    @abstractmethod
    def begin(self, stable: str, canary: str, *, alone: bool = False) -> dict[str, Any]:
        """Return a mark (plain JSON) of the counters now; ``sample`` counts from it. Survives a crash of the caller.

        :param alone: whether the canary has all traffic. The stable version is not compared with then, so it need not
            run: it may be what the release mends.
        """

    @abstractmethod
    def sample(self, mark: dict[str, Any], stable: str, canary: str, canary_share: float) -> Sample:
        """Return the counts of both arms since *mark*."""
