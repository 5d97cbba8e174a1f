"""The contract of every backup driver, and the two bases that most drivers derive from.

Knows the store and the models. Must not know releases, permits or Airflow tasks.

The life of a backup
--------------------
1. ``inspect`` and ``plan`` look, change nothing, and may be called at any time, any number of times.
2. ``start(token)`` begins. The same token again returns a handle of the *same* backup: after a crash there is no second
   snapshot. ``poll(handle)`` tells how far it is. ``finish(handle)`` returns the recovery point, and the same recovery
   point when it is called again.
3. ``restore(point, place)`` puts the content into *place*. One code path serves restore tests (a scratch place) and
   rollbacks (the origin), so that what was tested is what will be used.
4. ``prove(point, place)`` compares what now is in *place* with what was recorded when the backup was taken. It returns
   every comparison; it does not raise because one fails.
5. ``discard(place)`` removes a scratch place and all that is in it. It succeeds when nothing is there.
6. ``expire(point)`` removes a recovery point. It succeeds when nothing is there. What others build on stays, and is
   said by ``StillNeeded``: it goes when they have gone.

Drivers must
  - raise ``TemporaryError`` when a server is down, slow or throttles, and ``PermanentError`` for everything else that
    they foresee; unwrap their client's errors; name the resource in every message;
  - stream: memory does not grow with the size of the resource;
  - log what was done to which resource (ids, sizes, seconds), and never a secret value.

Drivers may leave a scratch place half filled when they raise: the caller discards it.
Drivers must not retry (the caller does), write outside *place* and the store, or change the origin, except in a
``restore`` whose place is the origin.
"""

from __future__ import annotations

import json
import logging
import secrets
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar

from airlock.backup.store import BackupStore
from airlock.errors import AirlockError, BackupDamaged, InvalidInput
from airlock.models import (
    Check,
    Frozen,
    Handle,
    Inspection,
    Kind,
    Progress,
    RecoveryPoint,
    Resource,
    StoredObject,
    canonical_json,
    digest_of,
    utc_now,
)
from airlock.models.needs import Needs
from airlock.options import Options, validated

log = logging.getLogger(__name__)
Write = Callable[[str, Iterable[bytes]], StoredObject]
"""Write one named stream of bytes into the recovery point that is being taken."""


class Capabilities(Frozen):
    """What a driver can and cannot do, as data, so that a plan can be refused before anything is touched.

    leaves_out: what belongs to such a resource and is never taken, in words for people; every recovery point has them
        as the fact ``leaves_out``, and what its driver found and left out of this one backup as the fact ``left_out``
    """

    restore_proof: bool = True
    restores_origin: bool = True
    consistent: str = "the moment of reading"
    leaves_out: tuple[str, ...] = ()


class Place(Frozen):
    """Where a restore goes. A scratch place has a *name* that is safe in paths, schemas and host names (at most 24
    letters and digits), and a local *folder* of its own that the driver may create and fill."""

    origin: bool = False
    name: str = ""
    folder: str = ""


class Driver(ABC):
    """One sort of resource; see the module's docstring for what each method promises."""

    kind: ClassVar[Kind]
    Options: ClassVar[type[Options]]
    capabilities: ClassVar[Capabilities] = Capabilities()
    needs: ClassVar[Needs]

    def __init__(self, resource: Resource, store: BackupStore) -> None:
        """Validate the resource's options.

        :raises InvalidInput: an option is missing, unknown or of the wrong type; every fault is named
        """
        self.resource = resource
        self.store = store
        self.options = validated(self.Options, resource.options, f"{self.label}: driver {resource.driver!r}")

    @property
    def label(self) -> str:
        """Return ``kind.resource``, the way that messages and logs name this resource."""
        return f"{self.resource.kind}.{self.resource.name}"

    @abstractmethod
    def inspect(self) -> Inspection: ...

    def plan(self) -> dict[str, Any]:
        """Return what would be taken and where it would go; the same again while the resource does not change."""
        seen = self.inspect()
        return {"resource": self.label, "driver": self.resource.driver, "present": seen.present,
                "size_bytes": seen.size_bytes, "store": self.store.location,
                "leaves_out": [*self.capabilities.leaves_out, *seen.detail.get("left_out", ())]}

    @abstractmethod
    def start(self, token: str) -> Handle: ...

    @abstractmethod
    def poll(self, handle: Handle) -> Progress: ...

    @abstractmethod
    def finish(self, handle: Handle) -> RecoveryPoint: ...

    @abstractmethod
    def restore(self, point: RecoveryPoint, place: Place) -> None: ...

    @abstractmethod
    def prove(self, point: RecoveryPoint, place: Place) -> tuple[Check, ...]: ...

    @abstractmethod
    def discard(self, place: Place) -> None: ...

    def expire(self, point: RecoveryPoint) -> None:
        """Remove the recovery point from the store."""
        self.store.delete_point(point.id)


class StreamDriver(Driver):
    """A resource that is read as streams of bytes by this process. Authors write ``inspect``, ``take``, ``restore``,
    ``prove`` and ``discard``.

    A crash leaves at worst streams in the store that belong to no backup; the ``finish`` that succeeds removes them.
    Of two that run at once, as when a living task is taken for dead, the first to end is the backup for both.
    """

    @abstractmethod
    def take(self, write: Write) -> dict[str, Any]:
        """Write every stream with *write*; return the facts that a proof will compare with (no secret values)."""

    def take_as(self, token: str, write: Write) -> dict[str, Any]:  # noqa: ARG002 - part of the hook's signature
        """Take it as the backup of *token*; a hook for drivers that leave a part of it elsewhere, by that name."""
        return self.take(write)

    def start(self, token: str) -> Handle:
        return Handle(token=token, started_at=utc_now())

    def poll(self, handle: Handle) -> Progress:  # noqa: ARG002 - part of the contract
        return Progress(done=True, message="is read in one go when it is finished")

    def finish(self, handle: Handle) -> RecoveryPoint:
        existing = self.store.load_point(handle.token)
        if existing is not None:
            log.info("%s: recovery point %s exists already, nothing is taken again", self.label, existing.id)
            return existing
        try:
            kept = self.store.save_point(self._taken(handle.token))
        except AirlockError:
            # an attempt that ended first clears away what this one was writing
            first = self.store.load_point(handle.token)
            if first is None:
                raise
            self.store.clear_beside(first)
            kept = first
        return kept

    def _taken(self, token: str) -> RecoveryPoint:
        """Take the resource into files that are this attempt's own."""
        begun = time.monotonic()
        taken_at = utc_now()
        attempt, objects = secrets.token_hex(4), list[StoredObject]()

        def write(name: str, chunks: Iterable[bytes]) -> StoredObject:
            stored = self.store.write(token, name, chunks, attempt=attempt)
            objects.append(stored)
            return stored

        facts = {**self.take_as(token, write), "leaves_out": list(self.capabilities.leaves_out)}
        point = RecoveryPoint(id=token, resource=self.resource, taken_at=taken_at,
                              seconds=round(time.monotonic() - begun, 3), objects=tuple(objects), facts=facts)
        log.info("%s: recovery point %s taken: %d object(s), %d bytes plain, %d bytes stored, %.1f s", self.label,
                 point.id, len(objects), sum(o.plain_bytes for o in objects),
                 sum(o.cipher_bytes for o in objects), point.seconds)
        return point


class DocumentDriver(StreamDriver):
    """An API that is exported as named JSON documents. Authors write ``export``, ``load`` and ``discard``.

    The proof compares, document by document, what ``export`` reads in the scratch place with what it read at the origin
    when the backup was taken. Facts keep digests only.
    """

    @abstractmethod
    def export(self, place: Place) -> Mapping[str, Any]:
        """Return every document in *place* by name, in canonical form (no server-set or place-dependent fields)."""

    @abstractmethod
    def load(self, documents: Mapping[str, Any], place: Place) -> None:
        """Create or replace *documents* in *place*. Idempotent. Where the place is the origin, others are removed."""

    def left_out(self) -> list[str]:
        """Return what is at the origin now and is not taken, in words for people, beyond what is never taken."""
        return []

    def inspect(self) -> Inspection:
        documents = self.export(Place(origin=True))
        return Inspection(present=bool(documents), size_bytes=len(canonical_json(dict(documents))),
                          fingerprint=digest_of(dict(documents)),
                          detail={"documents": len(documents), "left_out": self.left_out()})  # fmt: skip

    def take(self, write: Write) -> dict[str, Any]:
        documents = dict(self.export(Place(origin=True)))
        if not documents:
            raise InvalidInput(f"{self.label}: nothing is there to back up; check the driver's options")
        write("documents.json", [canonical_json(documents)])
        return {"documents": {name: self.fact(name, document) for name, document in sorted(documents.items())},
                "left_out": self.left_out()}  # fmt: skip

    def fact(self, name: str, document: Any) -> str:  # noqa: ARG002 - part of the hook's signature
        """Return what is recorded of a document; drivers of secret documents override it with a keyed digest."""
        return digest_of(document)

    def restore(self, point: RecoveryPoint, place: Place) -> None:
        documents = self.stored_documents(point)
        try:
            self.load_point(point, documents, place)
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            # the bytes are those that were taken, yet a document lacks what every document of its sort has
            raise BackupDamaged(
                f"{self.label}: a document of recovery point {point.id} cannot be used "
                f"({type(error).__name__}); next: take the backup again"
            ) from error

    def load_point(self, point: RecoveryPoint, documents: Mapping[str, Any], place: Place) -> None:  # noqa: ARG002
        """Load the *documents* of *point*; a hook for drivers to which what else the point says matters."""
        self.load(documents, place)

    def stored_documents(self, point: RecoveryPoint) -> dict[str, Any]:
        """Return the documents in the store.

        :raises BackupDamaged: they are damaged, or are no documents
        """
        return self.stored_json(point)

    def stored_json(self, point: RecoveryPoint) -> dict[str, Any]:
        """Return what ``take`` wrote; errors as in ``stored_documents``."""
        try:
            found = json.loads(b"".join(self.store.read(point.objects[0])))
        except (ValueError, LookupError, RecursionError) as error:
            raise BackupDamaged(
                f"{self.label}: recovery point {point.id} holds no documents; next: take the backup again"
            ) from error
        if not isinstance(found, dict):
            raise BackupDamaged(f"{self.label}: recovery point {point.id} holds {type(found).__name__}, no documents")
        return found

    def prove(self, point: RecoveryPoint, place: Place) -> tuple[Check, ...]:
        recorded: Mapping[str, str] = point.facts["documents"]
        found = {name: self.fact(name, document) for name, document in self.export(place).items()}
        names = Check(name="names of documents", expected=sorted(recorded), found=sorted(found),
                      ok=sorted(recorded) == sorted(found))
        return (names, *(
            Check(name=f"content of {name}", expected=expected, found=found.get(name), ok=found.get(name) == expected)
            for name, expected in sorted(recorded.items())
        ))
