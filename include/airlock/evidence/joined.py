"""The evidence of several releases that one pack ties together, as that of a release train does. Knows no train."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from airlock.errors import InvalidInput
from airlock.evidence import objects
from airlock.evidence.pack import open_release, pack_path
from airlock.evidence.report import Report, make_report
from airlock.models import Record


def verify_joined(path: str | Path, folders: Sequence[str | Path], trusted_public_keys: Iterable[str] = ()) -> Report:
    """Check a pack, and the pack of every release that its index names: each must be intact, and hold the very seal
    whose digest is in the index.

    :param folders: where the packs of the releases lie, ``<folder>/<release>.zip``
    :raises InvalidInput: there is nothing at *path*, it has no index of releases, or a key is no Ed25519 public key
    """
    keys = tuple(trusted_public_keys)
    whole = open_release(path, keys)
    index = next((record for _, record in whole.records if record.type == "index"), None)
    if index is None:
        raise InvalidInput(f"{path} has no index of releases: it is not the evidence of a train")
    problems, notes, count = list(whole.report.problems), list(whole.report.notes), whole.report.records
    for release, seal in _listed(index):
        found = [place for folder in folders if objects.exists(place := pack_path(folder, release))]
        if not found:
            problems.append(f"{release}: removed: there is no {release}.zip in {', '.join(map(str, folders))}")
            continue
        part = open_release(found[0], keys)
        count += part.report.records
        problems += [f"{release}: {text}" for text in part.report.problems]
        notes += [f"{release}: {text}" for text in part.report.notes]
        if part.seal_digest != seal:
            problems.append(f"{release}: replaced: its seal is not the one that the index names")
    return make_report(problems, notes, release=whole.report.release, outcome=whole.report.outcome, records=count,
                       signed_by=whole.report.signed_by)


def _listed(index: Record) -> list[tuple[str, str]]:
    """Return release -> digest of its seal, of all that began."""
    entries = index.data.get("releases")
    if not isinstance(entries, list) or not all(isinstance(one, dict) for one in entries):
        raise InvalidInput("the index of releases is damaged: it is no list")
    return [(str(one["release"]), str(one.get("seal"))) for one in entries if one.get("release")]
