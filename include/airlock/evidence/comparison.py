"""Compare the records that a seal lists with those that are found, and name every difference. Pure; no I/O."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

from airlock.errors import Damaged
from airlock.evidence import untrusted
from airlock.evidence.statement import Predicate, SealedRecord, sha256
from airlock.evidence.stored import Missing, check_signature, parse_content
from airlock.models import Record
from airlock.signing import Keyring

_PLACE = re.compile(r"records/(\d{4,})-")


@dataclass(frozen=True)
class Expected:
    """One sealed record and the file that must hold it."""

    record: SealedRecord
    file: str

    @property
    def label(self) -> str:
        """Return how the record is called in a message."""
        return f"record {self.record.position} ({untrusted.shown(self.record.name)})"


def pack_file(record: SealedRecord) -> str:
    """Return the name of the record's file in a pack."""
    return f"records/{record.position:04d}-{record.name}"


def place_of(file: str) -> tuple[int, str]:
    """Return the position of a record and its own name, by the name of its file; in a ledger the position is 0."""
    found = _PLACE.match(file)
    return (int(found[1][:9]), file[found.end():]) if found else (0, file.removeprefix("records/"))


@dataclass(frozen=True)
class Readings:
    """What the record files of one release say, each read once. *records* are by their own names, in order; *faults*
    tell of files that are no record; *problems* of records that are not rightly signed, and of those that are gone."""

    records: tuple[tuple[str, Record], ...]
    faults: Mapping[str, str]
    problems: tuple[str, ...]


def read(files: Mapping[str, bytes | None], trusted: Keyring | None, release: str = "", *,
         keep: bool = False, home: str = "") -> Readings:
    """Read every record file once.

    :param release: the release that the records must belong to; empty for any
    :param home: where the records of a release without a seal must have been written: as nothing else shows who wrote
        them, each must be signed if any key is trusted
    :param keep: whether the records are wanted, not only what is wrong with them
    """
    faults: dict[str, str] = {}
    problems, unsigned, records = [], [], []
    names = {file: place_of(file) for file in files}
    gone, signed = Missing(own for _, own in names.values()), False
    for file in sorted(files, key=names.__getitem__):
        own = names[file][1]
        try:
            stored, written = parse_content(files[file] or b"", own, release)
        except Damaged as error:
            faults[file] = str(error)
            continue
        gone.saw(own, stored)
        if keep:
            records.append((own, stored.record))
        if home and stored.ledger not in ("", home):
            there = untrusted.shown(stored.ledger)
            problems.append(f"moved: the record {untrusted.shown(own)} was written for {there}")
        if stored.signature is None and not (home and trusted):
            unsigned.append(own)
            continue
        signed = signed or stored.signature is not None
        try:
            if trusted is not None:
                check_signature(written, stored, own, trusted)
        except Damaged as error:
            problems.append(f"altered: {error}")
    if signed:
        problems += [f"added: the record {untrusted.shown(name)} is not signed, as the others are" for name in unsigned]
    return Readings(tuple(records), faults, (*problems, *gone.sentences()))


def compare(predicate: Predicate, files: Mapping[str, bytes | None], packed: bool,
            faults: Mapping[str, str]) -> list[str]:
    """Return a sentence for every record that was altered, removed, cut off, reordered, duplicated or added.

    :param files: the record files that are found, by name; ``None`` where one cannot be read
    :param packed: whether the files are named as in a pack, or as in a ledger
    :param faults: what is wrong with the content of a file, by its name
    """
    expected = [Expected(record, pack_file(record) if packed else record.name) for record in predicate.records]
    found = {name: sha256(data) if data is not None else "" for name, data in files.items()}
    by_file = {item.file: item for item in expected}
    by_digest = {item.record.digest: item for item in expected}
    in_place = {item.file for item in expected if found.get(item.file) == item.record.digest}
    elsewhere: dict[str, list[str]] = defaultdict(list)
    for name in sorted(set(found) - in_place):
        elsewhere[found[name]].append(name)
    last_present = max((item.record.position for item in expected if item.file in found), default=0)
    problems: list[str] = []
    moved: set[str] = set()
    for item in expected:
        if item.file in in_place:
            if item.file in faults:
                problems.append(f"{item.label} was sealed although it is wrong: {faults[item.file]}")
            continue
        other_places = elsewhere.get(item.record.digest, [])
        if other_places:
            moved.add(other_places[0])
            problems.append(f"reordered: {item.label} is found as {untrusted.shown(other_places[0])}")
        if item.file in found:
            other = by_digest.get(found[item.file])
            if other is None:
                problems.append(f"altered: {item.label} is not what was sealed")
            elif other.file in in_place:
                problems.append(f"altered: {item.label} was replaced by a duplicate of {other.label}")
        elif not other_places:
            word = "cut off" if item.record.position > last_present else "removed"
            problems.append(f"{word}: {item.label} is missing; the seal counts {predicate.count} records")
    for name in sorted(set(found) - set(by_file) - moved):
        original = by_digest.get(found[name])
        what = f"duplicated: {untrusted.shown(name)} repeats {original.label}" if original else \
            f"added: {untrusted.shown(name)} is not among the sealed records"
        problems.append(what)
    return problems
