"""The contract of object stores: what places ask of one. Knows keys and bytes; must not know what is in them, who asks,
or any store's library.

A key is ``bucket/name``, with ``/`` as the only thing that is like a folder. What each implementation promises:

- What goes wrong is an error of Airlock: ``TemporaryError`` where the same call may succeed later (a store that
  throttles, fails, is away, or a credential that has expired), ``AccessRefused`` where it does not let us,
  ``PermanentError`` where it cannot. The message names the address, what could not be done, why, and what to do next.
- It asks again by itself a few times. An answer that is lost on the way is no other outcome: who asked again and is
  told that the object is there, or was changed, looks whether that was its own write before it says so.
- A small object takes well under 40 s, however the store hangs: somebody else may be waiting for a lease to end.
- What was written is seen by the next reader and in the next listing.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar, Protocol


class Readable(Protocol):
    """Whatever has a binary ``read``."""

    def read(self, size: int = -1, /) -> bytes: ...


class Closable(Readable, Protocol):
    """One that is closed when it is no longer read."""

    def close(self) -> None: ...


class Writing(Protocol):
    """A stream that is being written; nothing is seen of it before ``commit``."""

    def write(self, chunk: bytes | memoryview, /) -> object:
        """Append *chunk*; memory stays constant."""

    def commit(self) -> None:
        """Let the object appear, whole."""

    def abort(self) -> None:
        """Leave nothing behind; also after a ``commit`` that failed."""


@dataclass(frozen=True)
class State:
    """What a store says of an object. ``version`` changes with every write, and is the store's own word; ``written_at``
    is by its own clock. Empty and ``None`` where it does not say."""

    size: int
    version: str = ""
    written_at: datetime | None = None


@dataclass(frozen=True)
class Content:
    """The bytes of an object, and their version."""

    data: bytes
    version: str


@dataclass(frozen=True)
class Entry:
    """One name in a folder, and the state of the object that is called so."""

    name: str
    state: State | None = None

    @property
    def folder(self) -> bool:
        """Return whether other names lie below it."""
        return self.state is None


class ObjectStore(ABC):
    """The objects that one connection reaches."""

    conditional: ClassVar[bool] = True
    """Whether it writes under a condition, so that writers who know nothing of each other can be kept apart."""

    @abstractmethod
    def create(self, key: str, data: bytes) -> bool:
        """Create the object and return whether it was created by this call: ``False`` if it was there."""

    @abstractmethod
    def replace(self, key: str, data: bytes) -> None:
        """Write the object, over what is there."""

    @abstractmethod
    def replace_unchanged(self, key: str, data: bytes, version: str) -> str | None:
        """Write the object if it still has *version*, and return its new one; ``None`` if it was changed or removed.

        A store may tell versions by their bytes alone: *data* must differ from all that was there before.

        :raises PermanentError: the store knows no such condition
        """

    @abstractmethod
    def read(self, key: str, most: int) -> Content | None:
        """Return at most the first *most* bytes of the object; ``None`` if there is none."""

    @abstractmethod
    def state(self, key: str) -> State | None:
        """Return the state of the object; ``None`` if there is none."""

    @abstractmethod
    def entries(self, folder: str) -> Iterator[Entry]:
        """Yield what lies in *folder*, in any order; nothing if it is none."""

    @abstractmethod
    def below(self, folder: str) -> Iterator[str]:
        """Yield the key of every object in *folder*, at any depth, its own marker too."""

    @abstractmethod
    def is_folder(self, key: str) -> bool:
        """Return whether anything lies below *key*; of a bucket, whether it is there."""

    @abstractmethod
    def delete(self, key: str) -> None:
        """Remove the object, if it is there. Where the store keeps versions, they stay until it lets them go."""

    @abstractmethod
    def writing(self, key: str) -> Writing:
        """Begin to write the object as a stream, over what is there."""

    @abstractmethod
    def reading(self, key: str) -> Closable | None:
        """Return a reader of the object; ``None`` if there is none. A connection that breaks is taken up again."""
