"""What a driver is given and gives back: resources, handles, recovery points, proofs."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from pydantic import AwareDatetime, Field

from airlock.models.frozen import Frozen, Name
from airlock.models.terms import Kind

_BOUNDS = {"least", "most"}
_ANY_OF, _HOLDS = "any_of", "holds"


class Resource(Frozen):
    """One thing that is backed up. ``options`` are validated by the driver's own ``Options``."""

    name: Name
    """Its name in tasks and records; resources of defaults are merged by it."""
    kind: Kind
    """Which of the ten kinds it is."""
    driver: str
    """What backs it up and restores it."""
    options: dict[str, Any] = Field(default_factory=dict)
    """Options of that driver; secrets are ids of Airflow connections."""


class Inspection(Frozen):
    """What a driver sees of a resource without changing it. ``fingerprint`` changes when the content does."""

    present: bool
    size_bytes: int | None = None
    fingerprint: str = ""
    detail: dict[str, Any] = Field(default_factory=dict)


class Handle(Frozen):
    """A backup under way. Survives JSON, so that a retry reattaches instead of beginning a second one."""

    token: str
    started_at: AwareDatetime
    state: dict[str, Any] = Field(default_factory=dict)


class Progress(Frozen):
    """How far a backup is. ``total`` is ``None`` while unknown."""

    done: bool
    completed: float = 0
    total: float | None = None
    unit: str = "bytes"
    message: str = ""


class StoredObject(Frozen):
    """One stream in the backup store: zstd, then age. Digests are over whole streams, and over the header of the
    encrypted one, which only the writer of the stream could have made."""

    name: str
    path: str
    replicas: tuple[str, ...] = ()
    plain_bytes: int
    plain_sha256: str
    cipher_bytes: int
    cipher_sha256: str
    header_sha256: str


class RecoveryPoint(Frozen):
    """One finished backup of one resource. ``facts`` is what a proof compares with; it never holds a secret value."""

    id: str
    resource: Resource
    taken_at: AwareDatetime
    seconds: float
    objects: tuple[StoredObject, ...] = ()
    facts: dict[str, Any] = Field(default_factory=dict)


class Check(Frozen):
    """One comparison of a proof. What was found is what was expected; or, where that is a bound (a mapping with
    ``least``, ``most`` or both: numbers, or moments in ISO 8601), lies within it; or is one of several (``any_of``); or
    holds what it must among other things (``holds``)."""

    name: str
    expected: Any
    found: Any
    ok: bool

    @property
    def fits(self) -> bool:
        """Return whether it is so, by the two values alone: ``ok`` must say the same, years later too."""
        bounds = self.expected
        if not isinstance(bounds, dict) or isinstance(self.found, dict) or not bounds:
            return bool(self.expected == self.found)
        (name, wanted), *more = bounds.items()
        if not more and isinstance(wanted, list) and name in (_ANY_OF, _HOLDS):
            if name == _ANY_OF:
                return self.found in wanted
            return isinstance(self.found, list) and all(one in self.found for one in wanted)
        if not bounds.keys() <= _BOUNDS:
            return bool(self.expected == self.found)
        found = _measure(self.found)
        least, most = (_measure(bounds.get(name, self.found)) for name in ("least", "most"))
        if found is None or type(least) is not type(found) or type(most) is not type(found):
            return False
        return bool(least <= found <= most)


class Proof(Frozen):
    """The record of one restore test. ``restore_seconds`` is the measured recovery time (RTO)."""

    recovery_point: str
    kind: Kind
    resource: str
    place: str
    checks: tuple[Check, ...]
    restore_seconds: float
    ok: bool
    reason: str = ""


def _measure(value: Any) -> Any:
    """Return *value* as what can be compared with a bound; ``None`` if it can not."""
    if isinstance(value, str):
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            return None
        return moment.astimezone(UTC) if moment.tzinfo else None
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
