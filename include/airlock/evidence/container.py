"""What a stranger hands in as evidence, as plain bytes by name, and how a folder of it is read. Trusts nothing in it.

Sizes are limited before they are read, and whatever is wrong becomes a sentence. Zips are read in ``zipped``.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from upath import UPath

from airlock.errors import Damaged
from airlock.evidence import untrusted
from airlock.places import objects

MAXIMUM_FILES = 20_000
MAXIMUM_TOTAL = 256 * 1024 * 1024


@dataclass
class Contents:
    """Files by name, in their order; ``None`` where a file is there but cannot be read. *problems* are whole sentences.

    *deviations* name where a zip is not written as a pack is.
    """

    files: dict[str, bytes | None] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    deviations: list[str] = field(default_factory=list)
    zipped: bool = False
    total: int = 0

    def add(self, name: str, data: bytes | None) -> None:
        """Keep one file."""
        self.files[name] = data
        self.total += len(data or b"")


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


def _read_file(path: UPath, name: str, contents: Contents) -> None:
    shown = untrusted.shown(name)
    if len(contents.files) >= MAXIMUM_FILES or contents.total > MAXIMUM_TOTAL:
        contents.problems.append(f"added: {shown} is beyond what a release may hold")
        return
    if objects.is_folder(path):
        contents.problems.append(f"added: the folder {shown} is no part of the evidence")
        return
    try:
        data = objects.read(path)
    except Damaged as error:
        contents.problems.append(f"altered: {error}")
        data = None
    contents.add(name, data)
