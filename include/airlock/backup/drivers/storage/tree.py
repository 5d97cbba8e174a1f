"""One walk over a folder: what is in it, in an order that does not depend on the file system. Knows no backup."""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from airlock.backup.archive import ROOT, Member
from airlock.backup.attributes import Attributes, attributes_of
from airlock.backup.files import fault, has_holes, read_exactly, shown
from airlock.errors import InvalidInput
from airlock.models import Inspection

CHUNK = 1 << 20
_MOUNTS = Path("/proc/self/mountinfo")
_OCTAL = re.compile(rb"\\([0-7]{3})")
SORTS = ("file", "hard link", "folder", "link")
FRESH, OLD = ".airlock-new", ".airlock-old"
"""Folders in which a restore works; none of them is part of what is walked over."""
WORDS = ("name", "sort", "mode", "size", "hash or target", "owner", "time", "attributes", "holes")
"""What a line of a manifest says, in this order."""


@dataclass(frozen=True)
class Entry:
    """One file, folder or link, or the folder itself: its path below the root (``/`` between parts), and what the
    system says of it.

    target: where a link leads, or the first name of a file that has several
    """

    name: str
    path: Path
    seen: os.stat_result
    attributes: Attributes
    target: str = ""
    sparse: bool = False

    @property
    def sort(self) -> str:
        """Return ``file``, ``hard link`` (another name of a file), ``folder`` or ``link``."""
        if stat.S_ISDIR(self.seen.st_mode):
            return "folder"
        if stat.S_ISLNK(self.seen.st_mode):
            return "link"
        return "hard link" if self.target else "file"

    @property
    def size(self) -> int:
        """Return the size of a file in bytes, 0 for anything else: theirs depends on the file system."""
        return self.seen.st_size if self.sort == "file" else 0

    def member(self) -> Member:
        """Return the entry as a member of an archive."""
        hard = self.sort == "hard link"
        return Member(self.name, self.seen, self.attributes, self.target, hard=hard, sparse=self.sparse)

    def facts(self, digest: str) -> list[Any]:
        """Return what ``WORDS`` name; a link has no mode of its own."""
        facts = self.attributes.facts()
        mode = "" if self.sort == "link" else facts["mode"]
        extended = {name: hashlib.sha256(value).hexdigest() for name, value in self.attributes.extended.items()}
        about = (facts["owner"], self.seen.st_mtime_ns, dict(sorted(extended.items())), self.sparse)
        return [self.name, self.sort, mode, self.size, self.target or digest, *about]

    def line(self, digest: str) -> bytes:
        """Return the entry as one line of a manifest."""
        return line_of(self.facts(digest))


@dataclass
class Walk:
    """A walk over all that is at and below *root*, each folder before what is in it.

    holes: whether it matters which parts of a file take no place on the disk
    names: of each file that has several, the first one and how many were met
    """

    root: Path
    label: str
    owners: bool = True
    holes: bool = True
    names: dict[tuple[int, int], tuple[str, int, int]] = field(default_factory=dict)

    def __iter__(self) -> Iterator[Entry]:
        """Yield every entry.

        :raises InvalidInput: something is neither file, folder nor link, or cannot be read
        """
        waiting = [(ROOT, self.root)]  # no recursion: folders may lie deeper than Python's calls
        while waiting:
            name, path = waiting.pop()
            entry = self._entry(name, path)
            if entry is None:
                continue  # gone since its folder was listed
            yield entry
            if entry.sort == "folder":
                prefix = "" if name == ROOT else f"{name}/"
                waiting += [(prefix + one, path / one) for one in reversed(self._list(path, top=name == ROOT))]

    def linked_from_outside(self) -> int:
        """Return how many of the files that were met have further names outside of the root."""
        return sum(met < there for _, met, there in self.names.values())

    def _list(self, folder: Path, *, top: bool) -> list[str]:
        try:
            names = sorted(os.listdir(folder), key=os.fsencode)  # noqa: PTH208 - names only, for a stable order
        except FileNotFoundError:
            return []
        except OSError as error:
            raise fault(error, self.label, "list", folder) from error
        return [name for name in names if not (top and name in (FRESH, OLD))]

    def _entry(self, name: str, path: Path) -> Entry | None:
        try:
            seen = path.lstat()
            target = os.readlink(path) if stat.S_ISLNK(seen.st_mode) else ""  # noqa: PTH115 - as it is, not made a path
            if not (stat.S_ISREG(seen.st_mode) or stat.S_ISDIR(seen.st_mode) or stat.S_ISLNK(seen.st_mode)):
                raise InvalidInput(
                    f"{self.label}: {shown(path)} is a socket, pipe or device, which cannot be backed up; move it "
                    "elsewhere"
                )
            attributes = attributes_of(path, seen, owners=self.owners)
            sparse = self.holes and stat.S_ISREG(seen.st_mode) and has_holes(path, seen)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise fault(error, self.label, "look at", path) from error
        if stat.S_ISREG(seen.st_mode) and seen.st_nlink > 1:
            key = (seen.st_dev, seen.st_ino)
            first, met, _ = self.names.get(key, ("", 0, 0))
            self.names[key] = (first or name, met + 1, seen.st_nlink)
            target = first
        return Entry(name, path, seen, attributes, target, sparse and not target)


def line_of(facts: list[Any]) -> bytes:
    """Return one line of a manifest: ASCII, with lone surrogates escaped, since a name may be any bytes."""
    return json.dumps(facts).encode() + b"\n"


def digest_of(entry: Entry, label: str) -> str:
    """Return the digest of a file's bytes, and nothing for anything else."""
    if entry.sort != "file":
        return ""
    digest = hashlib.sha256()
    for chunk in read_exactly(entry.path, entry.seen, label):
        digest.update(chunk)
    return digest.hexdigest()


def fingerprint(walk: Walk) -> Inspection:
    """Return what can be said of a folder without reading its files."""
    seen, count, size = hashlib.sha256(), 0, 0
    for entry in walk:
        seen.update(entry.line(""))
        count, size = count + 1, size + entry.size
    return Inspection(
        present=True, size_bytes=size, fingerprint=f"sha256:{seen.hexdigest()}", detail={"entries": count - 1}
    )


def mounted_below(root: Path) -> list[str]:
    """Return every place below *root* where another file system, or another part of the same one, is mounted."""
    inside = os.fsencode(root) + b"/"
    try:
        lines = _MOUNTS.read_bytes().splitlines()
    except OSError:  # no Linux
        return []
    places = (_OCTAL.sub(lambda match: bytes([int(match[1], 8)]), line.split(b" ")[4]) for line in lines)
    return sorted(os.fsdecode(place) for place in places if place.startswith(inside))
