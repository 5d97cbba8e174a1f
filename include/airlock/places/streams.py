"""Large objects: written and read in pieces, in constant memory; they appear whole or not at all.

Hides the difference between a local file (temporary name, then rename) and an object store (upload, then commit). Must
not know what is in the bytes.
"""

from __future__ import annotations

import hashlib
import logging
import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from upath import UPath

from airlock.errors import AirlockError, Damaged, PermanentError
from airlock.places.objects import flush_folder
from airlock.places.paths import clear_faults, fresh, local, regular

log = logging.getLogger(__name__)
CHUNK = 1 << 20
"""How much is read at once, in bytes."""


class Readable(Protocol):
    """Whatever has a binary ``read``."""

    def read(self, size: int = -1, /) -> bytes: ...


@contextmanager
def created(path: UPath) -> Iterator[Callable[[bytes | memoryview], object]]:
    """Give a function that appends bytes; the object appears under *path* when the block ends, or not at all.

    :raises PermanentError: the disk is full, or the place may not be written
    :raises TemporaryError: the place cannot be reached
    """
    here = local(path)
    target = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part") if here else path
    with clear_faults("written", path, PermanentError):
        path.fs.makedirs(path.parent.path, exist_ok=True)
        # an object store's upload becomes visible at its commit, a local file at its rename
        file = path.fs.open(target.path, "wb", **({} if here else {"autocommit": False}))

    def append(chunk: bytes | memoryview) -> None:
        with clear_faults("written", path, PermanentError):
            file.write(chunk)

    complete = False
    try:
        yield append
        with clear_faults("written to its end", path, PermanentError):
            _commit(file, target, here)
        complete = True
    finally:
        if not complete:
            _drop(file, target, here)


def _commit(file: Any, target: UPath, here: Path | None) -> None:
    if here is None:
        file.close()
        file.commit()
        return
    file.flush()
    os.fsync(file.fileno())
    file.close()
    Path(target.path).replace(here)
    flush_folder(here.parent)


def _drop(file: Any, target: UPath, here: Path | None) -> None:
    """Remove what was begun. Its own failure is logged only: the reason for dropping is the one to report."""
    try:
        with clear_faults("cleaned up", target):
            if here is None:
                file.discard()
                return
            try:
                file.close()
            finally:
                target.unlink(missing_ok=True)
    except AirlockError as error:
        log.warning("%s", error)


@contextmanager
def opened(path: UPath) -> Iterator[Readable]:
    """Give a reader of *path*.

    :raises Damaged: nothing is there, or no regular file
    :raises TemporaryError: it cannot be read now
    """
    with clear_faults("read", path):
        if not regular(local(path)):
            raise Damaged(f"{path} is not a regular file")
        try:
            file = fresh(path).open(path.path, "rb")
        except FileNotFoundError as error:
            raise Damaged(f"{path} is missing; next: look who removed it, and store again what it held") from error
    with file:
        yield _Named(file, path)


class _Named:
    """A reader whose failures name the path."""

    def __init__(self, file: Readable, path: UPath) -> None:
        self._file = file
        self._path = path

    def read(self, size: int = -1, /) -> bytes:
        with clear_faults("read", self._path):
            return self._file.read(size)


def sha256(path: UPath) -> str:
    """Return the hex digest of the object; errors as in ``opened``."""
    found = hashlib.sha256()
    with opened(path) as source:
        while chunk := source.read(CHUNK):
            found.update(chunk)
    return found.hexdigest()


def replicate(path: UPath, second: UPath, expected_sha256: str) -> None:
    """Copy *path* to *second* and read both back: the copy is visible only when the first was intact.

    :raises Damaged: one of the two does not hold what was written
    """
    found = hashlib.sha256()
    with opened(path) as source, created(second) as append:
        while chunk := source.read(CHUNK):
            found.update(chunk)
            append(chunk)
        if found.hexdigest() != expected_sha256:
            raise Damaged(f"{path} does not hold what was just written (sha256 differs): check the storage below it")
    if sha256(second) != expected_sha256:
        raise Damaged(f"replica {second} does not hold what was just written (sha256 differs): check the storage")
