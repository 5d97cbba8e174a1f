"""Which file of a folder holds the lines that were recorded of a log: a rotation renames and compresses them.

Knows how rotations name and compress files; knows no backup.
"""

from __future__ import annotations

import bz2
import gzip
import hashlib
import lzma
import os
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from airlock.backup.files import CHUNK, beside, shown

_RESTORED = ".restored"
_COMPRESSED: Mapping[str, Callable[[Path], Any]] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}


class Tally:
    """Lines and sha256 of what passes."""

    def __init__(self) -> None:
        self._lines = 0
        self._hash = hashlib.sha256()

    def add(self, chunk: bytes) -> None:
        """Count one chunk."""
        self._lines += chunk.count(b"\n")
        self._hash.update(chunk)

    def over(self, chunks: Iterator[bytes]) -> Iterator[bytes]:
        """Yield *chunks*, counted."""
        for chunk in chunks:
            self.add(chunk)
            yield chunk

    def facts(self) -> dict[str, Any]:
        """Return what was counted."""
        return {"lines": self._lines, "sha256": self._hash.hexdigest()}


def recorded_name(name: str) -> dict[str, str]:
    """Return a name as JSON can hold it: bytes that are no UTF-8 are kept in hexadecimal beside what is shown."""
    text = shown(name)
    return {"name": text} if text == name else {"name": text, "bytes": os.fsencode(name).hex()}


def name_of(file: Mapping[str, Any]) -> str:
    """Return the name that was recorded."""
    return os.fsdecode(bytes.fromhex(file["bytes"])) if "bytes" in file else str(file["name"])


def restored_beside(path: Path) -> Path:
    """Return where the recorded lines of *path* go, when it holds others now."""
    return beside(path, _RESTORED)


def place_of(root: Path, file: Mapping[str, Any]) -> Path:
    """Return where a recorded file belongs below *root*: where something else took the name of one of its folders, the
    folder goes beside it."""
    *folders, name = Path(name_of(file)).parts
    path = root
    for folder in folders:
        path /= folder
        if (path.exists() or path.is_symlink()) and not path.is_dir():
            path = restored_beside(path)
    return path / name


def holder(root: Path, file: Mapping[str, Any]) -> Path | None:
    """Return the file that begins with the recorded bytes: under its own name, renamed or compressed by a rotation, or
    beside; ``None`` when there is none."""
    target = place_of(root, file)
    wanted = {key: file[key] for key in ("lines", "sha256")}
    # shop.log becomes shop.log.1, shop.log-20260101.gz, or shop-20260101.log
    near = sorted(target.parent.glob(f"{_escaped(target.stem.split('.')[0])}*")) if file["offset"] else []
    for path in (target, restored_beside(target), *(one for one in near if one != target)):
        if path.is_file() and not path.is_symlink() and _holds(path, file["offset"], wanted, plain=path == target):
            return path
    return None


def _holds(path: Path, offset: int, wanted: Mapping[str, Any], *, plain: bool) -> bool:
    """Return whether *path* begins with the bytes of *wanted*; one that a rotation compressed, inside."""
    if measured(path, offset) == wanted:
        return True
    unpack = None if plain else _COMPRESSED.get(path.suffix)
    if unpack is None:
        return False
    try:
        return _tally(unpack(path), offset) == wanted
    except (EOFError, zlib.error, lzma.LZMAError, OSError):
        return False  # half compressed, or no such archive


def measured(path: Path, offset: int) -> dict[str, Any] | None:
    """Return what the first *offset* bytes of a file are; ``None`` when it is not there."""
    try:
        return _tally(path.open("rb"), offset)
    except FileNotFoundError:
        return None


def begins_as(path: Path, longer: Path) -> bool:
    """Return whether all that is in *path* is the beginning of *longer*."""
    size = path.stat().st_size
    return size <= longer.stat().st_size and measured(path, size) == measured(longer, size)


def _tally(opened: IO[bytes], offset: int) -> dict[str, Any]:
    tally = Tally()
    with opened as file:
        while offset and (chunk := file.read(min(CHUNK, offset))):
            offset -= len(chunk)
            tally.add(chunk)
    return tally.facts()


def _escaped(name: str) -> str:
    return "".join(f"[{letter}]" if letter in "*?[" else letter for letter in name)
