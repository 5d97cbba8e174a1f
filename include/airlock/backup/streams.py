"""Plain bytes to zstd inside age, as a stream in constant memory. Knows no paths, recovery points or places.

The format is what ``zstd -3 | age -r ...`` would write, so that the two command-line tools alone can restore it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import pyrage
import zstandard

from airlock.places.streams import CHUNK

_LEVEL = 3
READ_AHEAD = 4
HEADER_LIMIT = 1 << 16


@dataclass(frozen=True)
class Measured:
    """Sizes in bytes and sha256 hex digests of both sides of a stream."""

    plain_bytes: int
    plain_sha256: str
    cipher_bytes: int
    cipher_sha256: str
    header_sha256: str


class SealFailed(Exception):
    """The encryption library itself gave up; ``str()`` is its reason."""


class Undecipherable(Exception):
    """The bytes cannot be decrypted or decompressed; ``str()`` is the library's reason."""


def header_sha256(beginning: bytes) -> str:
    """Return the hex digest of the header that an age file begins with.

    :raises Undecipherable: it does not begin with one
    """
    mark = beginning.find(b"\n--- ", 0, HEADER_LIMIT)
    end = beginning.find(b"\n", mark + 1)
    if mark < 0 or end < 0:
        raise Undecipherable("it does not begin with the header of an age file")
    return hashlib.sha256(beginning[: end + 1]).hexdigest()


class Tally:
    """Counts and hashes bytes. The hash is computed in a thread of its own, at most one chunk behind."""

    def __init__(self) -> None:
        self.size = 0
        self._hash = hashlib.sha256()
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="sha256")
        self._last: Future[None] | None = None

    def add(self, chunk: bytes | memoryview) -> None:
        """Count *chunk* and have it hashed; it may be written over after the next call."""
        self._wait()
        self.size += len(chunk)
        self._last = self._thread.submit(self._hash.update, chunk)

    def _wait(self) -> None:
        if self._last is not None:
            self._last.result()

    def close(self) -> str:
        """Wait for the last chunk and return the hex digest. May be called again."""
        self._wait()
        self._thread.shutdown()
        return self._hash.hexdigest()


class _Plain:
    """The reader that zstd pulls from. Keeps what the producer raised, because pyrage replaces it by its own error."""

    def __init__(self, chunks: Iterable[bytes], tally: Tally) -> None:
        self._chunks = iter(chunks)
        self._tally = tally
        self.failure: BaseException | None = None

    def read(self, _size: int = -1) -> bytes:
        try:
            for chunk in self._chunks:
                if chunk:  # an empty one would look like the end
                    self._tally.add(chunk)
                    return chunk
        except BaseException as error:
            self.failure = error
            raise
        return b""


class _Sink:
    """The writer that age pushes into, 64 KiB at a time; keeps what the store raised, for the same reason.

    Two buffers take turns, one being filled and one being hashed: to get new memory for each chunk costs more.
    """

    def __init__(self, write: Callable[[bytes | memoryview], object], tally: Tally) -> None:
        self._write = write
        self._tally = tally
        self._buffer, self._other = memoryview(bytearray(CHUNK)), memoryview(bytearray(CHUNK))
        self._filled = 0
        self.beginning = b""
        self.failure: BaseException | None = None

    def write(self, data: bytes) -> int:
        if self._filled + len(data) > CHUNK:
            self.flush()
        self._buffer[self._filled : self._filled + len(data)] = data
        self._filled += len(data)
        return len(data)

    def flush(self) -> None:
        chunk = self._buffer[: self._filled]
        if not chunk:
            return
        self.beginning = self.beginning or bytes(chunk[:HEADER_LIMIT])
        self._tally.add(chunk)
        try:
            self._write(chunk)
        except BaseException as error:
            self.failure = error
            raise
        self._buffer, self._other, self._filled = self._other, self._buffer, 0


def seal(
    chunks: Iterable[bytes],
    write: Callable[[bytes | memoryview], object],
    recipients: Sequence[pyrage.x25519.Recipient],
) -> Measured:
    """Compress and encrypt *chunks* into *write*, which does not keep the memory that it is given.

    :raises SealFailed: the encryption failed; what *chunks* or *write* raise passes through unchanged
    """
    plain, cipher = Tally(), Tally()
    try:
        source, sink = _Plain(chunks, plain), _Sink(write, cipher)
        compressed = zstandard.ZstdCompressor(level=_LEVEL, write_checksum=True).stream_reader(source, read_size=CHUNK)  # type: ignore[arg-type]
        try:
            pyrage.encrypt_io(compressed, sink, list(recipients))
        except (pyrage.EncryptError, OSError) as error:
            failure = source.failure or sink.failure
            if failure is not None:
                raise failure from None
            raise SealFailed(str(error)) from error
        sink.flush()
        header = header_sha256(sink.beginning)
        return Measured(plain.size, plain.close(), cipher.size, cipher.close(), header)
    finally:
        plain.close()
        cipher.close()
