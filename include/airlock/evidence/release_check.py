"""Check the evidence of one release, wherever it was read from: its seal, its records, and what else lies beside them.

Knows seals and bytes by name. Must not know how they were read (``container``), nor what lies around the release.
"""

from __future__ import annotations

from upath import UPath

from airlock.errors import EvidenceInvalid
from airlock.evidence import comparison, container, objects
from airlock.evidence.ledger import SEAL
from airlock.evidence.report import Report, make_report
from airlock.evidence.statement import OpenSeal, open_seal
from airlock.signing import Keyring

README = "README.txt"
PUBLIC_KEY = "signing-key.pem"
RECORDS = "records"
UNTRUSTED = ("the seal names its own key {key}: compare this id with the one you trust, or give the trusted public "
             "key; without it only agreement within the evidence is shown")


def check_release(contents: container.Contents, packed: bool, trusted: Keyring | None,
                  place: UPath | None = None) -> tuple[Report, OpenSeal | None]:
    """Return what is wrong with the evidence of one release, and its seal if that fits.

    :param packed: the files lie as in a pack, not as in the ledger
    :param place: the ledger's folder that they were read from
    """
    files = dict(contents.files)
    problems = list(contents.problems)
    prefix = f"{RECORDS}/"
    records = {name: data for name, data in files.items() if not packed or name.startswith(prefix)}
    records.pop(SEAL, None)
    if SEAL not in files:
        problems += [f"removed: {SEAL} is missing, so nothing shows that the records are complete",
                     *comparison.unsealed(records), *comparison.signatures(records, trusted)]
        return make_report(problems, records=len(records)), None
    try:
        opened = open_seal(files[SEAL] or b"", SEAL, trusted)
    except EvidenceInvalid as error:
        problems += [str(error), *comparison.unsealed(records), *comparison.signatures(records, trusted)]
        return make_report(problems, records=len(records)), None
    predicate = opened.predicate
    problems += [*comparison.compare(predicate, records, packed), *comparison.signatures(records, trusted)]
    if packed:
        problems += _check_extras(files, opened)
    elif place is not None and place.name != predicate.release:
        problems.append(f"moved: the folder {place.name} holds the seal of the release {predicate.release}")
    notes = [] if trusted else [UNTRUSTED.format(key=opened.signed_by)]
    return make_report(problems, notes, release=predicate.release, outcome=predicate.outcome.value,
                       records=len(records), signed_by=opened.signed_by), opened


def _check_extras(files: dict[str, bytes | None], opened: OpenSeal) -> list[str]:
    problems = []
    texts = {README: opened.predicate.how_to_verify, PUBLIC_KEY: opened.predicate.public_key}
    for name, text in texts.items():
        if name not in files:
            problems.append(f"removed: {name} is missing")
        elif files[name] != text.encode():
            problems.append(f"altered: {name} is not what was sealed")
    for name in sorted(files):
        if name not in texts and name != SEAL and not name.startswith(f"{RECORDS}/"):
            problems.append(f"added: {objects.shown(name)} is no part of a pack")
    return problems
