"""Small objects: created once, replaced whole, read whole, listed. Exclusive, durable, never overwritten half way.

Knows paths and bytes; what is too large to be held in memory is in ``streams``.
"""

from __future__ import annotations

import errno
import logging
import os
import secrets
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from upath import UPath

from airlock.errors import Damaged
from airlock.places.paths import clear_faults, fresh, local, regular

log = logging.getLogger(__name__)
MAXIMUM_BYTES = 16 * 1024 * 1024
"""The largest object that is written or read whole."""
_NO_LINKS = frozenset({errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK, errno.EXDEV})
"""What file systems without hard links answer."""
_NO_FLUSH = frozenset({errno.EINVAL, errno.ENOTSUP, errno.ENOSYS})
"""What file systems answer that cannot flush a folder, as shares of Windows."""


def create(path: UPath, data: bytes) -> bool:
    """Create the object *path* with *data* in one step and return whether it was created: ``False`` if it exists.

    :raises TemporaryError: the disk is full or the store cannot be reached
    """
    with clear_faults("written", path):
        here = local(path)
        if here is not None:
            return _create_file(here, data)
        try:
            path.fs.pipe_file(path.path, data, mode="create")
        except FileExistsError:
            return False
        return True


def replace(path: UPath, data: bytes) -> None:
    """Write *data* to *path*, over what is there. A reader sees the old bytes or the new ones.

    :raises TemporaryError: the disk is full or the store cannot be reached
    """
    with clear_faults("written", path):
        here = local(path)
        if here is None:
            path.fs.pipe_file(path.path, data)
            return
        with _part(here, data) as part:
            part.replace(here)
        flush_folder(here.parent)


def read(path: UPath) -> bytes | None:
    """Return the bytes of *path*, or ``None`` if there is no such object.

    :raises Damaged: it is larger than any object that is written here, or not a regular file
    :raises TemporaryError: the store cannot be reached
    """
    with clear_faults("read", path):
        here = local(path)
        if here is not None and (here.is_symlink() or not regular(here)):
            raise Damaged(f"{path} is not a regular file")
        try:
            with fresh(path).open(path.path, "rb") as stream:
                data: bytes = stream.read(MAXIMUM_BYTES + 1)
        except FileNotFoundError:
            return None
    if len(data) > MAXIMUM_BYTES:
        raise Damaged(f"{path} is larger than {MAXIMUM_BYTES} bytes: nothing that is kept there is")
    return data


def unchanged_since(path: UPath) -> tuple[int, ...] | None:
    """Return what changes whenever the bytes of the local file *path* do; ``None`` where that cannot be told.

    The time of the last change of state is set by the system alone: no writer can set it back.
    """
    here = local(path)
    if here is None:
        return None
    try:
        found = here.lstat()
    except OSError:
        return None
    return (found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


def withdraw(path: UPath) -> None:
    """Take back an object that this process created a moment ago and told nobody about."""
    with clear_faults("withdrawn", path):
        path.unlink(missing_ok=True)


def names(folder: UPath, *, hidden: bool = False) -> tuple[str, ...]:
    """Return the sorted names in *folder*, *hidden* ones only if asked for; empty if it is no folder.

    :raises TemporaryError: the store cannot be reached
    """
    with clear_faults("listed", folder):
        here = local(folder)
        try:
            remote = (name for name, _ in _entries(folder))
            found = sorted(remote if here is None else os.listdir(here))  # noqa: PTH208 - names only, of thousands
        except (FileNotFoundError, NotADirectoryError):
            return ()
    return tuple(name for name in found if hidden or not name.startswith("."))


def latest(folder: UPath) -> tuple[str, ...]:
    """Return the names in the local *folder* in the order in which the system, not a writer's clock, says they were
    written; empty where the store does not tell at once."""
    here = local(folder)
    if here is None:
        return ()
    found = []
    with clear_faults("listed", folder), suppress(FileNotFoundError, NotADirectoryError), os.scandir(here) as entries:
        for entry in entries:
            with suppress(FileNotFoundError):  # a part that another writer has just renamed
                found.append((entry.stat(follow_symlinks=False).st_ctime_ns, entry.name))
    return tuple(name for _, name in sorted(found))


def exists(path: UPath) -> bool:
    """Return whether there is an object or folder *path*."""
    with clear_faults("looked up", path):
        fresh(path)
        return bool(path.exists())


def is_folder(path: UPath) -> bool:
    """Return whether *path* is a folder."""
    with clear_faults("looked up", path):
        fresh(path)
        return bool(path.is_dir())


def is_link(path: UPath) -> bool:
    """Return whether *path* is a link to something else; object stores have none."""
    here = local(path)
    with clear_faults("looked up", path):
        return here is not None and here.is_symlink()


def size(path: UPath) -> int | None:
    """Return the size of the object in bytes, ``None`` when nothing is there; errors as in ``names``."""
    with clear_faults("looked up", path):
        try:
            return int(fresh(path).info(path.path)["size"])
        except FileNotFoundError:
            return None


def remove_others(folder: UPath, known: Collection[str]) -> None:
    """Remove every object in *folder* but those of *known* names; errors as in ``names``."""
    with clear_faults("cleared", folder):
        for name, found in _entries(folder):
            if name in known:
                continue
            with suppress(FileNotFoundError):  # removed by somebody else meanwhile
                if is_link(folder / name):
                    (folder / name).unlink()
                else:
                    folder.fs.rm(found, recursive=True)
                log.info("removed %s, which nothing that is finished holds", found)


def remove_folder(folder: UPath) -> None:
    """Remove *folder* and all that is in it, if it is there; errors as in ``names``."""
    with clear_faults("removed", folder), suppress(FileNotFoundError):
        fresh(folder).rm(folder.path, recursive=True)
        log.info("removed %s", folder)


def _entries(folder: UPath) -> Iterator[tuple[str, str]]:
    """Yield name and path of all that is in *folder* now, without its own marker, which object stores list in it."""
    own = folder.path.rstrip("/")
    for found in (str(one).rstrip("/") for one in fresh(folder).ls(folder.path, detail=False)):
        if found != own:
            yield found.rpartition("/")[2], found


def _create_file(path: Path, data: bytes) -> bool:
    if path.exists():
        return False
    with _part(path, data) as part:
        try:
            # A link appears at once and whole, and fails if the name is taken: exclusive even against a crash.
            os.link(part, path)
        except FileExistsError:
            return False
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            with _alone(path.parent):
                if os.path.lexists(path):
                    return False
                part.replace(path)
    flush_folder(path.parent)
    return True


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Let one process at a time look and rename in *folder*, as far as its file system knows locks."""
    import fcntl

    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


@contextmanager
def _part(path: Path, data: bytes) -> Iterator[Path]:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.parent / f".{secrets.token_hex(8)}.part"
    try:
        with part.open("xb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        yield part
    finally:
        part.unlink(missing_ok=True)


def flush_folder(folder: Path) -> None:
    """Let what was created, renamed or removed in *folder* survive a loss of power, where its file system can."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NO_FLUSH:
            raise
    finally:
        os.close(descriptor)
