"""The evidence of one release as one file for auditors, and the offline check of packs, releases and whole ledgers.

Knows ledger, seals and zip files. Must not need Airflow, a network or a clock: a pack is checked years later elsewhere.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from upath import UPath

from airlock.errors import EvidenceInvalid, InvalidInput
from airlock.evidence import chain, comparison, container, sequence, tree, untrusted, zipped
from airlock.evidence.history import verify_history
from airlock.evidence.ledger import SEAL, Ledger
from airlock.evidence.release_check import PUBLIC_KEY, README, RECORDS, CheckedRelease, check_release
from airlock.evidence.report import Report
from airlock.evidence.statement import OpenSeal, open_seal
from airlock.models import Record
from airlock.places import objects, paths, streams
from airlock.places.paths import Location
from airlock.signing import Keyring

log = logging.getLogger(__name__)


def pack_path(folder: Location, release: str) -> UPath:
    """Return where the pack of *release* lies in *folder*: ``<folder>/<release>.zip``."""
    return paths.root_path(folder) / f"{release}.zip"


def write_pack(ledger: Ledger, release: str, folder: Location) -> UPath:
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
    return path


def verify(path: Location, trusted_public_keys: Iterable[str] = (),
           anchor: Location | None = None, *, any_signer: bool = False, expected: Collection[str] = (),
           declared: Collection[str] = ()) -> Report:
    """Check evidence and name whatever was altered, removed, reordered, duplicated, added or cut off.

    :param path: a pack (zip), an unpacked pack, the ledger's folder of a release, or a folder above it: then every
        release is checked, and the chain of their seals
    :param trusted_public_keys: PEM texts; if none is given, each seal's own key is used, and the report is not ``ok``
    :param anchor: the folder with the digests of the newest seals, to detect that the newest releases were cut off
    :param any_signer: without keys, be content with evidence that agrees with itself, whoever signed it
    :param expected: of a ledger: ``service/environment`` of each that must be there; see ``verify_history``
    :param declared: of a ledger: of each that service files declare; likewise
    :raises InvalidInput: there is no evidence at *path*, no folder at *anchor*, or a key is no Ed25519 public key
    """
    keys = tuple(trusted_public_keys)
    trusted = Keyring(keys) if keys else None
    sequence.usable(anchor)
    checked = check(path, trusted)
    if checked is not None:
        if expected or declared:
            raise InvalidInput(f"{path} is the evidence of one release: which environments must be there is asked of a "
                               "ledger only; leave that out")
        report = _placed(path, checked, anchor)
    else:
        report = verify_history(paths.root_path(path), trusted, anchor, expected, declared)
        if anchor is None:
            report = report.model_copy(update={"notes": (*report.notes, sequence.UNANCHORED)})
    return report.judged(trusted, any_signer=any_signer, anchored=anchor is not None)


@dataclass(frozen=True)
class OpenRelease:
    """One release's evidence: what its check found, its seal if that fits, and its readable records with their names,
    in order."""

    report: Report
    seal: OpenSeal | None
    records: tuple[tuple[str, Record], ...]


def open_release(path: Location, trusted_public_keys: Iterable[str] = (),
                 anchor: Location | None = None, *, any_signer: bool = False) -> OpenRelease:
    """Check the evidence of one release, as ``verify`` does, and read its records.

    :param path: a pack (zip), an unpacked pack, or the ledger's folder of a release
    :raises InvalidInput: there is nothing at *path*, or not one release
    """
    keys = tuple(trusted_public_keys)
    trusted = Keyring(keys) if keys else None
    sequence.usable(anchor)
    checked = check(path, trusted, keep=True)
    if checked is None:
        raise InvalidInput(f"{path} is not the evidence of one release: give a pack, or one release's folder")
    report = _placed(path, checked, anchor).judged(trusted, any_signer=any_signer, anchored=anchor is not None)
    return OpenRelease(report, checked.seal, checked.records)


def check(path: Location, trusted: Keyring | None, *, keep: bool = False) -> CheckedRelease | None:
    """Check the evidence of one release by itself; ``None`` for a folder above releases.

    :raises InvalidInput: there is nothing at *path*, or something else than evidence
    """
    found = _contents(path)
    if found is None:
        return None
    contents, packed, place = found
    checked = check_release(contents, packed, trusted, place, keep=keep)
    notes = (*checked.report.notes, *_named(path, checked.report.release, packed))
    return replace(checked, report=checked.report.model_copy(update={"notes": notes}))


def is_one_release(folder: UPath) -> bool:
    """Return whether *folder* is an unpacked pack, or the ledger's folder of one release."""
    return _unpacked(folder) or chain.is_release(folder)


def _placed(path: Location, checked: CheckedRelease, anchor: Location | None) -> Report:
    problems, notes = sequence.check([checked.seal] if checked.seal else [], sequence.anchor_of(anchor, path))
    return checked.report.model_copy(update={"problems": (*checked.report.problems, *problems),
                                             "notes": (*checked.report.notes, *notes)})


def _unpacked(folder: UPath) -> bool:
    return bool(set(objects.names(folder)) & {RECORDS, README, PUBLIC_KEY})


_Found = tuple[container.Contents, bool, UPath | None]


def _contents(path: Location) -> _Found | None:
    """Return the files of one release, whether they are a pack, and its folder; ``None`` for a folder above releases.

    :raises InvalidInput: there is nothing at *path*, or something else than evidence
    """
    place = paths.root_path(path)
    if not objects.exists(place):
        raise InvalidInput(f"{path} does not exist: give a pack, an unpacked pack, or a folder of the ledger")
    if not objects.is_folder(place):
        if (file := paths.local(place)) is not None and not file.is_file():
            raise InvalidInput(f"{path} is no file: give a pack, an unpacked pack, or a folder of the ledger")
        with streams.at_hand(place) as here:
            if not zipped.is_zip(here):
                raise InvalidInput(f"{path} is no evidence: a pack is a zip, as a release leaves it in 'evidence'")
            return zipped.read_zip(here), True, None
    if tree.is_above_releases(place, (RECORDS,)):
        return None
    if _unpacked(place):
        return container.read_folder(place, (RECORDS,)), True, None
    if chain.is_release(place):
        return container.read_folder(place), False, place
    return None


def _named(path: Location, release: str, packed: bool) -> list[str]:
    """Return a note when a pack's file is called like something else than the release in it: it may be an older one."""
    name = Path(str(path)).name
    if not packed or not release or name in (f"{release}.zip", release):
        return []
    return [f"{untrusted.shown(name)} holds the evidence of the release {release}: is this the one you asked for?"]
