"""Targets in memory that outlive the release that uses them: one for each folder that a service's options name."""

from __future__ import annotations

import hashlib
from typing import Any

from pydantic import ConfigDict

from airlock.models import Artifact
from airlock.options import Options
from tests.recompute.flown import MemoryTarget

KEPT: dict[str, MemoryTarget] = {}


class _Any(Options):
    model_config = ConfigDict(frozen=True, extra="allow")


class KeptTarget(MemoryTarget):
    """The target of one folder; 1.0 is stable when it is first met."""

    Options = _Any

    def __new__(cls, options: dict[str, Any]) -> KeptTarget:
        return KEPT.setdefault(str(options["folder"]), object.__new__(cls))  # type: ignore[return-value]

    def __init__(self, options: dict[str, Any]) -> None:
        if not hasattr(self, "stable"):
            super().__init__(Artifact(version="1.0", path="1.0", digest="sha256:" + hashlib.sha256(b"1.0").hexdigest()))
