"""Positions in PostgreSQL's write-ahead log (LSN), the files that hold them, and what is missing of a stretch of it.

Pure but for looks at a folder: knows no server, no store and no driver.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from airlock.errors import BackupDamaged

_POSITION = re.compile(r"([0-9A-F]{1,8})/([0-9A-F]{1,8})", re.IGNORECASE)
_FILES_OF_ONE_NUMBER = 1 << 32
_TAIL = 1 << 16
_RANGES = re.compile(r'"WAL-Ranges":\s*(\[.*?\])', re.DOTALL)
_SYSTEM = re.compile(r'"System-Identifier":\s*(\d+)')


def position(text: str) -> int:
    """Return the number of an LSN such as ``0/1F000028``.

    :raises ValueError: it is none
    """
    found = _POSITION.fullmatch(text)
    if found is None:
        raise ValueError(f"{text[:40]!r} is no position in the write-ahead log")
    return (int(found[1], 16) << 32) + int(found[2], 16)


def written(number: int) -> str:
    """Return a position as PostgreSQL writes it."""
    return f"{number >> 32:X}/{number & 0xFFFFFFFF:X}"


@dataclass(frozen=True)
class Stretch:
    """The log of one *timeline* from *start* up to, and without, *end*, in segments of *segment_bytes*."""

    timeline: int
    start: int
    end: int
    segment_bytes: int

    @property
    def files(self) -> tuple[str, ...]:
        """Return the names of the segments that hold it, in order."""
        first, last = self.start // self.segment_bytes, max(self.start, self.end - 1) // self.segment_bytes
        return tuple(self._name(number) for number in range(first, last + 1))

    @property
    def file_before(self) -> str:
        """Return the name of the segment before its first one."""
        return self._name(self.start // self.segment_bytes - 1)

    def gaps(self, folder: Path) -> Iterator[str]:
        """Yield in words what is missing of it in *folder*."""
        for name in self.files:
            path = folder / name
            size = path.stat().st_size if path.is_file() and not path.is_symlink() else None
            if size is None:
                yield f"segment {name} is missing"
            elif size != self.segment_bytes:
                yield f"segment {name} has {size} of {self.segment_bytes} bytes"

    def _name(self, number: int) -> str:
        each = _FILES_OF_ONE_NUMBER // self.segment_bytes
        return f"{self.timeline:08X}{number // each:08X}{number % each:08X}"


@dataclass(frozen=True)
class Manifest:
    """What matters of the manifest of a base backup: of which server it is, and the log that it needs to be whole."""

    system: str
    timeline: int
    start: int
    end: int


def read_manifest(path: Path, label: str) -> Manifest:
    """Return what the file ``backup_manifest`` says, in constant memory: the list of files is not read.

    :raises BackupDamaged: it is no manifest of PostgreSQL 17 or newer, or its log is on several timelines
    """
    with path.open("rb") as file:
        head = file.read(_TAIL).decode("utf-8", "replace")
        file.seek(max(0, path.stat().st_size - _TAIL))
        tail = file.read().decode("utf-8", "replace")
    system, ranges = _SYSTEM.search(head), _RANGES.search(tail)
    try:
        if system is None or ranges is None:
            raise ValueError("no WAL-Ranges or no System-Identifier")
        (only,) = json.loads(ranges[1])
        return Manifest(system[1], int(only["Timeline"]), position(only["Start-LSN"]), position(only["End-LSN"]))
    except (ValueError, LookupError, TypeError) as error:
        raise BackupDamaged(f"{label}: backup_manifest cannot be used ({error}); next: take the backup again") from None
