"""The chain of seals of one service and environment: none may be missing, replaced, out of order or cut off."""

from __future__ import annotations

from collections.abc import Sequence

from upath import UPath

from airlock.errors import Damaged
from airlock.evidence import untrusted
from airlock.evidence.anchor import anchored
from airlock.evidence.statement import OpenSeal
from airlock.places import objects
from airlock.places.paths import Location


def is_release(folder: UPath) -> bool:
    """Return whether *folder* holds records or a seal."""
    return any(name.endswith(".json") and not objects.is_folder(folder / name) for name in objects.names(folder))


def check(
    seals: Sequence[OpenSeal], service: str, name: str, anchor: Location | None
) -> list[str]:
    """Return what is wrong with the chain of *seals*, all of which have a fitting signature."""
    problems: list[str] = []
    before: OpenSeal | None = None
    for seal in sorted(seals, key=lambda item: (item.predicate.sequence, item.predicate.release)):
        said = seal.predicate
        if (said.service, said.environment) != (service, name):
            problems.append(f"moved: the seal of {said.release} was made for {said.service}/{said.environment}")
        problems += _link(before, seal)
        before = seal
    return problems + (_check_anchor(seals, service, name, anchor) if anchor is not None else [])


def _link(before: OpenSeal | None, seal: OpenSeal) -> list[str]:
    said = seal.predicate
    last = before.predicate.sequence if before else 0
    if before and said.sequence == last:
        return [f"duplicated: the seals of {before.predicate.release} and {said.release} both have the number {last}"]
    if said.sequence > last + 1:
        named = f"; the one before it was that of {untrusted.shown(said.previous.release)}" if said.previous else ""
        return [f"removed: {said.sequence - last - 1} seal(s) are missing before number {said.sequence}, "
                f"that of the release {said.release}{named}"]
    if (before.digest if before else None) != (said.previous.digest if said.previous else None):
        return [f"altered: the seal before number {said.sequence} ({said.release}) is not the one that it names"]
    return []


def _check_anchor(seals: Sequence[OpenSeal], service: str, environment: str, anchor: Location) -> list[str]:
    try:
        known = anchored(anchor, service, environment)
    except Damaged as error:
        return [str(error)]
    if known is None:
        return [f"the anchor {untrusted.shown(str(anchor))} knows no seal of {service}/{environment}"] if seals else []
    if all(seal.digest != known.digest for seal in seals):
        return [f"cut off: the anchor knows seal number {known.sequence}, that of the release "
                f"{untrusted.shown(known.release)}, which is not in the ledger"]
    newest = max(seals, key=lambda seal: seal.predicate.sequence).predicate
    if newest.sequence > known.sequence:
        return [f"the anchor is behind: it knows seal number {known.sequence}, that of the release "
                f"{untrusted.shown(known.release)}, and the ledger holds number {newest.sequence}, that of "
                f"{newest.release}: it was moved back, or the task that sealed was killed before it moved the anchor"]
    return []
