"""What lies in the folders of a ledger: its environments and their releases, and every entry that has no place there.

Exists because a walk that stops at the first thing it knows can be led away from what lies beside or below it: here
each entry is one that a ledger has, or is named. Knows names and folders. Must not know what is in a record.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass, field

from upath import UPath

from airlock.evidence import untrusted
from airlock.evidence.ledger import is_release_id
from airlock.places import objects

ENVIRONMENT, SERVICE, ROOT = 1, 2, 3
"""How many folders above a release."""
_NAME = re.compile(r"[a-z][a-z0-9_-]{0,62}")
_STREAM = re.compile(r"_[a-z][a-z0-9_-]{0,62}")
_LOCK = re.compile(r"\.(act|seal)\.lock")
_PART = re.compile(r"\.[0-9a-f]{16}\.part")
"""What a process leaves that is killed in the middle of a write."""
_INDEXES = {
    ".airlock-doctor": re.compile(r"[0-9a-f]{16}"),
    ".held": re.compile(r"[0-9a-f]{32}/[0-9]{8}"),
    ".open": re.compile(r"[a-z0-9_-]+\.[a-z0-9_-]+\..+\.json"),
}
"""Beside the services, and how what lies in each is called. Nothing is concluded from it; nothing else may hide there.
"""


@dataclass(frozen=True, order=True)
class Name:
    """An environment of a service; *stream* is empty for that of its releases."""

    stream: str
    service: str
    environment: str

    def __str__(self) -> str:
        stream = f"_{self.stream}/" if self.stream else ""
        return f"{stream}{self.service}/{self.environment}"


@dataclass
class Tree:
    """The ``environments`` that were found, and sentences about entries that are ``strange``."""

    environments: dict[Name, UPath] = field(default_factory=dict)
    strange: list[str] = field(default_factory=list)

    def refuse(self, path: UPath, why: str) -> None:
        self.strange.append(f"added: {untrusted.shown(str(path))} {why}")

    def is_folder(self, path: UPath, otherwise: str) -> bool:
        """Return whether *path* is a folder of its own; if not, it is named."""
        if objects.is_link(path):
            self.refuse(path, "is a link, which Airlock never makes: what it leads to can be changed unseen")
        elif objects.is_folder(path):
            return True
        else:
            self.refuse(path, otherwise)
        return False


def is_above_releases(place: UPath, inner: Collection[str]) -> bool:
    """Return whether *place* holds folders, hidden ones too, other than the *inner* ones of a release: then it is no
    release, whatever lies there besides."""
    return any(name not in inner and not name.endswith(".json") and objects.is_folder(place / name)
               for name in objects.names(place, hidden=True))


def holds_records(place: UPath) -> bool:
    """Return whether a record lies below *place* where one lies in a ledger."""
    return _height(place, ROOT) > 0


def level_of(place: UPath, known: Collection[Name]) -> int:
    """Return the level of *place*: by the names that are *known* to exist, else by how deep the deepest record lies, so
    that what is planted above that is named."""
    pairs = {(name.service, name.environment) for name in known}
    if pairs:
        if (place.parent.name, place.name) in pairs:
            return ENVIRONMENT
        below = any(objects.is_folder(place / service / environment) for service, environment in pairs)
        return SERVICE if place.name in {service for service, _ in pairs} and not below else ROOT
    return _height(place, ROOT) or ROOT


def in_scope(place: UPath, level: int, name: Name) -> bool:
    """Return whether the environment *name* has to lie in *place*."""
    if level == ROOT:
        return True
    own = (place.name,) if level == SERVICE else (place.parent.name, place.name)
    return not name.stream and (name.service, name.environment)[:len(own)] == own


def read_tree(place: UPath, level: int) -> Tree:
    """Return what lies in *place*."""
    tree = Tree()
    if level == ROOT:
        _read_root(place, "", tree)
    elif level == SERVICE:
        _read_service(place, "", tree)
    else:
        tree.environments[Name("", place.parent.name, place.name)] = place
    return tree


def releases(environment: UPath) -> tuple[list[UPath], list[str]]:
    """Return the folders of the releases in the folder of an *environment*, and sentences about all else there."""
    found, tree = [], Tree()
    for name in objects.names(environment, hidden=True):
        path = environment / name
        if _LOCK.fullmatch(name) and not objects.is_folder(path):
            continue
        if not tree.is_folder(path, "lies beside the releases and is none"):
            continue
        if name.startswith(".") or not is_release_id(name):
            tree.refuse(path, "is called as no release is")
        else:
            found.append(path)
    return found, tree.strange


def hidden(release: UPath) -> list[str]:
    """Return sentences about hidden entries in the folder of a *release*, but for what a killed writer leaves."""
    tree = Tree()
    for name in objects.names(release, hidden=True):
        if name.startswith(".") and (not _PART.fullmatch(name) or objects.is_folder(release / name)):
            tree.refuse(release / name, "is hidden, as no record is")
    return tree.strange


def _read_root(root: UPath, stream: str, tree: Tree) -> None:
    for name in objects.names(root, hidden=True):
        path = root / name
        if not tree.is_folder(path, "lies beside the services and is none"):
            continue
        if _STREAM.fullmatch(name) and not stream:
            _read_root(path, name[1:], tree)
        elif _NAME.fullmatch(name):
            _read_service(path, stream, tree)
        elif stream or name not in _INDEXES:
            tree.refuse(path, "is called as no service is")
        else:
            _read_index(path, _INDEXES[name], tree)


def _read_index(index: UPath, called: re.Pattern[str], tree: Tree) -> None:
    """Name what lies in an *index* and is no part of it."""
    for name in objects.names(index, hidden=True):
        path, nested = index / name, "/" in called.pattern
        if not nested or not objects.is_folder(path):
            found = {name: path}
        else:
            found = {f"{name}/{inner}": path / inner for inner in objects.names(path, hidden=True)}
        for place, entry in found.items():
            fits = called.fullmatch(place) or _PART.fullmatch(entry.name)
            if not fits or objects.is_link(path) or objects.is_folder(entry):
                tree.refuse(entry, f"is no part of the index {index.name}")


def _read_service(service: UPath, stream: str, tree: Tree) -> None:
    for name in objects.names(service, hidden=True):
        path = service / name
        if not tree.is_folder(path, "lies beside the environments and is none"):
            continue
        if _NAME.fullmatch(name):
            tree.environments[Name(stream, service.name, name)] = path
        else:
            tree.refuse(path, "is called as no environment is")


def _height(folder: UPath, limit: int) -> int:
    """Return how many folders lie between *folder* and the deepest record in it, at most *limit*."""
    deepest = 0
    for name in objects.names(folder, hidden=True):
        path = folder / name
        if not name.endswith(".json") and limit > deepest and not objects.is_link(path) and objects.is_folder(path):
            below = _height(path, limit - 1)
            if below or _holds_record(path):
                deepest = max(deepest, below + 1)
        if deepest >= limit:
            break
    return deepest


def _holds_record(folder: UPath) -> bool:
    return any(name.endswith(".json") for name in objects.names(folder, hidden=True))
