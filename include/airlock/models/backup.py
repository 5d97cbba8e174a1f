"""What a driver is given and gives back: resources, handles, recovery points, proofs."""

from __future__ import annotations

from typing import Any

from pydantic import AwareDatetime, Field

from airlock.models.frozen import Frozen, Name
from airlock.models.terms import Kind


class Resource(Frozen):
    """One thing that is backed up. ``options`` are validated by the driver's own ``Options``."""

    name: Name
    kind: Kind
    driver: str
    options: dict[str, Any] = Field(default_factory=dict)


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
    """One comparison of a proof."""

    name: str
    expected: Any
    found: Any
    ok: bool


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
