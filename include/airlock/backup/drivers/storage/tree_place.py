"""Where the content of a folder is put back: into the origin or a scratch place, by one way for both.

All is first made beside what is there, then exchanged for it, so that a restore that fails has changed nothing. Knows
neither how it is made nor where it comes from.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Callable
from pathlib import Path

from airlock.backup.attributes import Attributes, attributes_of, give
from airlock.backup.driver import Place
from airlock.backup.drivers.storage.tree import FRESH, OLD, mounted_below
from airlock.backup.files import end_of, fault, remove_tree, scratch_folder, shown
from airlock.backup.taken_names import folder_at
from airlock.errors import InvalidInput

log = logging.getLogger(__name__)
_SHOWN = 5
Fill = Callable[[Path], Path]
"""Puts the content into an empty folder, and returns that folder, or the one in it that then is the whole."""


def root_of(path: str, label: str) -> Path:
    """Return the folder that is backed up.

    :raises InvalidInput: it is no folder, or another file system is mounted in it
    """
    root = end_of(Path(path), label)
    if not root.is_dir():
        raise InvalidInput(f"{label}: {root} is no folder; check 'path' in the service file")
    return root


def files_of(path: str, place: Place, label: str) -> Path:
    """Return where the content lies that is compared: the origin, or a folder of the scratch place."""
    return end_of(Path(path), label) if place.origin else Path(place.folder) / "files"


def without_mounts(root: Path, label: str) -> None:
    """Look that no other file system is mounted below *root*: one cannot be moved aside, and what is in it would be
    deleted with the folder that holds it.

    :raises InvalidInput: one is
    """
    found = mounted_below(root)
    if found:
        raise InvalidInput(
            f"{label}: another file system is mounted at {', '.join(map(shown, found[:_SHOWN]))}, and a "
            "restore cannot replace it; next: back it up as a resource of its own and mount it outside of 'path'"
        )


def put_back(path: str, place: Place, label: str, fill: Fill, *, linked: bool) -> None:
    """Make the content of *place* what *fill* makes, and nothing else.

    :param linked: whether the folder was reached by a link when it was backed up
    :raises AirlockError: what *fill* raises, or what stands in the way; then the content is as it was
    """
    if not place.origin:
        scratch_folder(place, label)
    linked = not place.origin or linked
    root = files_of(path, place, label) if linked else Path(path)
    fresh = root / FRESH  # names are fixed, so that a retry finds what was left
    time = None
    try:
        with folder_at(root, linked=linked):
            without_mounts(root, label)
            time = root.stat().st_mtime_ns
            remove_tree(fresh)
            fresh.mkdir(mode=0o700)
            give(fresh, Attributes(0o700))  # no list of the folder around it, which all in it would inherit
            time = _exchange(root, fill(fresh))
    except OSError as error:
        raise fault(error, label, "replace the content of", root) from error
    finally:
        with contextlib.suppress(OSError):
            remove_tree(fresh)
            if time is not None:
                os.utime(root, ns=(time, time))  # what was done beside its content changed it
    log.info("%s: replaced the content of %s", label, root)


def _exchange(root: Path, content: Path) -> int:
    """Put all that is in *content* in the place of all that is in *root*, which itself stays: it may be a mount point,
    or be open in a program. Return the time that *root* must show of its last change."""
    old = root / OLD
    with contextlib.suppress(FileExistsError):
        old.mkdir(mode=0o700)
    moved: list[str] = []
    try:
        for path in [one for one in root.iterdir() if one.name not in (FRESH, OLD)]:
            _away(old / path.name)  # what a try that was killed moved there
            path.rename(old / path.name)
            moved.append(path.name)
    except OSError:  # something that cannot be moved, such as a file with the flag +i
        for name in moved:
            (old / name).rename(root / name)
        with contextlib.suppress(OSError):
            old.rmdir()
        raise
    seen = content.stat()
    for path in list(content.iterdir()):
        path.rename(root / path.name)
    remove_tree(old)
    give(root, attributes_of(content, seen))
    return seen.st_mtime_ns


def _away(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        remove_tree(path)
    else:
        path.unlink(missing_ok=True)
