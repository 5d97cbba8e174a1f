"""The evidence of several releases that one pack ties together, as that of a release train does. Knows no train."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from airlock.errors import InvalidInput
from airlock.evidence.pack import open_release, pack_path
from airlock.evidence.report import Report, make_report
from airlock.models import Record
from airlock.places import objects
from airlock.signing import Keyring


def verify_joined(path: str | Path, folders: Sequence[str | Path], trusted_public_keys: Iterable[str] = (), *,
                  any_signer: bool = False) -> Report:
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
    for release, seal, outcome in _listed(index):
        found = [place for folder in folders if objects.exists(place := pack_path(folder, release))]
        if not found:
            problems.append(f"{release}: removed: there is no {release}.zip in {', '.join(map(str, folders))}")
            continue
        part = open_release(found[0], keys)
        count += part.report.records
        problems += [f"{release}: {text}" for text in part.report.problems]
        notes += [f"{release}: {text}" for text in part.report.notes if text not in whole.report.notes]
        if part.seal is None or part.seal.digest != seal:
            problems.append(f"{release}: replaced: its seal is not the one that the index names")
        elif part.report.outcome != outcome:
            problems.append(f"{release}: the index says {outcome}, its seal says {part.report.outcome}")
    report = make_report(problems, notes, release=whole.report.release, outcome=whole.report.outcome, records=count,
                         signed_by=whole.report.signed_by)
    return report.judged(Keyring(keys) if keys else None, any_signer=any_signer)


def _listed(index: Record) -> list[tuple[str, str, str]]:
    """Return each release that began, the digest of its seal, and its outcome."""
    entries = index.data.get("releases")
    if not isinstance(entries, list) or not all(isinstance(one, dict) for one in entries):
        raise InvalidInput("the index of releases is damaged: it is no list")
    return [(str(one["release"]), str(one.get("seal")), str(one.get("outcome")))
            for one in entries if one.get("release")]
