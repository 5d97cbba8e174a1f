"""The check of a ledger's folders: every release of every environment that must be there, and the chain of their seals.

What must be there is what the anchor knows and what whoever asks has named; what is there besides is named. Knows
ledger folders and the anchor. Must not know packs, Airflow, a network or a clock.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection
from dataclasses import dataclass, field

from upath import UPath

from airlock.errors import Damaged, InvalidInput
from airlock.evidence import chain, comparison, container, tree, untrusted
from airlock.evidence.anchor import Anchor, known
from airlock.evidence.container import Contents
from airlock.evidence.ledger import SEAL, place_of, unmarked
from airlock.evidence.open_releases import HOLD, Holder, OpenReleases
from airlock.evidence.release_check import UNTRUSTED, check_release
from airlock.evidence.report import Report, make_report
from airlock.evidence.statement import OpenSeal
from airlock.evidence.tree import Name
from airlock.places import objects, paths
from airlock.places.paths import Location
from airlock.signing import Keyring

UNANCHORED = ("its end was not checked: without --anchor FOLDER nothing shows that its newest records, a rejection "
              "among them, were not removed")
"""Of a release that is not sealed."""


@dataclass
class Findings:
    """What was found so far. A ``place`` is put before each sentence."""

    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    signers: set[str] = field(default_factory=set)
    count: int = 0
    homes: dict[str, list[str]] = field(default_factory=dict)

    def wrong(self, place: str, sentences: Collection[str]) -> None:
        self.problems += [f"{place}: {text}" for text in sentences]


def verify_history(place: UPath, trusted: Keyring | None, anchor: Location | None,
                   expected: Collection[str] = (), declared: Collection[str] = ()) -> Report:
    """Check every release at or below *place*, a folder of a ledger, and the chain of their seals.

    :param anchor: the folder that knows what began; everything in it must be there
    :param expected: ``service/environment`` of each that must be there; nothing else may be, but what the anchor knows
    :param declared: of each that service files declare: likewise, but that an anchor may show that nothing began there
    :raises InvalidInput: a name is none
    """
    asked = {_name(text) for text in expected}
    named = asked | {_name(text) for text in declared}
    by_anchor = _known(anchor)
    level = tree.level_of(place, named | by_anchor)
    found = tree.read_tree(place, level)
    wanted = {name for name in named | by_anchor if tree.in_scope(place, level, name)}
    findings = Findings()
    findings.problems += found.strange
    for name in sorted(wanted - set(found.environments)):
        if anchor is not None and name not in by_anchor | asked:
            findings.notes.append(f"{name} is declared, and as the anchor knows nothing was ever released there")
            continue
        who = ("the anchor knows" if name in by_anchor else "was asked for" if name in asked else
               "a service file declares (had nothing ever been released there, an anchor would show it)")
        findings.problems.append(f"removed: nothing is in the ledger of {name}, which {who}")
    for name in sorted(wanted | set(found.environments)):
        if named and name not in wanted and not name.stream:
            findings.problems.append(f"added: {name} lies in the ledger, and was not asked for")
        root = None if anchor is None else _stream_of(anchor, name.stream)
        _check_environment(name, found.environments.get(name) or place / str(name), trusted, root, findings)
    findings.problems += [f"duplicated: the release {release} lies in {' and in '.join(homes)}"
                          for release, homes in findings.homes.items() if len(homes) > 1]
    if not findings.count and not wanted:
        findings.problems.insert(0, f"{place} holds no evidence: no seal and no record")
    if trusted is None:
        findings.notes += [UNTRUSTED.format(key=key) for key in sorted(findings.signers)]
    return make_report(findings.problems, findings.notes, records=findings.count,
                       signed_by=", ".join(sorted(findings.signers)))


def _name(text: str) -> Name:
    service, separator, environment = text.partition("/")
    if not (service and separator and environment) or "/" in environment:
        raise InvalidInput(f"{text[:80]!r} names no environment: write it as service/environment, say shop/prod")
    return Name("", service, environment)


def _known(anchor: Location | None) -> set[Name]:
    if anchor is None:
        return set()
    root = paths.root_path(anchor)
    streams = ["", *(name[1:] for name in objects.names(root) if name.startswith("_"))]
    return {Name(stream, *pair) for stream in streams for pair in known(_stream_of(root, stream))}


def _stream_of(anchor: Location, stream: str) -> UPath:
    root = paths.root_path(anchor)
    return root / f"_{stream}" if stream else root


def _check_environment(
    name: Name, folder: UPath, trusted: Keyring | None, root: UPath | None, findings: Findings
) -> None:
    anchor = None if root is None else Anchor(root, name.service, name.environment)
    # Before the ledger is read: what begins meanwhile is in it.
    began = () if anchor is None else _told(str(name), anchor.releases, findings)
    places, strange = tree.releases(folder)
    findings.wrong(str(name), strange)
    seals: list[OpenSeal] = []
    for place in places:
        findings.homes.setdefault(place.name, []).append(str(name))
        marked = () if anchor is None else _told(str(name), functools.partial(anchor.records, place.name), findings)
        contents = container.read_folder(place)
        findings.wrong(f"{name}/{place.name}", tree.hidden(place))
        if SEAL not in contents.files:
            _check_open(name, place, contents, trusted, marked, findings)
            if anchor is None:
                findings.notes.append(f"{name}/{place.name}: {UNANCHORED}")
            elif contents.files:
                _compare_open(name, place.name, anchor, frozenset(contents.files).difference(marked), findings)
            continue
        checked = check_release(contents, False, trusted, place)
        findings.wrong(f"{name}/{place.name}", checked.report.problems)
        findings.count += checked.report.records
        if checked.seal is not None:
            if anchor is not None:
                findings.wrong(str(name), anchor.contradicts(checked.seal.predicate.release, checked.seal.digest))
            seals.append(checked.seal)
            findings.signers.add(checked.seal.signed_by)
    broken = chain.check(seals, name.service, name.environment, root)
    findings.wrong(str(name), broken)
    for release in sorted(set(began) - {place.name for place in places}):
        if anchor is not None and not (anchor.sealed(release) and broken):  # then the chain's gap tells
            findings.problems.append(f"{name}: removed: the release {untrusted.shown(release)} is not in the ledger, "
                                     "and the anchor knows that it began")


def _check_open(name: Name, place: UPath, contents: Contents, trusted: Keyring | None, marked: Collection[str],
                findings: Findings) -> None:
    """Check a release without a seal: then only signatures show who wrote its records."""
    label = f"{name}/{place.name}"
    files = contents.files
    findings.count += len(files)
    if not files and not contents.problems:
        findings.notes.append(f"{label} holds no record: a writer was killed before its first one")
    else:
        findings.notes.append(f"{label} is not sealed: under way, or left behind by a crash")
    home = place_of(place.parent.parent.parent, name.service, name.environment)
    read = comparison.read(files, trusted, place.name, home=home, keep=True)
    findings.wrong(label, [*contents.problems, *(f"altered: {fault}" for fault in read.faults.values()), *read.problems,
                           *unmarked(marked, files), *_free(name, place, read)])


def _free(name: Name, place: UPath, read: comparison.Readings) -> list[str]:
    """Return a sentence for all that the release holds by its own record, and that is free in the index of holds."""
    held = [one.data.get("touches") for _, one in read.records if one.type == HOLD]
    if not held or name.stream or not isinstance(held[-1], list):
        return []
    index, holder = OpenReleases(place.parent.parent.parent), Holder(name.service, name.environment, place.name)
    try:
        found = index.holders(map(str, held[-1]))
    except Damaged as error:
        return [f"altered: {error}"]
    return [f"removed: it holds {untrusted.shown(one)} by its own record, and the index of holds says "
            f"{found[one].release if one in found else 'nobody'}"
            for one in map(str, held[-1]) if found.get(one) != holder]


def _told(label: str, ask: Callable[[], tuple[str, ...]], findings: Findings) -> tuple[str, ...]:
    """Return what the anchor tells; nothing, and a problem, where it was altered."""
    try:
        return ask()
    except Damaged as error:
        findings.wrong(label, [str(error)])
        return ()


def _compare_open(name: Name, release: str, anchor: Anchor, unknown: Collection[str], findings: Findings) -> None:
    """Compare what the anchor knows of a release without a seal, of whose records some are *unknown* to it."""
    label = f"{name}/{release}"
    try:
        sealed, began = anchor.sealed(release), bool(anchor.records(release))
        others = began or bool(anchor.releases()) or anchor.newest() is None
    except Damaged as error:
        findings.wrong(label, [str(error)])
        return
    if sealed:
        findings.wrong(label, ["removed: its seal is missing, which the anchor knows"])
    elif not began:
        if others:
            findings.wrong(label, ["added: the anchor does not know that it began"])
        else:
            findings.notes.append(f"{label}: the anchor knows only ends of releases here: it is of a former version")
    elif unknown:
        findings.notes.append(f"{label}: the anchor does not know {len(unknown)} of its records, such as "
                              f"{untrusted.shown(min(unknown))}: it was away when they were written, their writer was "
                              "killed, or the anchor was altered")
