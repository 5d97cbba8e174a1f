"""Single objects at any fsspec-backed path: appear whole or not at all, and name what goes wrong.

Hides the difference between a local file (temporary name, then rename) and an object store (upload, then commit).
Must not know encryption, recovery points or drivers.
"""

from __future__ import annotations

import errno
import hashlib
import logging
import os
import secrets
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from upath import UPath

from airlock.backup.streams import CHUNK, Readable
from airlock.errors import AirlockError, BackupDamaged, PermanentError, TemporaryError

log = logging.getLogger(__name__)
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_REFUSED = frozenset({
    errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.ELOOP,
})  # fmt: skip
# what file systems without hard links answer
_NO_LINKS = frozenset({errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK})


@contextmanager
def created(path: UPath) -> Iterator[Callable[[bytes], object]]:
    """Give a function that appends bytes; the object appears under *path* when the block ends, or not at all.

    :raises PermanentError: the disk is full, or the place may not be written
    :raises TemporaryError: the place cannot be reached
    """
    local = is_local(path)
    target = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part") if local else path
    try:
        path.fs.makedirs(path.parent.path, exist_ok=True)
        # an object store's upload becomes visible at its commit, a local file at its rename
        file = path.fs.open(target.path, "wb", **({} if local else {"autocommit": False}))
    except OSError as error:
        raise named(error, path, "write") from error

    def append(chunk: bytes) -> None:
        try:
            file.write(chunk)
        except OSError as error:
            raise named(error, path, "write") from error

    complete = False
    try:
        yield append
        try:
            _commit(file, target, path, local=local)
        except OSError as error:
            raise named(error, path, "finish writing") from error
        complete = True
    finally:
        if not complete:
            _drop(file, target, local=local)


def _commit(file: Any, target: UPath, path: UPath, *, local: bool) -> None:
    if local:
        file.flush()
        os.fsync(file.fileno())
        file.close()
        Path(target.path).replace(path.path)
    else:
        file.close()
        file.commit()


def _drop(file: Any, target: UPath, *, local: bool) -> None:
    """Remove what was begun. Its own failure is logged only: the reason for dropping is the one to report."""
    try:
        if local:
            try:
                file.close()
            finally:
                target.unlink(missing_ok=True)
        else:
            file.discard()
    except OSError as error:
        log.warning("could not clean up %s: %s", target, error)


def put(path: UPath, content: bytes) -> None:
    """Write *content* as the whole object at *path*; errors as in ``created``."""
    with created(path) as append:
        append(content)


def put_once(path: UPath, content: bytes) -> bool:
    """Write *content* as the whole object at *path* unless something is there; return whether it was written.

    Of two that write at once one is told False, where the storage can tell: disks with hard links, and object stores
    with conditional writes. Errors as in ``created``.
    """
    local = is_local(path)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}.once")
    if local:
        put(draft, content)
    try:
        if local:
            _link_or_move(draft, path)
        else:
            path.fs.makedirs(path.parent.path, exist_ok=True)
            path.fs.pipe_file(path.path, content, mode="create")
    except FileExistsError:
        return False
    except OSError as error:
        raise named(error, path, "finish writing") from error
    finally:
        if local:
            draft.unlink(missing_ok=True)
    return True


def _link_or_move(draft: UPath, path: UPath) -> None:
    try:
        os.link(draft.path, path.path)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        if os.path.lexists(path.path):
            raise FileExistsError(path.path) from error
        Path(draft.path).rename(path.path)


@contextmanager
def opened(path: UPath) -> Iterator[Readable]:
    """Give a reader of *path*.

    :raises BackupDamaged: nothing is there
    :raises TemporaryError: it cannot be read now
    """
    try:
        file = path.fs.open(path.path, "rb")
    except FileNotFoundError as error:
        raise BackupDamaged(f"{path} is missing; next: take the backup again") from error
    except OSError as error:
        raise named(error, path, "read") from error
    with file:
        yield _Named(file, path)


class _Named:
    """A reader whose failures name the path."""

    def __init__(self, file: Readable, path: UPath) -> None:
        self._file = file
        self._path = path

    def read(self, size: int = -1, /) -> bytes:
        try:
            return self._file.read(size)
        except OSError as error:
            raise named(error, self._path, "read") from error


def size(path: UPath) -> int | None:
    """Return the size of the object in bytes, ``None`` when nothing is there.

    :raises TemporaryError: the store cannot be reached
    """
    try:
        path.fs.invalidate_cache()
        return int(path.fs.info(path.path)["size"])
    except FileNotFoundError:
        return None
    except OSError as error:
        raise named(error, path, "look at") from error


def sha256(path: UPath) -> str:
    """Return the hex digest of the object; errors as in ``opened``."""
    found = hashlib.sha256()
    with opened(path) as source:
        while chunk := source.read(CHUNK):
            found.update(chunk)
    return found.hexdigest()


def replicate(path: UPath, second: UPath, expected_sha256: str) -> None:
    """Copy *path* to *second* and read both back: the copy is visible only when the first was intact.

    :raises BackupDamaged: one of the two does not hold what was written
    """
    found = hashlib.sha256()
    with opened(path) as source, created(second) as append:
        while chunk := source.read(CHUNK):
            found.update(chunk)
            append(chunk)
        if found.hexdigest() != expected_sha256:
            raise BackupDamaged(
                f"{path} does not hold what was just written (sha256 differs): check the storage below it"
            )
    if sha256(second) != expected_sha256:
        raise BackupDamaged(f"replica {second} does not hold what was just written (sha256 differs): check the storage")


def remove_others(folder: UPath, known: Collection[str]) -> None:
    """Remove every object in *folder* but those of *known* names.

    :raises TemporaryError: the place cannot be reached
    """
    try:
        folder.fs.invalidate_cache()
        for name in folder.fs.ls(folder.path, detail=False):
            if str(name).rstrip("/").rpartition("/")[2] in known:
                continue
            with suppress(FileNotFoundError):  # removed by somebody else meanwhile
                folder.fs.rm(name, recursive=True)
                log.info("removed %s, which no finished backup holds", name)
    except OSError as error:
        raise named(error, folder, "clear") from error


def is_local(path: UPath) -> bool:
    """Return whether *path* is in a local file system."""
    protocol = path.fs.protocol
    return "file" in ((protocol,) if isinstance(protocol, str) else protocol)


def named(error: OSError, path: UPath, act: str) -> AirlockError:
    """Return *error* as one of Airlock's, with a sentence that says what to do."""
    reason = error.strerror or str(error) or type(error).__name__
    if error.errno in _FULL:
        return PermanentError(
            f"cannot {act} {path}: the disk is full ({reason}); free space there, then run this task again"
        )
    if error.errno in _REFUSED or isinstance(error, PermissionError):
        return PermanentError(f"cannot {act} {path}: {reason}; check the path and the rights of this process")
    return TemporaryError(f"cannot {act} {path}: {reason}; is the storage reachable?")
