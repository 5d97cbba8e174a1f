"""The append-only store of records: one object for each record, so that parallel tasks never contend.

Lies at ``<root>/<service>/<environment>/<release>/``, outside Airflow's database. There is no update and no delete.
Knows records and paths. Must not know what a record means, except that ``outcome`` ends a release; nor Airflow.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Hashable, Iterable, Iterator
from contextlib import contextmanager

from upath import UPath

from airlock.errors import AirlockError, Damaged, EvidenceInvalid, GateRefused, InvalidInput
from airlock.evidence import untrusted
from airlock.evidence.anchor import Anchor
from airlock.evidence.links import links
from airlock.evidence.stored import (
    StoredRecord,
    is_stored,
    missing,
    parse_stored,
    record_name,
    slug,
    stored_bytes,
)
from airlock.models import Record
from airlock.places import lock, objects, paths
from airlock.places.paths import Location
from airlock.signing import Keyring, Signer

log = logging.getLogger(__name__)
SEAL = "seal.json"
OUTCOME = "outcome"
"""Type of the record that ends a release; its data holds ``outcome``, a value of ``models.Outcome``."""
_PART = re.compile(r"[a-z][a-z0-9_-]{0,62}")
_RELEASE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*(\.[A-Za-z0-9_-]+)*")
_RELEASE_LENGTH = 128


class Ledger:
    """The records of one service in one environment."""

    def __init__(self, root: Location, service: str, environment: str, *,
                 signer: Callable[[], Signer] | None = None, keyring: Callable[[], Keyring] | None = None,
                 anchor: Location | None = None) -> None:
        """Point to ``<root>/<service>/<environment>/``; nothing is created before the first record.

        :param signer: gives the key that signs each record; asked for when the first is written
        :param keyring: gives the keys that are trusted: then a record without a fitting signature is refused when it is
            read. Without it nothing is said about signatures.
        :param anchor: folder in another place that learns of each record at once, so that none can be removed unnoticed
        :raises InvalidInput: a name is not safe in a path
        """
        for what, name in (("service", service), ("environment", environment)):
            if not _PART.fullmatch(name):
                raise InvalidInput(f"{what} {name!r} is not a name of lower case letters, digits, '_' and '-'")
        self.service = service
        self.environment = environment
        self.place = place_of(root, service, environment)
        self.folder = paths.root_path(root) / service / environment
        self._anchor = None if anchor is None else Anchor(anchor, service, environment)
        self._signer = signer
        self._keyring = keyring
        self._checked: dict[tuple[str, str], tuple[Hashable, StoredRecord]] = {}

    def append(self, record: Record) -> str:
        """Write *record* and return the name of its object. The identical record again changes nothing.

        :raises InvalidInput: the release id is unsafe, or the data is not JSON or too large
        :raises GateRefused: the release is sealed
        :raises EvidenceInvalid: another object has the record's name
        :raises TemporaryError: the disk is full or the store cannot be reached
        """
        folder = self.release_folder(record.release)
        name = record_name(record)
        data = self._signed(record)
        path = folder / name
        # Writers share the lock: they never wait for each other, only for a seal. An object store has no locks, so a
        # seal may be set there between the look and the write: such a late record is taken back.
        with lock.locked(self.folder, shared=True):
            sealed = self.sealed(record.release)
            if sealed or not objects.create(path, data):
                self._check_repeated(record, path, sealed)
                return name
            if self.sealed(record.release) and name.encode() not in _payload(objects.read(folder / SEAL)):
                objects.withdraw(path)
                raise GateRefused(_sealed_message(record))
        self._mark(record.release, name)
        log.debug("ledger: release %s: recorded %s %s by %s as %s", record.release, record.type, record.subject or "-",
                 record.actor, name)
        return name

    def read(self, release: str) -> tuple[Record, ...]:
        """Return the records of *release* in order of time; empty if there are none.

        :raises EvidenceInvalid: a record was altered, renamed, or not signed by a trusted key; or one that a later
            record saw, or the anchor, is gone; it is named; or the anchor was altered
        :raises TemporaryError: ledger or anchor cannot be reached
        """
        marked = self._marked(release)
        names = self.record_names(release)
        found = [self._stored(release, name) for name in names]
        gone = missing(dict(zip(names, found, strict=True)), self.record_names(release)) + unmarked(marked, names)
        if gone:
            raise EvidenceInvalid(f"release {release}: {'; '.join(gone[:5])}")
        return tuple(one.record for one in found)

    def read_undamaged(self, release: str) -> tuple[tuple[Record, ...], tuple[str, ...]]:
        """Return the records of *release* that can be read and trusted, and what is wrong with, or gone of, others."""
        found: dict[str, StoredRecord] = {}
        damaged: list[str] = []
        try:
            marked = self._marked(release)
        except AirlockError as error:
            log.error("what the anchor knows of %s is not compared now: %s", release, error)
            marked = ()
        for name in self.record_names(release):
            try:
                found[name] = self._stored(release, name)
            except Damaged as error:
                damaged.append(str(error))
        names = self.record_names(release)
        gone = missing(found, names) + unmarked(marked, names)
        return tuple(one.record for one in found.values()), (*damaged, *gone)

    def latest(self, release: str, type: str, subject: str = "") -> Record | None:
        """Return the newest record of *type* and *subject*, or ``None``.

        What was removed is not noticed here but by ``read``, which every act and every permit go through.

        :raises EvidenceInvalid: a record that may be the one was altered, or is not signed by a trusted key
        """
        infix = f"-{slug(type)}-{slug(subject)}-"
        for name in reversed(self.record_names(release)):
            if infix in name:
                record = self._stored(release, name).record
                if (record.type, record.subject) == (type, subject):
                    return record
        return None

    def releases(self) -> tuple[str, ...]:
        """Return the ids of all releases, sorted."""
        return tuple(name for name in objects.names(self.folder) if is_release_id(name))

    def unsettled(self) -> tuple[str, ...]:
        """Return the releases that are not sealed: still under way, or left behind by a crash."""
        return tuple(release for release in self.releases() if not self.sealed(release))

    def vanished(self) -> tuple[str, ...]:
        """Return the releases of which the anchor knows that they began and were not sealed, and nothing is here.

        :raises EvidenceInvalid: the anchor was altered
        :raises TemporaryError: the anchor cannot be reached
        """
        if self._anchor is None:
            return ()
        began = self._anchor.releases()  # before the ledger is looked at: what begins meanwhile is in it
        gone = set(began) - set(self.releases())
        return tuple(release for release in sorted(gone) if not self._anchor.sealed(release))

    def sealed(self, release: str) -> bool:
        """Return whether *release* is closed: its seal is set and nothing can be appended."""
        return objects.exists(self.release_folder(release) / SEAL)

    @contextmanager
    def acting(self, patience: float) -> Iterator[None]:
        """Let one process at a time act on what the service environment releases; see ``lock.locked``.

        :param patience: seconds to wait for another process
        :raises TemporaryError: another process did not leave in that time
        """
        with lock.locked(self.folder, "act", patience):
            yield

    def record_names(self, release: str) -> tuple[str, ...]:
        """Return the names of the release's record objects, in order."""
        return tuple(name for name in objects.names(self.release_folder(release)) if name != SEAL)

    def release_folder(self, release: str) -> UPath:
        """Return the folder of *release*.

        :raises InvalidInput: the id is not safe in a path
        """
        if not is_release_id(release):
            raise InvalidInput(
                f"release id {release[:80]!r} is not safe in a path: use 1 to {_RELEASE_LENGTH} letters, digits, "
                "'_', '-' and single dots, for example shop-prod-20261122T210000-ab12cd"
            )
        return self.folder / release

    def _signed(self, record: Record) -> bytes:
        if self._signer is None:
            return stored_bytes(record, (), None)
        names, folder = self.record_names(record.release), self.release_folder(record.release)
        seen, reached = links(names, lambda name: self._undamaged(record.release, name), lambda: objects.latest(folder))
        return stored_bytes(record, seen, self._signer(), reached=reached, ledger=self.place)

    def _undamaged(self, release: str, name: str) -> StoredRecord | None:
        try:
            return self._stored(release, name)
        except Damaged:
            return None

    def _mark(self, release: str, name: str) -> None:
        """Tell the anchor of a record. One that cannot be reached keeps no release from going back; what goes forward
        reads what the anchor knows, and stops there."""
        if self._anchor is None:
            return
        try:
            self._anchor.mark(release, name)
        except AirlockError as error:
            log.error("release %s: the anchor has not learned of the record %s: %s", release, name, error)

    def _marked(self, release: str) -> tuple[str, ...]:
        return () if self._anchor is None else self._anchor.records(release)

    def _check_repeated(self, record: Record, path: UPath, sealed: bool) -> None:
        found = objects.read(path)
        if found is not None and is_stored(found, record):
            return
        if sealed:
            raise GateRefused(_sealed_message(record))
        raise EvidenceInvalid(f"{path} holds something else than the record it is named after: it was altered")

    def _stored(self, release: str, name: str) -> StoredRecord:
        """Return one record; what was checked once is not checked again while its file stays untouched."""
        path = self.release_folder(release) / name
        state = objects.unchanged_since(path)
        kept = self._checked.get((release, name))
        if kept is not None and state is not None and kept[0] == state:
            return kept[1]
        found = parse_stored(self._bytes(path), name, release, self._keyring() if self._keyring else None)
        if found.ledger not in ("", self.place):
            raise EvidenceInvalid(f"record {untrusted.shown(name)} was moved here: it was written for "
                                  f"{untrusted.shown(found.ledger)}, not for {self.place}")
        if state is not None:
            self._checked[release, name] = (state, found)
        return found

    def _bytes(self, path: UPath) -> bytes:
        data = objects.read(path)
        if data is None:
            raise EvidenceInvalid(f"{path} was removed while it was read")
        return data


def place_of(root: Location, service: str, environment: str) -> str:
    """Return what a record says of where it was written: service and environment, and the stream that *root* is of."""
    name = paths.root_path(root).name
    return "/".join((*((name,) if name.startswith("_") else ()), service, environment))


def unmarked(marked: Iterable[str], names: Iterable[str]) -> list[str]:
    """Return a sentence for every record that the anchor has *marked* and that is not among *names*."""
    there = frozenset(names)
    return [f"removed: the record {untrusted.shown(name)} is missing, which the anchor knows"
            for name in marked if name not in there]


def is_release_id(name: str) -> bool:
    """Return whether a release may be called *name*."""
    return len(name) <= _RELEASE_LENGTH and _RELEASE.fullmatch(name) is not None


def _payload(seal: bytes | None) -> bytes:
    from base64 import b64decode

    envelope = untrusted.parse_json(seal or b"{}", SEAL)
    return b64decode(str(envelope.get("payload", ""))) if isinstance(envelope, dict) else b""


def _sealed_message(record: Record) -> str:
    return (f"release {record.release} is sealed: the record {record.type!r} {record.subject!r} cannot be appended; "
            "what happens now belongs to a new release")
