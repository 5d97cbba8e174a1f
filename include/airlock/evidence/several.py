"""The check of many packs at once: each by itself, and how their seals follow each other.

Knows packs and folders of them. Must not know what is in a pack.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from airlock.errors import InvalidInput
from airlock.evidence import pack, sequence, tree
from airlock.evidence.report import Report
from airlock.evidence.statement import OpenSeal
from airlock.models import Frozen
from airlock.places import objects, paths
from airlock.signing import Keyring


class Reports(Frozen):
    """One report for each path. *problems* and *notes* are those of the packs together."""

    ok: bool
    reports: Mapping[str, Report]
    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def packs_at(path: str) -> list[str]:
    """Return the packs at or below the local folder *path*, and *path* itself where it is a ledger; *path* alone if it
    is the evidence of one release, or holds no pack.

    :raises InvalidInput: a folder below it cannot be read
    """
    place = paths.root_path(path)
    here = paths.local(place)
    if here is None or not objects.is_folder(place) or pack.is_one_release(place):
        return [path]
    found = _zips(here)
    return [*([path] if not found or tree.holds_records(place) else []), *map(str, found)]


def verify_several(paths: Sequence[str], trusted_public_keys: Iterable[str] = (), anchor: str | None = None, *,
                   any_signer: bool = False) -> Reports:
    """Check each of *paths* as ``verify`` does, and the order of the packs among them.

    With an anchor, the packs are said to be all up to the newest: one that the anchor knows must be among them.

    :raises InvalidInput: as ``verify``
    """
    keys = tuple(trusted_public_keys)
    trusted = Keyring(keys) if keys else None
    sequence.usable(anchor)
    reports: dict[str, Report] = {}
    seals: dict[str, list[OpenSeal]] = defaultdict(list)
    for path in dict.fromkeys(paths):
        checked = pack.check(path, trusted)
        if checked is None:
            reports[path] = pack.verify(path, keys, anchor, any_signer=any_signer)
            continue
        reports[path] = checked.report.judged(trusted, any_signer=any_signer, anchored=anchor is not None)
        if checked.seal is not None:
            short = checked.seal.predicate.model_copy(update={"records": (), "how_to_verify": ""})
            seals[str(Path(path).parent)].append(checked.seal.model_copy(update={"predicate": short}))
    problems: list[str] = []
    notes: list[str] = []
    for folder, found in seals.items():
        faults, gaps = sequence.check(found, sequence.anchor_of(anchor, Path(folder) / "pack"), whole=True)
        prefix = f"{folder}: " if len(seals) > 1 else ""
        problems += [prefix + text for text in faults]
        notes += [text if text == sequence.UNANCHORED else prefix + text for text in gaps]
    return Reports(ok=not problems and bool(reports) and all(report.ok for report in reports.values()),
                   reports=reports, problems=tuple(problems), notes=tuple(dict.fromkeys(notes)))


def _zips(folder: Path) -> list[Path]:
    found: list[Path] = []
    for place, folders, files in os.walk(folder, onerror=_unreadable):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        found += [Path(place, name) for name in sorted(files)
                  if name.lower().endswith(".zip") and not name.startswith(".")]
    return found


def _unreadable(error: OSError) -> None:
    raise InvalidInput(f"{error.filename} cannot be read: {error.strerror}; what is in it would not be checked")
