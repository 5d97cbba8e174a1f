"""Small objects: created once, replaced whole, read whole, listed. Exclusive, durable, never overwritten half way.

Knows paths and bytes; what is too large to be held in memory is in ``streams``.
"""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Collection, Hashable
from contextlib import suppress
from pathlib import Path

from upath import UPath

from airlock.errors import Damaged
from airlock.places import files
from airlock.places.paths import clear_faults, local
from airlock.places.remote import store_of
from airlock.places.store import Content

log = logging.getLogger(__name__)
MAXIMUM_BYTES = 16 * 1024 * 1024
"""The largest object that is written or read whole."""


def create(path: UPath, data: bytes) -> bool:
    """Create the object *path* with *data* in one step and return whether it was created: ``False`` if it exists.

    :raises TemporaryError: the disk is full or the store cannot be reached
    """
    with clear_faults("written", path):
        store = store_of(path)
        return files.create(Path(path.path), data) if store is None else store.create(path.path, data)


def replace(path: UPath, data: bytes) -> None:
    """Write *data* to *path*, over what is there. A reader sees the old bytes or the new ones.

    :raises TemporaryError: the disk is full or the store cannot be reached
    """
    with clear_faults("written", path):
        store = store_of(path)
        if store is not None:
            store.replace(path.path, data)
            return
        files.replace(Path(path.path), data)


def replace_unchanged(path: UPath, data: bytes, version: str) -> str | None:
    """Write *data* to *path* if what is there still has *version*, as ``content`` told it, and return the new version;
    ``None`` if somebody else wrote or removed it meanwhile. *data* must differ from all that was ever there.

    :raises PermanentError: the store knows no such condition, so that nobody could rely on it
    :raises TemporaryError: the disk is full or the store cannot be reached
    """
    with clear_faults("written", path):
        store = store_of(path)
        if store is not None:
            return store.replace_unchanged(path.path, data, version)
        here = Path(path.path)
        if not here.parent.is_dir():
            return None
        with files.alone(here.parent):
            found = content(path)
            if found is None or found.version != version:
                return None
            files.replace(here, data)
        return files.version(data)


def content(path: UPath) -> Content | None:
    """Return the bytes of *path* and their version, or ``None`` if there is no such object; errors as in ``read``."""
    with clear_faults("read", path):
        store = store_of(path)
        if store is not None:
            found = store.read(path.path, MAXIMUM_BYTES + 1)
        else:
            found = files.read(Path(path.path), MAXIMUM_BYTES + 1)
    if found is not None and len(found.data) > MAXIMUM_BYTES:
        raise Damaged(f"{path} is larger than {MAXIMUM_BYTES} bytes: nothing that is kept there is")
    return found


def read(path: UPath) -> bytes | None:
    """Return the bytes of *path*, or ``None`` if there is no such object.

    :raises Damaged: it is larger than any object that is written here, or not a regular file
    :raises TemporaryError: the store cannot be reached
    """
    found = content(path)
    return None if found is None else found.data


def unchanged_since(path: UPath) -> Hashable | None:
    """Return what changes whenever the bytes of *path* do; ``None`` where that cannot be told.

    The time of the last change of state is set by the system alone: no writer can set it back.
    """
    with clear_faults("looked up", path):
        store = store_of(path)
        if store is not None:
            state = store.state(path.path)
            return None if state is None or not state.version else state
    try:
        found = Path(path.path).lstat()
    except OSError:
        return None
    return (found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


def withdraw(path: UPath) -> None:
    """Take back an object that this process created a moment ago and told nobody about."""
    with clear_faults("withdrawn", path):
        store = store_of(path)
        if store is not None:
            store.delete(path.path)
            return
        Path(path.path).unlink(missing_ok=True)


def names(folder: UPath, *, hidden: bool = False) -> tuple[str, ...]:
    """Return the sorted names in *folder*, *hidden* ones only if asked for; empty if it is no folder.

    :raises TemporaryError: the store cannot be reached
    """
    with clear_faults("listed", folder):
        return tuple(sorted(name for name in _names(folder) if hidden or not name.startswith(".")))


def holding(folder: UPath, name: str) -> tuple[str, ...]:
    """Return the sorted names of the folders in *folder* that hold an object *name*; errors as in ``names``."""
    with clear_faults("listed", folder):
        store, own = store_of(folder), folder.path.rstrip("/")
        if store is None:
            return tuple(sorted(one.parent.name for one in Path(own).glob(f"*/{name}")))
        inner = (key.removeprefix(f"{own}/").split("/") for key in store.below(folder.path))
        return tuple(sorted(one[0] for one in inner if one[1:] == [name]))


def latest(folder: UPath) -> tuple[str, ...]:
    """Return the names in *folder* in the order in which the system or the store, not a writer's clock, says they were
    written; empty where the store does not tell."""
    with clear_faults("listed", folder):
        store = store_of(folder)
        if store is not None:
            dated = [(one.state.written_at, one.name) for one in store.entries(folder.path) if one.state is not None]
            return tuple(name for _, name in sorted((at, name) for at, name in dated if at is not None))
    here, found = Path(folder.path), []
    with clear_faults("listed", folder), suppress(FileNotFoundError, NotADirectoryError), os.scandir(here) as entries:
        for entry in entries:
            with suppress(FileNotFoundError):  # a part that another writer has just renamed
                found.append((entry.stat(follow_symlinks=False).st_ctime_ns, entry.name))
    return tuple(name for _, name in sorted(found))


def exists(path: UPath) -> bool:
    """Return whether there is an object or folder *path*."""
    with clear_faults("looked up", path):
        store = store_of(path)
        if store is None:
            return path.exists()
        return store.state(path.path) is not None or store.is_folder(path.path)


def is_folder(path: UPath) -> bool:
    """Return whether *path* is a folder."""
    with clear_faults("looked up", path):
        store = store_of(path)
        return path.is_dir() if store is None else store.is_folder(path.path)


def is_link(path: UPath) -> bool:
    """Return whether *path* is a link to something else; object stores have none."""
    here = local(path)
    with clear_faults("looked up", path):
        return here is not None and here.is_symlink()


def size(path: UPath) -> int | None:
    """Return the size of the object in bytes, ``None`` when nothing is there; errors as in ``names``."""
    with clear_faults("looked up", path):
        store = store_of(path)
        if store is not None:
            state = store.state(path.path)
            return None if state is None else state.size
        try:
            return Path(path.path).stat().st_size
        except FileNotFoundError:
            return None


def remove_others(folder: UPath, known: Collection[str]) -> None:
    """Remove every object in *folder* but those of *known* names; errors as in ``names``."""
    with clear_faults("cleared", folder):
        for name in [one for one in _names(folder) if one not in known]:
            _remove(folder / name)
            log.info("removed %s, which nothing that is finished holds", folder / name)


def remove_folder(folder: UPath) -> None:
    """Remove *folder* and all that is in it, if it is there; errors as in ``names``."""
    with clear_faults("removed", folder):
        if _remove(folder):
            log.info("removed %s", folder)


def _names(folder: UPath) -> list[str]:
    store = store_of(folder)
    if store is not None:
        return [one.name for one in store.entries(folder.path)]
    try:
        return os.listdir(folder.path)  # noqa: PTH208 - names only, of thousands
    except (FileNotFoundError, NotADirectoryError):
        return []


def _remove(path: UPath) -> bool:
    """Remove *path*, an object or a folder with all that is in it, and return whether anything was there. What somebody
    else removes meanwhile is no failure."""
    store, here = store_of(path), Path(path.path)
    if store is not None:
        keys = [*store.below(path.path), *([path.path] if store.state(path.path) is not None else [])]
        for key in keys:
            store.delete(key)
        return bool(keys)
    try:
        if here.is_dir() and not here.is_symlink():
            shutil.rmtree(here)
        else:
            here.unlink()
    except FileNotFoundError:
        return False
    return True
