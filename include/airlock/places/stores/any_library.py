"""Any store that a library of fsspec reaches: what such a library can, and no more. Knows fsspec.

It can create exclusively, as far as its library does, but knows no versions.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from airlock.errors import PermanentError
from airlock.places.store import Closable, Content, Entry, ObjectStore, State, Writing


class LibraryStore(ObjectStore):
    """See the module. Errors are the library's own; ``paths.clear_faults`` says them in our words."""

    conditional = False

    def __init__(self, library: Any) -> None:
        """Use the file system *library* of fsspec."""
        self._library = library

    def create(self, key: str, data: bytes) -> bool:
        try:
            self._library.pipe_file(key, data, mode="create")
        except FileExistsError:
            return False
        return True

    def replace(self, key: str, data: bytes) -> None:
        self._library.pipe_file(key, data)

    def replace_unchanged(self, key: str, data: bytes, version: str) -> str | None:  # noqa: ARG002 - see the contract
        raise PermanentError(f"{key} lies in a store that cannot write under a condition, so two writers could not be "
                             "kept apart; use an object store that can, or a local folder")

    def read(self, key: str, most: int) -> Content | None:
        source = self.reading(key)
        return None if source is None else Content(source.read(most), "")

    def state(self, key: str) -> State | None:
        try:
            return State(int(self._fresh().info(key)["size"]))
        except FileNotFoundError:
            return None

    def entries(self, folder: str) -> Iterator[Entry]:
        own = folder.rstrip("/")
        try:
            listed = self._fresh().ls(folder, detail=True)
        except (FileNotFoundError, NotADirectoryError):
            return
        for one in listed:
            found = str(one["name"]).rstrip("/")
            if found != own:  # a library lists the marker of a folder within that folder
                state = None if one["type"] == "directory" else State(int(one["size"] or 0))
                yield Entry(found.rpartition("/")[2], state)

    def below(self, folder: str) -> Iterator[str]:
        yield from self._fresh().find(folder)

    def is_folder(self, key: str) -> bool:
        return bool(self._fresh().isdir(key))

    def delete(self, key: str) -> None:
        library = self._fresh()
        if library.exists(key):
            library.rm(key, recursive=True)

    def writing(self, key: str) -> Writing:
        self._library.makedirs(key.rpartition("/")[0], exist_ok=True)
        return _Writing(self._library.open(key, "wb", autocommit=False))

    def reading(self, key: str) -> Closable | None:
        try:
            source: Closable = self._fresh().open(key, "rb")
        except FileNotFoundError:
            return None
        return source

    def _fresh(self) -> Any:
        """Return the library without what it remembers of listings: other processes write there, too."""
        self._library.invalidate_cache()
        return self._library


class _Writing:
    def __init__(self, file: Any) -> None:
        self._file = file

    def write(self, chunk: bytes | memoryview, /) -> object:
        return self._file.write(chunk)

    def commit(self) -> None:
        self._file.close()
        self._file.commit()

    def abort(self) -> None:
        self._file.discard()
