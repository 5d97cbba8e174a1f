"""Where the seals of single releases stand in their histories, as far as they and the anchor tell.

Whoever gives packs, not a ledger, need not give all of them: what lies between is said, and is no problem. Knows seals
and the anchor. Must not know where the seals were read, nor packs.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterable, Sequence

from airlock.errors import Damaged, InvalidInput
from airlock.evidence import untrusted
from airlock.evidence.anchor import Anchor, anchored
from airlock.evidence.statement import OpenSeal
from airlock.places import objects, paths
from airlock.places.paths import Location

AnchorFolder = Location | None
UNANCHORED = ("the end of the history was not checked: without --anchor FOLDER nothing shows that no newer release was "
              "removed")


def usable(anchor: AnchorFolder) -> None:
    """Check that there is an anchor, if one is given.

    :raises InvalidInput: there is none: a check against nothing would say nothing
    """
    if anchor is not None and not objects.is_folder(paths.root_path(anchor)):
        raise InvalidInput(f"the anchor {anchor} is no folder: give the one that 'anchor' in the service file names")


def anchor_of(anchor: AnchorFolder, path: Location) -> AnchorFolder:
    """Return where the newest seals of the evidence at *path* are anchored below *anchor*.

    What is done outside releases, such as a train or a follow-up, has histories of its own: its packs lie in a folder
    ``<stream>``, its ledger in ``_<stream>``, its anchor in ``<anchor>/_<stream>``.
    """
    if anchor is None:
        return None
    parents = paths.root_path(path).absolute().parents
    streams = [f"_{parents[0].name}"] if len(parents) > 0 else []
    streams += [parents[2].name] if len(parents) > 2 and parents[2].name.startswith("_") else []
    places = (paths.root_path(anchor) / stream for stream in streams)
    return next((place for place in places if objects.is_folder(place)), anchor)


def check(seals: Iterable[OpenSeal], anchor: AnchorFolder, *, whole: bool = False) -> tuple[list[str], list[str]]:
    """Return what is wrong with the order of *seals*, and notes on what could not be checked.

    :param whole: these are said to be all seals up to the newest: one that the anchor knows must be there
    """
    histories: dict[tuple[str, str], dict[str, OpenSeal]] = defaultdict(dict)
    for seal in seals:
        histories[seal.predicate.service, seal.predicate.environment][seal.digest] = seal
    problems: list[str] = []
    notes: list[str] = []
    for (service, environment), found in sorted(histories.items()):
        ordered = sorted(found.values(), key=lambda seal: (seal.predicate.sequence, seal.digest))
        label = f"{service}/{environment}"
        faults, gaps = _links(ordered)
        end, unseen = _end(ordered, service, environment, anchor, whole) if anchor is not None else ([], [])
        if anchor is not None:
            known = Anchor(anchor, service, environment)
            end += [text for seal in ordered for text in known.contradicts(seal.predicate.release, seal.digest)]
        problems += [f"{label}: {text}" for text in (*faults, *end)]
        notes += [f"{label}: {text}" for text in (*gaps, *unseen)]
    return problems, notes if anchor is not None or not histories else [*notes, UNANCHORED]


def _links(ordered: Sequence[OpenSeal]) -> tuple[list[str], list[str]]:
    problems, gaps = [], []
    for before, seal in itertools.pairwise(ordered):
        last, said = before.predicate, seal.predicate
        if said.sequence == last.sequence:
            problems.append(f"duplicated: the seals of {last.release} and {said.release} both have the number "
                            f"{last.sequence}")
        elif said.sequence > last.sequence + 1:
            gaps.append(f"the seals between number {last.sequence} and number {said.sequence} are not among these")
        elif said.previous is None or said.previous.digest != before.digest:
            problems.append(f"altered: the seal before number {said.sequence} ({said.release}) is not the one that it "
                            "names")
    return problems, gaps


def _end(ordered: Sequence[OpenSeal], service: str, environment: str, anchor: Location,
         whole: bool) -> tuple[list[str], list[str]]:
    try:
        known = anchored(anchor, service, environment)
    except Damaged as error:
        return [str(error)], []
    if known is None:
        return [f"the anchor {untrusted.shown(str(anchor))} knows no seal of {service}/{environment}"], []
    newest = ordered[-1].predicate
    named = f"seal number {known.sequence}, that of the release {untrusted.shown(known.release)}"
    if newest.sequence > known.sequence:
        return [f"the anchor is behind: it knows {named}, and this is number {newest.sequence}, that of "
                f"{newest.release}: it was moved back, or the task that sealed was killed before it moved it"], []
    if newest.sequence < known.sequence:
        if whole:
            return [f"cut off: the anchor knows {named}, which is not among these"], []
        return [], [f"the anchor knows {named}; this is number {newest.sequence}, and nothing between them was checked"]
    if ordered[-1].digest != known.digest:
        return [f"replaced: the anchor knows {named}, with another digest than this"], []
    return [], []
