"""Files of a local file system as small objects: exclusive against a crash, durable, never seen half.

Knows POSIX. Must not know addresses or other stores.
"""

from __future__ import annotations

import errno
import hashlib
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from airlock.errors import Damaged
from airlock.places.paths import regular
from airlock.places.store import Content

_NO_LINKS = frozenset({errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK, errno.EXDEV})
"""What file systems without hard links answer."""
_NO_FLUSH = frozenset({errno.EINVAL, errno.ENOTSUP, errno.ENOSYS})
"""What file systems answer that cannot flush a folder, as shares of Windows."""


def version(data: bytes) -> str:
    """Return what tells a file of these bytes from one of others."""
    return hashlib.sha256(data).hexdigest()


def read(here: Path, most: int) -> Content | None:
    """Return at most the first *most* bytes of the file, or ``None`` if there is none.

    :raises Damaged: it is no regular file
    """
    if here.is_symlink() or not regular(here):
        raise Damaged(f"{here} is not a regular file")
    try:
        with here.open("rb") as stream:
            data = stream.read(most)
    except FileNotFoundError:
        return None
    return Content(data, version(data))


def replace(path: Path, data: bytes) -> None:
    """Write *data* to *path*, over what is there; a reader sees the old bytes or the new ones."""
    with _part(path, data) as part:
        part.replace(path)
    flush_folder(path.parent)


def create(path: Path, data: bytes) -> bool:
    """Create *path* with *data* and return whether it was created: ``False`` if it is there."""
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
            with alone(path.parent):
                if os.path.lexists(path):
                    return False
                part.replace(path)
    flush_folder(path.parent)
    return True


@contextmanager
def alone(folder: Path) -> Iterator[None]:
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
