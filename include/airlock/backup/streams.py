"""Plain bytes to zstd inside age and back, as streams in constant memory. Knows no paths, recovery points or places.

The format is what ``zstd -3 | age -r ...`` would write, so that the two command-line tools alone can restore it.
"""

from __future__ import annotations

import hashlib
import queue
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

import pyrage
import zstandard

CHUNK = 1 << 20
_LEVEL = 3
_READ_AHEAD = 4


class Readable(Protocol):
    """Whatever has a binary ``read``."""

    def read(self, size: int = -1, /) -> bytes: ...


@dataclass(frozen=True)
class Measured:
    """Sizes in bytes and sha256 hex digests of both sides of a stream."""

    plain_bytes: int
    plain_sha256: str
    cipher_bytes: int
    cipher_sha256: str


class SealFailed(Exception):
    """The encryption library itself gave up; ``str()`` is its reason."""


class Undecipherable(Exception):
    """The bytes cannot be decrypted or decompressed; ``str()`` is the library's reason."""


class Tally:
    """Counts and hashes bytes. The hash is computed in a thread of its own, at most a few chunks behind."""

    def __init__(self) -> None:
        self.size = 0
        self._hash = hashlib.sha256()
        self._chunks: queue.Queue[bytes | None] = queue.Queue(maxsize=_READ_AHEAD)
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="sha256")
        self._done = self._thread.submit(self._run)

    def _run(self) -> None:
        while (chunk := self._chunks.get()) is not None:
            self._hash.update(chunk)

    def add(self, chunk: bytes) -> None:
        """Count *chunk* and have it hashed."""
        self.size += len(chunk)
        self._chunks.put(chunk)

    def close(self) -> str:
        """Wait for the last chunk and return the hex digest. May be called again."""
        if not self._done.done():
            self._chunks.put(None)
            self._done.result()
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
    """The writer that age pushes into; keeps what the store raised, for the same reason."""

    def __init__(self, write: Callable[[bytes], object], tally: Tally) -> None:
        self._write = write
        self._tally = tally
        self._pending = bytearray()
        self.failure: BaseException | None = None

    def write(self, data: bytes) -> int:
        self._pending += data
        if len(self._pending) >= CHUNK:
            self.flush()
        return len(data)

    def flush(self) -> None:
        chunk = bytes(self._pending)
        self._pending.clear()
        if not chunk:
            return
        self._tally.add(chunk)
        try:
            self._write(chunk)
        except BaseException as error:
            self.failure = error
            raise


def seal(
    chunks: Iterable[bytes], write: Callable[[bytes], object], recipients: Sequence[pyrage.x25519.Recipient]
) -> Measured:
    """Compress and encrypt *chunks* into *write*.

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
        return Measured(plain.size, plain.close(), cipher.size, cipher.close())
    finally:
        plain.close()
        cipher.close()


class _Abandoned(Exception):
    """The consumer went away before the end."""


class _Handover:
    """A bounded queue between age, which pushes, and zstd, which pulls."""

    def __init__(self) -> None:
        self._chunks: queue.Queue[bytes | None] = queue.Queue(maxsize=_READ_AHEAD)
        self._pending = bytearray()
        self._ended = False
        self._abandoned = False

    def write(self, data: bytes) -> int:
        if self._abandoned:
            raise _Abandoned
        self._pending += data
        if len(self._pending) >= CHUNK:
            self._push()
        return len(data)

    def flush(self) -> None:
        """Age flushes at its end; the last chunk is pushed by ``end``."""

    def end(self) -> None:
        if self._pending:
            self._push()
        self._chunks.put(None)

    def _push(self) -> None:
        self._chunks.put(bytes(self._pending))
        self._pending.clear()

    def read(self, _size: int = -1) -> bytes:
        if self._ended:
            return b""
        chunk = self._chunks.get()
        if chunk is None:
            self._ended = True
            return b""
        return chunk

    def drain(self, *, abandon: bool) -> None:
        """Take what is left, so that the pushing side comes to its end."""
        self._abandoned = abandon
        while self.read():
            pass


class _Counted:
    """A reader that tallies what passes, reading ahead in large chunks because age asks for 8 KiB at a time."""

    def __init__(self, source: Readable, tally: Tally) -> None:
        self._source = source
        self._tally = tally
        self._chunk = b""
        self._at = 0
        self.failure: BaseException | None = None

    def read(self, size: int = -1) -> bytes:
        if self._at >= len(self._chunk):
            try:
                self._chunk, self._at = self._source.read(CHUNK), 0
            except BaseException as error:
                self.failure = error
                raise
            if self._chunk:
                self._tally.add(self._chunk)
        piece = self._chunk[self._at : self._at + size] if size >= 0 else self._chunk[self._at :]
        self._at += len(piece)
        return piece


class Unsealing:
    """Decrypts and decompresses one stream. Iterate over it to the end, then read ``measured``."""

    def __init__(self, source: Readable, identities: Sequence[pyrage.x25519.Identity]) -> None:
        self._source = source
        self._identities = list(identities)
        self.measured: Measured | None = None

    def __iter__(self) -> Iterator[bytes]:
        """Yield plain chunks of at most 1 MiB.

        :raises Undecipherable: the bytes are not what was written, or the key does not fit; what reading the source
            raises passes through unchanged
        """
        cipher, plain = Tally(), Tally()
        handover = _Handover()
        counted = _Counted(self._source, cipher)
        with ThreadPoolExecutor(max_workers=1, thread_name_prefix="age") as pool:
            decrypting = pool.submit(self._decrypt, counted, handover)
            complete = False
            try:
                reader = zstandard.ZstdDecompressor().stream_reader(handover, read_size=CHUNK)  # type: ignore[arg-type]
                while chunk := reader.read(CHUNK):
                    plain.add(chunk)
                    yield chunk
                handover.drain(abandon=False)
                _outcome(decrypting, counted)
                complete = True
            except zstandard.ZstdError as error:
                handover.drain(abandon=False)
                _outcome(decrypting, counted)
                raise Undecipherable(str(error)) from error
            finally:
                if not complete:
                    handover.drain(abandon=True)
                digests = plain.close(), cipher.close()
            self.measured = Measured(plain.size, digests[0], cipher.size, digests[1])

    def _decrypt(self, counted: _Counted, handover: _Handover) -> None:
        try:
            pyrage.decrypt_io(counted, handover, self._identities)
        finally:
            handover.end()


def _outcome(decrypting: Future[None], counted: _Counted) -> None:
    """Raise what went wrong in the decrypting thread, if anything did."""
    try:
        decrypting.result()
    except (pyrage.DecryptError, OSError) as error:
        if counted.failure is not None:
            raise counted.failure from None
        raise Undecipherable(str(error)) from error
