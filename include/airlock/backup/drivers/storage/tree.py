"""One walk over a folder: what is in it, in an order that does not depend on the file system. Knows no backup."""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from airlock.backup.files import fault, read_exactly
from airlock.errors import InvalidInput

CHUNK = 1 << 20


@dataclass(frozen=True)
class Entry:
    """One file, folder or link: its path below the root (``/`` between parts), and what the system says of it."""

    name: str
    path: Path
    seen: os.stat_result
    target: str = ""

    @property
    def sort(self) -> str:
        """Return ``file``, ``folder`` or ``link``."""
        if stat.S_ISDIR(self.seen.st_mode):
            return "folder"
        return "link" if stat.S_ISLNK(self.seen.st_mode) else "file"

    @property
    def size(self) -> int:
        """Return the size of a file in bytes, 0 for anything else: theirs depends on the file system."""
        return self.seen.st_size if self.sort == "file" else 0

    def line(self, digest: str) -> bytes:
        """Return the entry as one line of a manifest; a link has no mode of its own."""
        mode = "" if self.sort == "link" else f"{stat.S_IMODE(self.seen.st_mode):04o}"
        # ASCII, with lone surrogates escaped: a name may be any bytes
        return json.dumps([self.name, self.sort, mode, self.size, self.target or digest]).encode() + b"\n"


def walk(root: Path, label: str) -> Iterator[Entry]:
    """Yield all that is below *root*, each folder before what is in it.

    :raises InvalidInput: something is neither file, folder nor link, or cannot be read
    """
    yield from _walk(root, "", label)


def _walk(folder: Path, prefix: str, label: str) -> Iterator[Entry]:
    try:
        names = sorted(os.listdir(folder), key=os.fsencode)  # noqa: PTH208 - names only, for a stable order
    except OSError as error:
        raise fault(error, label, "list", folder) from error
    for name in names:
        path = folder / name
        try:
            seen = path.lstat()
            target = str(path.readlink()) if stat.S_ISLNK(seen.st_mode) else ""
        except FileNotFoundError:
            continue  # gone since the folder was listed
        except OSError as error:
            raise fault(error, label, "look at", path) from error
        if not (stat.S_ISREG(seen.st_mode) or stat.S_ISDIR(seen.st_mode) or stat.S_ISLNK(seen.st_mode)):
            raise InvalidInput(
                f"{label}: {path} is a socket, pipe or device, which cannot be backed up; move it elsewhere"
            )
        entry = Entry(prefix + name, path, seen, target)
        yield entry
        if entry.sort == "folder":
            yield from _walk(path, f"{prefix}{name}/", label)


def manifest(root: Path, label: str) -> Iterator[bytes]:
    """Yield the manifest of *root*, line by line, hashing every file."""
    for entry in walk(root, label):
        digest = hashlib.sha256()
        if entry.sort == "file":
            for chunk in read_exactly(entry.path, entry.seen, label):
                digest.update(chunk)
        yield entry.line(digest.hexdigest() if entry.sort == "file" else "")
