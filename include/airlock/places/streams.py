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
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import BinaryIO

from upath import UPath

from airlock.errors import AirlockError, Damaged, PermanentError
from airlock.places.files import flush_folder
from airlock.places.paths import clear_faults, local, regular
from airlock.places.remote import store_of
from airlock.places.store import Closable, Readable, Writing

log = logging.getLogger(__name__)
CHUNK = 1 << 20
"""How much is read at once, in bytes."""


@contextmanager
def created(path: UPath) -> Iterator[Callable[[bytes | memoryview], object]]:
    """Give a function that appends bytes; the object appears under *path* when the block ends, or not at all.

    :raises PermanentError: the disk is full, or the place may not be written
    :raises TemporaryError: the place cannot be reached
    """
    with clear_faults("written", path, PermanentError):
        store = store_of(path)
        writing = _FileWriting(Path(path.path)) if store is None else store.writing(path.path)

    def append(chunk: bytes | memoryview) -> None:
        with clear_faults("written", path, PermanentError):
            writing.write(chunk)

    complete = False
    try:
        yield append
        with clear_faults("written to its end", path, PermanentError):
            writing.commit()
        complete = True
    finally:
        if not complete:
            _drop(writing, path)


def _drop(writing: Writing, path: UPath) -> None:
    """Remove what was begun. Its own failure is logged only: the reason for dropping is the one to report."""
    try:
        with clear_faults("cleaned up", path):
            writing.abort()
    except AirlockError as error:
        log.warning("%s", error)


class _FileWriting:
    """A local file, under another name until it is whole."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file: BinaryIO = self._part.open("wb")

    def write(self, chunk: bytes | memoryview, /) -> object:
        return self._file.write(chunk)

    def commit(self) -> None:
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        self._part.replace(self._path)
        flush_folder(self._path.parent)

    def abort(self) -> None:
        try:
            self._file.close()
        finally:
            self._part.unlink(missing_ok=True)


@contextmanager
def opened(path: UPath) -> Iterator[Readable]:
    """Give a reader of *path*.

    :raises Damaged: nothing is there, or no regular file
    :raises TemporaryError: it cannot be read now
    """
    with clear_faults("read", path):
        store, here = store_of(path), local(path)
        if not regular(here):
            raise Damaged(f"{path} is not a regular file")
        file = store.reading(path.path) if store is not None else _opened_file(Path(path.path))
    if file is None:
        raise Damaged(f"{path} is missing; next: look who removed it, and store again what it held")
    with closing(file):
        yield _Named(file, path)


def _opened_file(path: Path) -> Closable | None:
    try:
        return path.open("rb")
    except FileNotFoundError:
        return None


@contextmanager
def at_hand(path: UPath) -> Iterator[Path]:
    """Give the local file *path*, or a copy of the object, which is gone when the block ends; errors as in ``opened``.
    """
    here = local(path)
    if here is not None:
        yield here
        return
    with TemporaryDirectory(prefix="airlock-") as folder:
        copy = Path(folder) / path.name
        with opened(path) as source, copy.open("xb") as file:
            while chunk := source.read(CHUNK):
                file.write(chunk)
        yield copy


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
