"""Check the evidence of one release, wherever it was read from: its seal, its records, and what else lies beside them.

Knows seals and bytes by name. Must not know how they were read (``container``), nor what lies around the release.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from upath import UPath

from airlock.errors import Damaged
from airlock.evidence import comparison, container, untrusted
from airlock.evidence.ledger import SEAL
from airlock.evidence.report import Report, make_report
from airlock.evidence.statement import OpenSeal, open_seal
from airlock.models import Record
from airlock.signing import Keyring

README = "README.txt"
PUBLIC_KEY = "signing-key.pem"
RECORDS = "records"
UNTRUSTED = ("nothing shows who signed: the evidence names the key {key} itself; give the public key that you trust, "
             "--public-key FILE")


@dataclass(frozen=True)
class CheckedRelease:
    """What the check of one release found, its seal if that fits, and its readable records by name, in order, if they
    were asked for."""

    report: Report
    seal: OpenSeal | None
    records: tuple[tuple[str, Record], ...]


def check_release(contents: container.Contents, packed: bool, trusted: Keyring | None, place: UPath | None = None, *,
                  keep: bool = False) -> CheckedRelease:
    """Check the evidence of one release.

    :param packed: the files lie as in a pack, not as in the ledger
    :param place: the ledger's folder that they were read from
    :param keep: whether the records are wanted, not only what is wrong with them
    """
    files, problems = contents.files, list(contents.problems)
    records = {name: data for name, data in files.items()
               if name != SEAL and (not packed or name.startswith(f"{RECORDS}/"))}
    opened: OpenSeal | None = None
    if SEAL not in files:
        problems.append(f"removed: {SEAL} is missing, so nothing shows that the records are complete")
    else:
        try:
            opened = open_seal(files[SEAL] or b"", SEAL, trusted)
        except Damaged as error:
            problems.append(str(error))
    readings = comparison.read(records, trusted, opened.predicate.release if opened else "", keep=keep)
    if opened is None:
        problems += [*(f"altered: {fault}" for fault in readings.faults.values()), *readings.problems]
        return CheckedRelease(make_report(problems, records=len(records)), None, readings.records)
    predicate = opened.predicate
    problems += [*comparison.compare(predicate, records, packed, readings.faults), *readings.problems]
    if packed:
        problems += _check_extras(files, opened) + _check_form(contents, opened)
    elif place is not None and place.name != predicate.release:
        problems.append(f"moved: the folder {place.name} holds the seal of the release {predicate.release}")
    notes = [] if trusted else [UNTRUSTED.format(key=opened.signed_by)]
    report = make_report(problems, notes, release=predicate.release, outcome=predicate.outcome.value,
                         records=len(records), signed_by=opened.signed_by)
    return CheckedRelease(report, opened, readings.records)


def _check_extras(files: Mapping[str, bytes | None], opened: OpenSeal) -> list[str]:
    problems = []
    texts = {README: opened.predicate.how_to_verify, PUBLIC_KEY: opened.predicate.public_key}
    for name, text in texts.items():
        if name not in files:
            problems.append(f"removed: {name} is missing")
        elif files[name] != text.encode():
            problems.append(f"altered: {name} is not what was sealed")
    for name in sorted(files):
        if name not in texts and name != SEAL and not name.startswith(f"{RECORDS}/"):
            problems.append(f"added: {untrusted.shown(name)} is no part of a pack")
    return problems


def _check_form(contents: container.Contents, opened: OpenSeal) -> list[str]:
    """Return a sentence when a zip is not byte for byte what is written of these files."""
    records = [comparison.pack_file(record) for record in opened.predicate.records]
    order = [README, PUBLIC_KEY, SEAL, *records]
    faults = list(contents.deviations)
    if contents.zipped and list(contents.files) != order and sorted(contents.files) == sorted(order):
        faults.append("the order of its files")
    if not faults:
        return []
    more = f" and {len(faults) - 1} more" if len(faults) > 1 else ""
    return [f"rewritten: the zip is not as Airlock writes a pack: {faults[0]}{more}; another program packed it, or "
            "something was hidden in it; to check its files alone, unpack it and give the folder"]
