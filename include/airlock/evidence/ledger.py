"""The append-only store of records: one object for each record, so that parallel tasks never contend.

Lies at ``<root>/<service>/<environment>/<release>/``, outside Airflow's database. There is no update and no delete.
Knows records and paths. Must not know what a record means, except that ``outcome`` ends a release; nor Airflow.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC
from pathlib import Path

from pydantic import ValidationError
from upath import UPath

from airlock.errors import EvidenceInvalid, GateRefused, InvalidInput
from airlock.evidence import objects
from airlock.models import Record, canonical_json

log = logging.getLogger(__name__)
SEAL = "seal.json"
OUTCOME = "outcome"
"""Type of the record that ends a release; its data holds ``outcome``, a value of ``models.Outcome``."""
_PART = re.compile(r"[a-z][a-z0-9_-]{0,62}")
_RELEASE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*(\.[A-Za-z0-9_-]+)*")
_RELEASE_LENGTH = 128


class Ledger:
    """The records of one service in one environment."""

    def __init__(self, root: str | Path | UPath, service: str, environment: str) -> None:
        """Point to ``<root>/<service>/<environment>/``; nothing is created before the first record.

        :raises InvalidInput: a name is not safe in a path
        """
        for what, name in (("service", service), ("environment", environment)):
            if not _PART.fullmatch(name):
                raise InvalidInput(f"{what} {name!r} is not a name of lower case letters, digits, '_' and '-'")
        self.service = service
        self.environment = environment
        self.folder = objects.root_path(root) / service / environment

    def append(self, record: Record) -> str:
        """Write *record* and return the name of its object. The identical record again changes nothing.

        :raises InvalidInput: the release id is unsafe, or the data is not JSON or too large
        :raises GateRefused: the release is sealed
        :raises EvidenceInvalid: another object has the record's name
        :raises TemporaryError: the disk is full or the store cannot be reached
        """
        folder = self.release_folder(record.release)
        data = record_bytes(record)
        name = record_name(record)
        path = folder / name
        # Writers share the lock: they never wait for each other, only for a seal. An object store has no locks, so a
        # seal may be set there between the look and the write: such a late record is taken back.
        with objects.locked(self.folder, shared=True):
            sealed = self.sealed(record.release)
            if sealed or not objects.create(path, data):
                self._check_repeated(record, path, data, sealed)
                return name
            if self.sealed(record.release) and name.encode() not in _payload(objects.read(folder / SEAL)):
                objects.withdraw(path)
                raise GateRefused(_sealed_message(record))
        log.debug("ledger: release %s: recorded %s %s by %s as %s", record.release, record.type, record.subject or "-",
                 record.actor, name)
        return name

    def read(self, release: str) -> tuple[Record, ...]:
        """Return the records of *release* in order of time; empty if there are none.

        :raises EvidenceInvalid: a record was altered or renamed; it is named
        """
        folder = self.release_folder(release)
        return tuple(parse_record(self._bytes(folder / name), name, release) for name in self.record_names(release))

    def read_undamaged(self, release: str) -> tuple[tuple[Record, ...], tuple[str, ...]]:
        """Return the records of *release* that can be read, and what is wrong with each of the others."""
        folder = self.release_folder(release)
        records: list[Record] = []
        damaged: list[str] = []
        for name in self.record_names(release):
            try:
                records.append(parse_record(self._bytes(folder / name), name, release))
            except EvidenceInvalid as error:
                damaged.append(str(error))
        return tuple(records), tuple(damaged)

    def latest(self, release: str, type: str, subject: str = "") -> Record | None:
        """Return the newest record of *type* and *subject*, or ``None``.

        :raises EvidenceInvalid: a record that may be the one was altered
        """
        folder = self.release_folder(release)
        infix = f"-{_slug(type)}-{_slug(subject)}-"
        for name in reversed(self.record_names(release)):
            if infix in name:
                record = parse_record(self._bytes(folder / name), name, release)
                if (record.type, record.subject) == (type, subject):
                    return record
        return None

    def releases(self) -> tuple[str, ...]:
        """Return the ids of all releases, sorted."""
        return tuple(name for name in objects.names(self.folder) if _is_release(name))

    def unsettled(self) -> tuple[str, ...]:
        """Return the releases that are not sealed: still under way, or left behind by a crash."""
        return tuple(release for release in self.releases() if not self.sealed(release))

    def sealed(self, release: str) -> bool:
        """Return whether *release* is closed: its seal is set and nothing can be appended."""
        return objects.exists(self.release_folder(release) / SEAL)

    @contextmanager
    def acting(self, patience: float) -> Iterator[None]:
        """Let one process at a time act on what the service environment releases; see ``objects.locked``.

        :param patience: seconds to wait for another process
        :raises TemporaryError: another process did not leave in that time
        """
        with objects.locked(self.folder, "act", patience):
            yield

    def record_names(self, release: str) -> tuple[str, ...]:
        """Return the names of the release's record objects, in order."""
        return tuple(name for name in objects.names(self.release_folder(release)) if name != SEAL)

    def release_folder(self, release: str) -> UPath:
        """Return the folder of *release*.

        :raises InvalidInput: the id is not safe in a path
        """
        if not _is_release(release):
            raise InvalidInput(
                f"release id {release[:80]!r} is not safe in a path: use 1 to {_RELEASE_LENGTH} letters, digits, "
                "'_', '-' and single dots, for example shop-prod-20261122T210000-ab12cd"
            )
        return self.folder / release

    def _check_repeated(self, record: Record, path: UPath, data: bytes, sealed: bool) -> None:
        if objects.read(path) == data:
            return
        if sealed:
            raise GateRefused(_sealed_message(record))
        raise EvidenceInvalid(f"{path} holds something else than the record it is named after: it was altered")

    def _bytes(self, path: UPath) -> bytes:
        data = objects.read(path)
        if data is None:
            raise EvidenceInvalid(f"{path} was removed while it was read")
        return data


def record_bytes(record: Record) -> bytes:
    """Return what is stored of *record*: canonical JSON, its time in UTC.

    :raises InvalidInput: the data is not JSON (NaN, bytes, lone surrogates, cycles), or larger than 16 MiB
    """
    try:
        # Checked apart, because the model would quietly write null for a number that JSON does not have.
        json.dumps(record.data, allow_nan=False, default=str, skipkeys=True)
        data = canonical_json(_in_utc(record))
    except (ValueError, RecursionError, OverflowError) as error:
        raise InvalidInput(
            f"record {record.type!r} of release {record.release[:80]!r} cannot be written as JSON: {str(error)[:200]}"
        ) from error
    if len(data) > objects.MAXIMUM_BYTES:
        raise InvalidInput(f"record {record.type!r} of release {record.release[:80]!r} has {len(data)} bytes; "
                           f"at most {objects.MAXIMUM_BYTES} are kept: store large data elsewhere, record its digest")
    return data


def record_name(record: Record) -> str:
    """Return the object name of *record*: its time to the microsecond, type, subject and the start of its digest."""
    at = _in_utc(record).at
    moment = f"{at.year:04d}{at:%m%dT%H%M%S}.{at.microsecond:06d}Z"
    digest = hashlib.sha256(record_bytes(record)).hexdigest()[:16]
    return f"{moment}-{_slug(record.type)}-{_slug(record.subject)}-{digest}.json"


def parse_record(data: bytes, name: str, release: str = "") -> Record:
    """Return the record in *data*, which was stored as *name*.

    :param release: the release that the record must belong to; empty for any
    :raises EvidenceInvalid: it is no record, of another release, or not the one that *name* was given to
    """
    shown = objects.shown(name)
    value = objects.parse_json(data, f"record {shown}")
    try:
        record = Record.model_validate(value)
        fits = record_name(record) == name and record_bytes(record) == data
    except (ValidationError, InvalidInput) as error:
        raise EvidenceInvalid(f"record {shown} was altered: it is not a record any more") from error
    if not fits:
        raise EvidenceInvalid(f"record {shown} was altered or renamed: its content does not fit its name")
    if release and record.release != release:
        raise EvidenceInvalid(f"record {shown} belongs to the release {record.release[:80]!r}, not to {release!r}")
    return record


def _in_utc(record: Record) -> Record:
    try:
        return record.model_copy(update={"at": record.at.astimezone(UTC)})
    except OverflowError as error:
        raise InvalidInput(f"record {record.type!r}: its time {record.at} does not exist in UTC") from error


def _slug(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9._]", "_", text)[:48] or "_"


def _is_release(name: str) -> bool:
    return len(name) <= _RELEASE_LENGTH and _RELEASE.fullmatch(name) is not None


def _payload(seal: bytes | None) -> bytes:
    from base64 import b64decode

    envelope = objects.parse_json(seal or b"{}", SEAL)
    return b64decode(str(envelope.get("payload", ""))) if isinstance(envelope, dict) else b""


def _sealed_message(record: Record) -> str:
    return (f"release {record.release} is sealed: the record {record.type!r} {record.subject!r} cannot be appended; "
            "what happens now belongs to a new release")
