"""From an encrypted stream back to plain bytes, in constant memory. Knows no paths, recovery points or places.

Anyone who knows a recipient can write a stream that decrypts. What nobody else can write is another stream under the
same *header*: it wraps the key under which each chunk and its number are authenticated (age-encryption.org/v1). So the
header's digest is recorded, and compared before the first plain byte is given out: no consumer (a shell of a database,
an unpacker) ever sees a byte that was not written here.
"""

from __future__ import annotations

import queue
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import pyrage
import zstandard

from airlock.backup.streams import HEADER_LIMIT, READ_AHEAD, Measured, Tally, Undecipherable, header_sha256
from airlock.places.store import Readable
from airlock.places.streams import CHUNK


class _Abandoned(Exception):
    """The consumer went away before the end."""


class _Handover:
    """A bounded queue between age, which pushes, and zstd, which pulls."""

    def __init__(self) -> None:
        self._chunks: queue.Queue[bytes | None] = queue.Queue(maxsize=READ_AHEAD)
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

    def header(self) -> str:
        """Read the beginning, which ``read`` gives again, and return the digest of its header.

        :raises Undecipherable: there is none
        """
        while len(self._chunk) < HEADER_LIMIT and (piece := self._source.read(CHUNK)):
            self._tally.add(piece)
            self._chunk += piece
        return header_sha256(self._chunk)

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

    def __init__(self, source: Readable, identities: Sequence[pyrage.x25519.Identity], header: str) -> None:
        """Read *source*, whose header must have the sha256 hex digest *header*."""
        self._source = source
        self._identities = list(identities)
        self._header = header
        self.measured: Measured | None = None

    def __iter__(self) -> Iterator[bytes]:
        """Yield plain chunks of at most 1 MiB.

        :raises Undecipherable: the bytes are not what was written, or the key does not fit; what reading the source
            raises passes through unchanged
        """
        cipher, plain = Tally(), Tally()
        handover = _Handover()
        counted = _Counted(self._source, cipher)
        try:
            if counted.header() != self._header:
                raise Undecipherable("its header is another one: it was written with another key")
        except BaseException:
            plain.close(), cipher.close()
            raise
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
            self.measured = Measured(plain.size, digests[0], cipher.size, digests[1], self._header)

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
