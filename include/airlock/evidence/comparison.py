"""Compare the records that a seal lists with those that are found, and name every difference. Pure; no I/O."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from airlock.errors import EvidenceInvalid
from airlock.evidence import objects
from airlock.evidence.statement import Predicate, SealedRecord, sha256
from airlock.evidence.stored import StoredRecord, missing, parse_record, parse_stored
from airlock.signing import Keyring


@dataclass(frozen=True)
class Expected:
    """One sealed record and the file that must hold it."""

    record: SealedRecord
    file: str

    @property
    def label(self) -> str:
        """Return how the record is called in a message."""
        return f"record {self.record.position} ({objects.shown(self.record.name)})"


def pack_file(record: SealedRecord) -> str:
    """Return the name of the record's file in a pack."""
    return f"records/{record.position:04d}-{record.name}"


def compare(predicate: Predicate, files: Mapping[str, bytes | None], packed: bool) -> list[str]:
    """Return a sentence for every record that was altered, removed, cut off, reordered, duplicated or added.

    :param files: the record files that are found, by name; ``None`` where one cannot be read
    :param packed: whether the files are named as in a pack, or as in a ledger
    """
    expected = [Expected(record, pack_file(record) if packed else record.name) for record in predicate.records]
    found = {name: sha256(data) if data is not None else "" for name, data in files.items()}
    by_file = {item.file: item for item in expected}
    by_digest = {item.record.digest: item for item in expected}
    in_place = {item.file for item in expected if found.get(item.file) == item.record.digest}
    last_present = max((item.record.position for item in expected if item.file in found), default=0)
    problems: list[str] = []
    moved: set[str] = set()
    for item in expected:
        if item.file in in_place:
            problems += _inner(item, files[item.file] or b"", predicate.release)
            continue
        elsewhere = next((name for name, digest in found.items()
                          if digest == item.record.digest and name not in in_place), None)
        if elsewhere is not None:
            moved.add(elsewhere)
            problems.append(f"reordered: {item.label} is found as {objects.shown(elsewhere)}")
        if item.file in found:
            other = by_digest.get(found[item.file])
            if other is None:
                problems.append(f"altered: {item.label} is not what was sealed")
            elif other.file in in_place:
                problems.append(f"altered: {item.label} was replaced by a duplicate of {other.label}")
        elif elsewhere is None:
            word = "cut off" if item.record.position > last_present else "removed"
            problems.append(f"{word}: {item.label} is missing; the seal counts {predicate.count} records")
    for name in sorted(set(found) - set(by_file) - moved):
        original = by_digest.get(found[name])
        what = f"duplicated: {objects.shown(name)} repeats {original.label}" if original else \
            f"added: {objects.shown(name)} is not among the sealed records"
        problems.append(what)
    return problems


def unsealed(files: Mapping[str, bytes | None]) -> list[str]:
    """Return what can be said about records without a seal: whether each fits the digest in its own name."""
    problems = []
    for name, data in sorted(files.items()):
        try:
            parse_record(data or b"", _own_name(name))
        except EvidenceInvalid as error:
            problems.append(f"altered: {error}")
    return problems


def signatures(files: Mapping[str, bytes | None], trusted: Keyring | None) -> list[str]:
    """Return what the records say about each other: which are not signed as the others are, or by no trusted key, and
    which are gone although a later one saw them. Records that cannot be read are left to the other checks."""
    stored: dict[str, StoredRecord] = {}
    problems = []
    for name, data in sorted(files.items()):
        own = _own_name(name)
        try:
            stored[own] = parse_stored(data or b"", own)
            if trusted is not None and stored[own].signature is not None:
                parse_stored(data or b"", own, keyring=trusted)
        except EvidenceInvalid as error:
            if own in stored:
                problems.append(f"altered: {error}")
    if any(one.signature for one in stored.values()):
        problems += [f"added: the record {objects.shown(name)} is not signed, as the others are"
                     for name, one in stored.items() if one.signature is None]
    return problems + missing(stored, stored)


def _own_name(name: str) -> str:
    plain = name.removeprefix("records/")
    return plain[5:] if plain != name else plain


def _inner(item: Expected, data: bytes, release: str) -> list[str]:
    try:
        parse_record(data, item.record.name, release)
    except EvidenceInvalid as error:
        return [f"{item.label} was sealed although it is wrong: {error}"]
    return []
