"""One record as it is stored: its bytes, its name, who signed it, and which records were there when it was written.

A record that is altered or invented without the key has no fitting signature; one that is removed is still named by
those that were written later. Records name what they saw instead of taking a number, so parallel writers never wait.
Knows bytes and keys, no folder.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC
from typing import Any

from pydantic import Field, ValidationError

from airlock.errors import Damaged, EvidenceInvalid, InvalidInput
from airlock.evidence import untrusted
from airlock.models import Frozen, Record, canonical_json
from airlock.places import objects
from airlock.signing import Keyring, Signer

PAYLOAD_TYPE = "application/vnd.airlock.record+json"
SEEN = 64
"""How many of the records before it a record names: more than write at once. Which ones: see ``links``."""
_TAG = re.compile(r"-([0-9a-f]{16})\.json$")


class Signature(Frozen):
    """One DSSE signature: over the canonical JSON of the record with what it saw and, as a signature's own signed
    attributes, the digest of all records that were there (``reached``, empty if not all are reached through what it
    saw) and where it was written (``ledger``). Former versions signed no attributes."""

    keyid: str
    sig: str
    reached: str = ""
    ledger: str = ""


class StoredRecord(Frozen):
    """What an object of the ledger holds. ``seen`` are tags: the 16 hex digits at the end of records' names."""

    record: Record
    seen: tuple[str, ...] = Field((), max_length=SEEN)
    signature: Signature | None = None

    @property
    def reached(self) -> str:
        """Return the digest of the set of records that it and those that it saw reach; empty if it says nothing."""
        return self.signature.reached if self.signature else ""

    @property
    def ledger(self) -> str:
        """Return where it was written; empty if it does not say."""
        return self.signature.ledger if self.signature else ""


def tag_of(name: str) -> str:
    """Return the tag of the record that is called *name*; empty if no record is called so."""
    found = _TAG.search(name)
    return found[1] if found else ""


def tags(names: Iterable[str]) -> tuple[str, ...]:
    """Return the tags of the newest ``SEEN`` of *names* (sorted, oldest first)."""
    return tuple(tag for name in list(names)[-SEEN:] if (tag := tag_of(name)))


def stored_bytes(
    record: Record, seen: Sequence[str], signer: Signer | None, *, reached: str = "", ledger: str = ""
) -> bytes:
    """Return what is stored of *record*, signed if there is a *signer*.

    :raises InvalidInput: the data is not JSON, or larger than 16 MiB
    """
    plain = record_bytes(record)
    if signer is None:
        return plain
    attributes = {name: text for name, text in (("reached", reached), ("ledger", ledger)) if text}
    content = {**json.loads(plain), "seen": list(seen)}
    signature = signer.sign(PAYLOAD_TYPE, canonical_json({**content, **attributes}))["signatures"][0]
    return canonical_json({**content, "signature": {**signature, **attributes}})


def is_stored(data: bytes, record: Record) -> bool:
    """Return whether *data* holds exactly *record*, whoever signed it."""
    try:
        return record_bytes(parse_record(data, record_name(record))) == record_bytes(record)
    except Damaged:
        return False


class Missing:
    """The records that others saw and that are not there. Takes one record after another and keeps none."""

    def __init__(self, names: Iterable[str]) -> None:
        """Take the names of all records that are there."""
        self._there = {tag_of(name) for name in names}
        self._gone: dict[str, str] = {}

    def saw(self, name: str, stored: StoredRecord) -> None:
        """Note what the record *stored*, called *name*, saw."""
        for tag in stored.seen:
            if tag not in self._there:
                self._gone.setdefault(tag, name)

    def sentences(self) -> list[str]:
        """Return a sentence for every record that is gone."""
        return [f"removed: the record ...-{untrusted.shown(tag)}.json is missing, which was there when "
                f"{untrusted.shown(name)} was written" for tag, name in self._gone.items()]


def missing(stored: Mapping[str, StoredRecord], names: Iterable[str]) -> list[str]:
    """Return a sentence for every record that one of *stored* (by name) saw and that is not among *names*."""
    gone = Missing(names)
    for name, one in stored.items():
        gone.saw(name, one)
    return gone.sentences()


def record_bytes(record: Record) -> bytes:
    """Return *record* as canonical JSON, its time in UTC.

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
    return _called(record, record_bytes(record))


def _called(record: Record, plain: bytes) -> str:
    at = _in_utc(record).at
    moment = f"{at.year:04d}{at:%m%dT%H%M%S}.{at.microsecond:06d}Z"
    digest = hashlib.sha256(plain).hexdigest()[:16]
    return f"{moment}-{slug(record.type)}-{slug(record.subject)}-{digest}.json"


def parse_record(data: bytes, name: str, release: str = "", keyring: Keyring | None = None) -> Record:
    """Return the record in *data*; see ``parse_stored``."""
    return parse_stored(data, name, release, keyring).record


def parse_stored(data: bytes, name: str, release: str = "", keyring: Keyring | None = None) -> StoredRecord:
    """Return what is in *data*, which was stored as *name*.

    :param release: the release that the record must belong to; empty for any
    :param keyring: the keys one of which must have signed it; ``None`` says nothing about signatures
    :raises EvidenceInvalid: it is no record, of another release, not the one that *name* was given to, or not signed
        by a trusted key
    """
    stored, written = parse_content(data, name, release)
    if keyring is not None:
        check_signature(written, stored, name, keyring)
    return stored


@dataclass(frozen=True)
class Written:
    """The text of a record, cut in two, so that its parts are written in order once and not for each digest of it: what
    goes up to its data, which is the most of it, and the fields behind."""

    head: bytes
    tail: Mapping[str, Any]

    def bytes_with(self, **more: Any) -> bytes:
        """Return the canonical JSON of the record, with *more* fields, all of which sort behind ``data``."""
        return self.head + canonical_json({**self.tail, **more})[1:]


def parse_content(data: bytes, name: str, release: str = "") -> tuple[StoredRecord, Written]:
    """Return the same, and what its signature is over; says nothing about the signature."""
    shown = untrusted.shown(name)
    value = untrusted.parse_json(data, f"record {shown}")
    try:
        fields = dict(value) if isinstance(value, dict) else {"": value}
        more = {field: fields.pop(field) for field in ("seen", "signature") if field in fields}
        stored = StoredRecord.model_validate({"record": fields, **more})
        fits = _spelled(stored.record, fields) and canonical_json(value) == data
        written = _written(fields, more, data)
        fits = fits and _called(stored.record, written.bytes_with()) == name
    except (ValidationError, InvalidInput, ValueError, RecursionError) as error:
        raise EvidenceInvalid(f"record {shown} was altered: it is not a record any more") from error
    if not fits or (stored.signature is None and more):
        raise EvidenceInvalid(f"record {shown} was altered or renamed: its content does not fit its name")
    if release and stored.record.release != release:
        raise EvidenceInvalid(
            f"record {shown} belongs to the release {stored.record.release[:80]!r}, not to {release!r}")
    return stored, written


def check_signature(written: Written, stored: StoredRecord, name: str, keyring: Keyring) -> None:
    """Check that a trusted key signed *stored*, whose text is *written* and which was stored as *name*.

    :raises EvidenceInvalid: none did
    """
    if stored.signature is None:
        raise EvidenceInvalid(f"record {untrusted.shown(name)} is not signed: "
                              "it was not written by Airlock with its key")
    attributes = stored.signature.model_dump(exclude_unset=True)
    bare = {part: attributes.pop(part) for part in ("keyid", "sig")}
    try:
        keyring.check(bare, PAYLOAD_TYPE, written.bytes_with(seen=list(stored.seen), **attributes))
    except Damaged as error:
        raise EvidenceInvalid(f"record {untrusted.shown(name)}: {error}") from error


def _spelled(record: Record, fields: Mapping[str, Any]) -> bool:
    """Return whether *fields* are the one way to write *record*: all of them, and its time in UTC. What is in its data
    is kept as it was given, and all else is text."""
    return fields.keys() == Record.model_fields.keys() and fields["at"] == _time(_in_utc(record))


def _time(record: Record) -> Any:
    return record.model_dump(mode="json", include={"at"})["at"]


def _written(fields: Mapping[str, Any], more: Mapping[str, Any], data: bytes) -> Written:
    """Return the text of a record out of *data*, the canonical JSON of all *fields* with *more*."""
    tail = {field: value for field, value in fields.items() if field > "data"}
    end = len(canonical_json({**tail, **more})) - 1
    return Written(data[:-end], tail)


def _in_utc(record: Record) -> Record:
    try:
        return record.model_copy(update={"at": record.at.astimezone(UTC)})
    except OverflowError as error:
        raise InvalidInput(f"record {record.type!r}: its time {record.at} does not exist in UTC") from error


def slug(text: str) -> str:
    """Return *text* as it appears in a name."""
    return re.sub(r"[^A-Za-z0-9._]", "_", text)[:48] or "_"
