"""What a seal says: the in-toto statement over all records of one release. Pure data and digests, no I/O."""

from __future__ import annotations

import hashlib
from typing import Any, Literal

from pydantic import AwareDatetime, Field, ValidationError

from airlock.errors import Damaged, EvidenceInvalid
from airlock.evidence import untrusted
from airlock.models import Digest, Frozen, Outcome, canonical_json
from airlock.signing import Keyring, key_id, signed_by

PAYLOAD_TYPE = "application/vnd.in-toto+json"


class SealedRecord(Frozen):
    """One record in a seal: its place (from 1), its object name and the digest of its bytes."""

    position: int = Field(ge=1)
    name: str
    digest: Digest


class PreviousSeal(Frozen):
    """The seal before this one in the same service and environment."""

    release: str
    sequence: int = Field(ge=1)
    digest: Digest


class Predicate(Frozen):
    """What is said about the records. ``sequence`` counts the seals of the service and environment, from 1."""

    service: str
    environment: str
    release: str
    outcome: Outcome
    sealed_at: AwareDatetime
    sequence: int = Field(ge=1)
    previous: PreviousSeal | None
    count: int = Field(ge=0)
    records: tuple[SealedRecord, ...]
    public_key: str
    how_to_verify: str


class Subject(Frozen):
    """One object that the statement is about."""

    name: str
    digest: dict[str, str]


class Statement(Frozen):
    """An in-toto statement, version 1."""

    type: Literal["https://in-toto.io/Statement/v1"] = Field("https://in-toto.io/Statement/v1", alias="_type")
    subject: tuple[Subject, ...]
    predicateType: Literal["https://airlock.dev/release/v1"] = "https://airlock.dev/release/v1"  # noqa: N815 - in-toto's spelling
    predicate: Predicate


class OpenSeal(Frozen):
    """A seal whose signature fits: what it says, the id of the key that signed it, and the digest of its bytes."""

    predicate: Predicate
    signed_by: str
    digest: Digest


def payload(predicate: Predicate) -> bytes:
    """Return the bytes that are signed for *predicate*."""
    # Plain data, because a model for each of thousands of subjects takes more memory than all the rest of a seal.
    subjects = [{"name": record.name, "digest": {"sha256": record.digest.removeprefix("sha256:")}}
                for record in predicate.records]
    bare = Statement(subject=(), predicate=predicate.model_copy(update={"records": ()}))
    said = bare.model_dump(mode="json", by_alias=True)
    said["predicate"]["records"] = [vars(record) for record in predicate.records]
    return canonical_json({**said, "subject": subjects})


def sha256(data: bytes) -> str:
    """Return ``sha256:<hex>`` of *data*."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


def open_seal(data: bytes, where: str, trusted: Keyring | None) -> OpenSeal:
    """Return what the seal in *data* says, after its signature and its inner agreement were checked.

    :param where: what the seal is called in messages
    :param trusted: the keys to trust; ``None`` takes the key that the seal itself names, which proves only that nothing
        was changed by anyone without a key of his own
    :raises EvidenceInvalid: the seal is malformed, altered, or signed by another key
    """
    envelope = untrusted.parse_json(data, where)
    if not isinstance(envelope, dict) or _canonical(envelope) != data:
        raise EvidenceInvalid(f"{where} was altered: it is not the canonical JSON of an envelope")
    try:
        keyring = trusted or Keyring([_named_key(envelope, where)])
        signed = keyring.verify(envelope, PAYLOAD_TYPE)
        predicate = _statement(signed, where).predicate
        signer = signed_by(envelope)
        named = key_id(predicate.public_key)
    except Damaged as error:
        raise EvidenceInvalid(f"{where}: {error}") from error
    except ValueError as error:
        raise EvidenceInvalid(f"{where} was altered: {error}") from error
    if named != signer:
        raise EvidenceInvalid(f"{where} is signed by the key {signer} but names the key {named}")
    if payload(predicate) != signed or predicate.count != len(predicate.records):
        raise EvidenceInvalid(f"{where} contradicts itself: its subjects, records and count differ")
    if [record.position for record in predicate.records] != list(range(1, predicate.count + 1)):
        raise EvidenceInvalid(f"{where} contradicts itself: its records are not numbered 1 to {predicate.count}")
    return OpenSeal(predicate=predicate, signed_by=signer, digest=sha256(data))


def _named_key(envelope: dict[str, Any], where: str) -> str:
    from base64 import b64decode

    signed_by(envelope)
    encoded = envelope["payload"]
    if not isinstance(encoded, str):
        raise EvidenceInvalid("the payload is not text")
    try:
        return _statement(b64decode(encoded.encode(), validate=True), where).predicate.public_key
    except ValueError as error:
        raise EvidenceInvalid("the payload is not base64") from error


def _statement(data: bytes, where: str) -> Statement:
    value = untrusted.parse_json(data, f"the statement in {where}")
    try:
        return Statement.model_validate(value)
    except ValidationError as error:
        fault = error.errors()[0]
        place = untrusted.shown(".".join(map(str, fault["loc"])))
        raise EvidenceInvalid(f"the statement in {where} is no release statement: {place}: {fault['msg']}") from error


def _canonical(value: Any) -> bytes:
    try:
        return canonical_json(value)
    except (ValueError, RecursionError):
        return b""
