"""The evidence of one release as one file for auditors, and the offline check of packs, releases and whole ledgers.

Knows ledger, seals and zip files. Must not need Airflow, a network or a clock: a pack is checked years later elsewhere.
"""

from __future__ import annotations

import hashlib
import io
import logging
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from upath import UPath

from airlock.errors import EvidenceInvalid, InvalidInput
from airlock.evidence import chain, comparison, container, objects
from airlock.evidence.ledger import SEAL, Ledger
from airlock.evidence.report import Report, make_report
from airlock.evidence.statement import OpenSeal, open_seal
from airlock.evidence.stored import parse_record
from airlock.models import Record
from airlock.signing import Keyring

log = logging.getLogger(__name__)
README = "README.txt"
PUBLIC_KEY = "signing-key.pem"
_RECORDS = "records"
_UNTRUSTED = ("the seal names its own key {key}: compare this id with the one you trust, or give the trusted public "
              "key; without it only agreement within the evidence is shown")


def pack_path(folder: str | Path | UPath, release: str) -> UPath:
    """Return where the pack of *release* lies in *folder*: ``<folder>/<release>.zip``."""
    return objects.root_path(folder) / f"{release}.zip"


def write_pack(ledger: Ledger, release: str, folder: str | Path | UPath) -> str:
    """Write ``<folder>/<release>.zip`` and return its path. The same release always gives the same bytes.

    :raises EvidenceInvalid: the release is not sealed, or differs from its seal; nothing is written then
    :raises TemporaryError: the disk is full or the store cannot be reached
    """
    source = ledger.release_folder(release)
    data = objects.read(source / SEAL)
    if data is None:
        raise EvidenceInvalid(f"release {release} is not sealed: seal it before its pack is written")
    opened = open_seal(data, f"the seal of {release}", None)
    records = {name: objects.read(source / name) for name in ledger.record_names(release)}
    problems = comparison.compare(opened.predicate, records, packed=False)
    if problems:
        raise EvidenceInvalid(f"release {release} differs from its seal, no pack is written: {'; '.join(problems[:5])}")
    said = opened.predicate
    files = {README: said.how_to_verify.encode(), PUBLIC_KEY: said.public_key.encode(), SEAL: data}
    files |= {comparison.pack_file(record): records[record.name] or b"" for record in said.records}
    path = pack_path(folder, release)
    packed = _zip(files)
    objects.replace(path, packed)
    log.info("release %s: evidence pack %s written: %d records, %d bytes", release, path, len(records), len(packed))
    return str(path)


def verify(path: str | Path | UPath, trusted_public_keys: Iterable[str] = (),
           anchor: str | Path | UPath | None = None) -> Report:
    """Check evidence and name whatever was altered, removed, reordered, duplicated, added or cut off.

    :param path: a pack (zip), an unpacked pack, the ledger's folder of a release, or a folder above it: then every
        release is checked, and the chain of their seals
    :param trusted_public_keys: PEM texts; if none is given, each seal's own key is used and the report says so
    :param anchor: the folder with the digests of the newest seals, to detect that the newest releases were cut off
    :raises InvalidInput: there is nothing at *path*, or a key is no Ed25519 public key
    """
    keys = tuple(trusted_public_keys)
    trusted = Keyring(keys) if keys else None
    found = _contents(path)
    if found is not None:
        contents, packed, folder = found
        return _named(path, _verify_release(contents, packed, trusted, folder)[0], packed)
    place = objects.root_path(path)
    environments = chain.environments(place)
    if not environments:
        return make_report([f"{path} holds no evidence: no seal and no record"])
    return _verify_environments(environments, trusted, anchor)


@dataclass(frozen=True)
class OpenRelease:
    """One release's evidence: what its check found, its readable records with their names, in order, and the public
    key that its seal names (empty without a seal that fits). ``seal_digest`` is empty without a seal."""

    report: Report
    records: tuple[tuple[str, Record], ...]
    public_key: str
    seal_digest: str


def open_release(path: str | Path | UPath, trusted_public_keys: Iterable[str] = ()) -> OpenRelease:
    """Check the evidence of one release, as ``verify`` does, and read its records.

    :param path: a pack (zip), an unpacked pack, or the ledger's folder of a release
    :raises InvalidInput: there is nothing at *path*, or not one release
    """
    keys = tuple(trusted_public_keys)
    found = _contents(path)
    if found is None:
        raise InvalidInput(f"{path} is not the evidence of one release: give a pack, or one release's folder")
    contents, packed, place = found
    report, opened = _verify_release(contents, packed, Keyring(keys) if keys else None, place)
    report = _named(path, report, packed)
    records = []
    for name, data in sorted(contents.files.items()):
        own = name.removeprefix(f"{_RECORDS}/")[5:] if packed else name
        if name != SEAL and name.startswith(f"{_RECORDS}/") == packed:
            try:
                records.append((own, parse_record(data or b"", own)))
            except EvidenceInvalid:
                continue  # the report names it
    seal = contents.files.get(SEAL)
    digest = f"sha256:{hashlib.sha256(seal).hexdigest()}" if seal else ""
    return OpenRelease(report, tuple(records), opened.predicate.public_key if opened else "", digest)


def _contents(path: str | Path | UPath) -> tuple[container.Contents, bool, UPath | None] | None:
    """Return the files of one release, whether they are a pack, and its folder; ``None`` for a folder above releases.

    :raises InvalidInput: there is nothing at *path*
    """
    place = objects.root_path(path)
    if not objects.exists(place):
        raise InvalidInput(f"{path} does not exist: give a pack, an unpacked pack, or a folder of the ledger")
    if not objects.is_folder(place):
        here = objects.local(place)
        if here is None or not here.is_file():
            raise InvalidInput(f"{path} is not a local file: copy the pack to this machine first")
        return container.read_zip(here), True, None
    if set(objects.names(place)) & {_RECORDS, README, PUBLIC_KEY}:
        return container.read_folder(place, (_RECORDS,)), True, None
    if chain.is_release(place):
        return container.read_folder(place), False, place
    return None


def _verify_release(contents: container.Contents, packed: bool, trusted: Keyring | None,
                    place: UPath | None = None) -> tuple[Report, OpenSeal | None]:
    files = dict(contents.files)
    problems = list(contents.problems)
    prefix = f"{_RECORDS}/"
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
    notes = [] if trusted else [_UNTRUSTED.format(key=opened.signed_by)]
    return make_report(problems, notes, release=predicate.release, outcome=predicate.outcome.value,
                       records=len(records), signed_by=opened.signed_by), opened


def _named(path: str | Path | UPath, report: Report, packed: bool) -> Report:
    """Add a note when a pack's file is called like something else than the release in it: it may be an older one."""
    name = Path(str(path)).name
    if not packed or not report.release or name in (f"{report.release}.zip", report.release):
        return report
    note = f"{objects.shown(name)} holds the evidence of the release {report.release}: is this the one you asked for?"
    return report.model_copy(update={"notes": (*report.notes, note)})


def _check_extras(files: dict[str, bytes | None], opened: OpenSeal) -> list[str]:
    problems = []
    texts = {README: opened.predicate.how_to_verify, PUBLIC_KEY: opened.predicate.public_key}
    for name, text in texts.items():
        if name not in files:
            problems.append(f"removed: {name} is missing")
        elif files[name] != text.encode():
            problems.append(f"altered: {name} is not what was sealed")
    for name in sorted(files):
        if name not in texts and name != SEAL and not name.startswith(f"{_RECORDS}/"):
            problems.append(f"added: {objects.shown(name)} is no part of a pack")
    return problems


def _verify_environments(environments: list[UPath], trusted: Keyring | None,
                         anchor: str | Path | UPath | None) -> Report:
    problems: list[str] = []
    notes: list[str] = []
    signers: set[str] = set()
    count = 0
    for environment in environments:
        label = f"{environment.parent.name}/{environment.name}"
        seals: list[OpenSeal] = []
        for folder in chain.releases(environment):
            contents = container.read_folder(folder)
            if SEAL not in contents.files:
                notes.append(f"{label}/{folder.name} is not sealed: under way, or left behind by a crash")
                found = comparison.unsealed(contents.files) + comparison.signatures(contents.files, trusted)
                problems += [f"{label}/{folder.name}: {text}" for text in found]
                count += len(contents.files)
                continue
            report, opened = _verify_release(contents, False, trusted, folder)
            problems += [f"{label}/{folder.name}: {text}" for text in report.problems]
            count += report.records
            if opened is not None:
                seals.append(opened)
                signers.add(opened.signed_by)
        problems += [f"{label}: {text}" for text in chain.check(seals, environment, anchor)]
    if trusted is None:
        notes += [_UNTRUSTED.format(key=key) for key in sorted(signers)]
    return make_report(problems, notes, records=count, signed_by=", ".join(sorted(signers)))


def _zip(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            entry = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = 0o100644 << 16
            archive.writestr(entry, data)
    return buffer.getvalue()
