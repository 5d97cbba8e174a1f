"""The evidence of one release as one file for auditors, and the offline check of packs, releases and whole ledgers.

Knows ledger, seals and zip files. Must not need Airflow, a network or a clock: a pack is checked years later elsewhere.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from upath import UPath

from airlock.errors import EvidenceInvalid, InvalidInput
from airlock.evidence import chain, comparison, container, objects, tree, zipped
from airlock.evidence.history import verify_history
from airlock.evidence.ledger import SEAL, Ledger
from airlock.evidence.release_check import PUBLIC_KEY, README, RECORDS, check_release
from airlock.evidence.report import Report
from airlock.evidence.statement import open_seal
from airlock.models import Record
from airlock.signing import Keyring

log = logging.getLogger(__name__)


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
    faults = comparison.read(records, None, release).faults
    problems = comparison.compare(opened.predicate, records, False, faults)
    if problems:
        raise EvidenceInvalid(f"release {release} differs from its seal, no pack is written: {'; '.join(problems[:5])}")
    said = opened.predicate
    files = {README: said.how_to_verify.encode(), PUBLIC_KEY: said.public_key.encode(), SEAL: data}
    files |= {comparison.pack_file(record): records[record.name] or b"" for record in said.records}
    path = pack_path(folder, release)
    packed = zipped.zip_of(files)
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
        return _named(path, check_release(contents, packed, trusted, folder).report, packed)
    return verify_history(objects.root_path(path), trusted, anchor)


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
    checked = check_release(contents, packed, Keyring(keys) if keys else None, place, keep=True)
    seal = contents.files.get(SEAL)
    return OpenRelease(_named(path, checked.report, packed), checked.records,
                       checked.seal.predicate.public_key if checked.seal else "",
                       f"sha256:{hashlib.sha256(seal).hexdigest()}" if seal else "")


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
        return zipped.read_zip(here), True, None
    if tree.is_above_releases(place, (RECORDS,)):
        return None
    if set(objects.names(place)) & {RECORDS, README, PUBLIC_KEY}:
        return container.read_folder(place, (RECORDS,)), True, None
    if chain.is_release(place):
        return container.read_folder(place), False, place
    return None


def _named(path: str | Path | UPath, report: Report, packed: bool) -> Report:
    """Add a note when a pack's file is called like something else than the release in it: it may be an older one."""
    name = Path(str(path)).name
    if not packed or not report.release or name in (f"{report.release}.zip", report.release):
        return report
    note = f"{objects.shown(name)} holds the evidence of the release {report.release}: is this the one you asked for?"
    return report.model_copy(update={"notes": (*report.notes, note)})
