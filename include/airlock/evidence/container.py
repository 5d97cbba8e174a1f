"""Read what a stranger hands in as evidence, a zip or a folder, into plain bytes by name. Trusts nothing in it.

Nothing is ever unpacked to disk, sizes are limited before they are read, and whatever is wrong becomes a sentence.
"""

from __future__ import annotations

import struct
import zipfile
import zlib
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from upath import UPath

from airlock.errors import EvidenceInvalid
from airlock.evidence import objects

MAXIMUM_FILES = 20_000
MAXIMUM_TOTAL = 256 * 1024 * 1024
_COMPRESSIONS = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}
_ENCRYPTED = 0x1
_ZIP_FAULTS = (
    zipfile.BadZipFile, zlib.error, struct.error, NotImplementedError, RuntimeError, EOFError, OSError, ValueError
)


@dataclass
class Contents:
    """Files by name; ``None`` where a file is there but cannot be read. *problems* are whole sentences."""

    files: dict[str, bytes | None] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    total: int = 0

    def add(self, name: str, data: bytes | None) -> None:
        """Keep one file."""
        self.files[name] = data
        self.total += len(data or b"")


def read_zip(path: Path) -> Contents:
    """Return the files of a zip. Never raises for what is in it."""
    contents = Contents()
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            if len(entries) > MAXIMUM_FILES:
                contents.problems.append(f"the zip has {len(entries)} files, more than any pack ({MAXIMUM_FILES})")
                return contents
            for entry in entries:
                _read_entry(archive, entry, contents)
    except _ZIP_FAULTS as error:
        contents.problems.append(f"the zip cannot be read, it was altered or cut off: {objects.shown(str(error))}")
    return contents


def read_folder(folder: UPath, subfolders: tuple[str, ...] = ()) -> Contents:
    """Return the files of a folder, and those of the named *subfolders* as ``subfolder/name``."""
    contents = Contents()
    for name in objects.names(folder):
        path = folder / name
        if name in subfolders and objects.is_folder(path):
            for inner in objects.names(path):
                _read_file(path / inner, f"{name}/{inner}", contents)
        else:
            _read_file(path, name, contents)
    return contents


def _read_entry(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, contents: Contents) -> None:
    name, shown = entry.filename, objects.shown(entry.filename)
    parts = PurePosixPath(name).parts
    if name.startswith("/") or ".." in parts or "\\" in name or ":" in name[:2]:
        contents.problems.append(f"added: {shown!r} points outside the pack")
    elif entry.is_dir():
        if name != "records/":
            contents.problems.append(f"added: the folder {shown!r} is no part of a pack")
    elif name in contents.files:
        contents.problems.append(f"duplicated: the zip holds {shown} twice")
    elif entry.file_size > objects.MAXIMUM_BYTES or contents.total + entry.file_size > MAXIMUM_TOTAL:
        contents.problems.append(f"altered: {shown} unpacks to {entry.file_size} bytes, more than a pack may hold")
        contents.add(name, None)
    elif entry.compress_type not in _COMPRESSIONS or entry.flag_bits & _ENCRYPTED:
        contents.problems.append(f"altered: {shown} is packed in a way that no pack uses")
        contents.add(name, None)
    else:
        try:
            contents.add(name, archive.read(entry))
        except _ZIP_FAULTS as error:
            contents.problems.append(f"altered: {shown} cannot be unpacked: {objects.shown(str(error))}")
            contents.add(name, None)


def _read_file(path: UPath, name: str, contents: Contents) -> None:
    shown = objects.shown(name)
    if len(contents.files) >= MAXIMUM_FILES or contents.total > MAXIMUM_TOTAL:
        contents.problems.append(f"added: {shown} is beyond what a release may hold")
        return
    if objects.is_folder(path):
        contents.problems.append(f"added: the folder {shown} is no part of the evidence")
        return
    try:
        data = objects.read(path)
    except EvidenceInvalid as error:
        contents.problems.append(f"altered: {error}")
        data = None
    contents.add(name, data)
