"""Read and create objects in a folder, local or in any object store: exclusive, durable, never overwritten half way.

Knows paths and bytes. Must not know records, seals or packs.
"""

from __future__ import annotations

import errno
import json
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from upath import UPath

from airlock.errors import EvidenceInvalid, InvalidInput, PermanentError, TemporaryError

MAXIMUM_BYTES = 16 * 1024 * 1024
"""The largest object that is written or read."""
_FULL = {errno.ENOSPC, errno.EDQUOT}
_HOPELESS = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG}
_LOCAL = {"", "file", "local"}


def root_path(root: str | Path | UPath) -> UPath:
    """Return *root* as a path; a plain text is a local folder or an address such as ``s3://bucket/folder``.

    :raises InvalidInput: the text is empty, or names a store whose library is not installed
    """
    if not str(root):
        raise InvalidInput("the path of the evidence is empty")
    try:
        path = UPath(root)
        str(path)  # an address that is none fails only here
    except (ValueError, ImportError) as error:
        raise InvalidInput(f"{root} cannot be opened: {error}") from error
    return path


def local(path: UPath) -> Path | None:
    """Return *path* as a local path, or ``None`` if it lies in an object store."""
    return Path(path.path) if path.protocol in _LOCAL else None


def create(path: UPath, data: bytes) -> bool:
    """Create the object *path* with *data* in one step and return whether it was created: ``False`` if it exists.

    :raises TemporaryError: the disk is full or the store cannot be reached
    """
    with _clear_errors("written", path):
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
    with _clear_errors("written", path):
        here = local(path)
        if here is None:
            path.fs.pipe_file(path.path, data)
            return
        with _part(here, data) as part:
            part.replace(here)
        _flush_folder(here.parent)


def read(path: UPath) -> bytes | None:
    """Return the bytes of *path*, or ``None`` if there is no such object.

    :raises EvidenceInvalid: it is larger than any object that is written here, or not a regular file
    :raises TemporaryError: the store cannot be reached
    """
    with _clear_errors("read", path):
        here = local(path)
        if here is not None and here.is_symlink() | (here.exists() and not here.is_file()):
            raise EvidenceInvalid(f"{path} is not a regular file")
        try:
            with path.open("rb") as stream:
                data: bytes = stream.read(MAXIMUM_BYTES + 1)
        except FileNotFoundError:
            return None
    if len(data) > MAXIMUM_BYTES:
        raise EvidenceInvalid(f"{path} is larger than {MAXIMUM_BYTES} bytes: no record or seal is")
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
    with _clear_errors("withdrawn", path):
        path.unlink(missing_ok=True)


def names(folder: UPath, *, hidden: bool = False) -> tuple[str, ...]:
    """Return the sorted names in *folder*, *hidden* ones only if asked for; empty if it is no folder.

    :raises TemporaryError: the store cannot be reached
    """
    with _clear_errors("listed", folder):
        here = local(folder)
        try:
            if here is not None:
                found = sorted(os.listdir(here))  # noqa: PTH208 - names only, of thousands
            else:
                folder.fs.invalidate_cache()
                found = sorted(entry.name for entry in folder.iterdir())
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
    with _clear_errors("listed", folder), os.scandir(here) as entries:
        for entry in entries:
            try:
                found.append((entry.stat(follow_symlinks=False).st_ctime_ns, entry.name))
            except FileNotFoundError:
                continue  # a part that another writer has just renamed
    return tuple(name for _, name in sorted(found))


def exists(path: UPath) -> bool:
    """Return whether there is an object or folder *path*."""
    with _clear_errors("looked up", path):
        return bool(path.exists())


def is_folder(path: UPath) -> bool:
    """Return whether *path* is a folder."""
    with _clear_errors("looked up", path):
        return bool(path.is_dir())


def is_link(path: UPath) -> bool:
    """Return whether *path* is a link to something else; object stores have none."""
    here = local(path)
    return here is not None and here.is_symlink()


def parse_json(data: bytes, what: str) -> Any:
    """Return the JSON value in *data*, whatever a stranger put there.

    :raises EvidenceInvalid: not UTF-8, not JSON, nested too deeply, or with numbers that JSON does not have
    """
    def refuse(constant: str) -> None:
        raise ValueError(f"{constant} is no JSON number")

    try:
        return json.loads(data.decode("utf-8"), parse_constant=refuse)
    except UnicodeDecodeError as error:
        raise EvidenceInvalid(f"{what} is not UTF-8 text") from error
    except RecursionError as error:
        raise EvidenceInvalid(f"{what} is nested too deeply") from error
    except ValueError as error:
        raise EvidenceInvalid(f"{what} is not JSON: {str(error)[:100]}") from error


@contextmanager
def locked(
    folder: UPath, name: str = "seal", patience: float = 600.0, *, shared: bool = False
) -> Iterator[None]:
    """Let one process at a time into what *name* stands for in *folder*, if it is local; an object store has no locks.

    The lock ends with the process that holds it, however that dies.

    :param patience: seconds to wait for another process
    :param shared: let any number of processes in that share it, but none that wants it alone
    :raises TemporaryError: another process did not leave in that time, or the folder cannot be reached
    """
    here = local(folder)
    if here is None:
        yield
        return
    path = here / f".{name}.lock"
    with _clear_errors("locked", folder):
        here.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        _await_lock(descriptor, path, patience, shared=shared)
        yield
    finally:
        os.close(descriptor)


def _await_lock(descriptor: int, path: Path, patience: float, *, shared: bool) -> None:
    import fcntl

    limit = time.monotonic() + patience
    wanted = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    while True:
        try:
            fcntl.flock(descriptor, wanted | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > limit:
                raise TemporaryError(
                    f"another process has held {path} for {patience:.0f} s: look for a task that hangs"
                ) from None
            time.sleep(0.05)
        else:
            return


def _create_file(path: Path, data: bytes) -> bool:
    if path.exists():
        return False
    with _part(path, data) as part:
        try:
            # A link appears at once and whole, and fails if the name is taken: exclusive even against a crash.
            os.link(part, path)
        except FileExistsError:
            return False
    _flush_folder(path.parent)
    return True


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


def _flush_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _clear_errors(done: str, path: UPath) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise TemporaryError(f"{path} cannot be written: the disk is full; free space and try again") from error
        if error.errno in _HOPELESS:
            raise PermanentError(f"{path} cannot be {done}: {error.strerror or error}") from error
        raise TemporaryError(f"{path} cannot be {done}: {error.strerror or error}") from error
    except (ImportError, ValueError) as error:
        raise InvalidInput(f"{path} cannot be {done}: {error}") from error


def shown(name: str) -> str:
    """Return *name* as it may appear in a message: printable and at most 160 characters."""
    if len(name) <= 160 and name.isprintable():
        return name
    printable = "".join(character if character.isprintable() else "?" for character in name)
    return printable if len(printable) <= 160 else printable[:157] + "..."
