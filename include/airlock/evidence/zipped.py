"""The zip of a pack: written in one form, and read only in that form.

Readers of zips disagree: about bytes before and behind, about what a file's own header and the directory at the end say
differently, about names that are there twice. A pack that has one form leaves nothing to disagree about: every byte but
the files' own follows from them. Trusts nothing in what it reads, unpacks nothing to disk, reads from the first byte to
the last, and takes no more memory than the files that a pack may hold. Knows no record and no seal.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from airlock.errors import Damaged, EvidenceInvalid, InvalidInput
from airlock.evidence import untrusted
from airlock.evidence.container import MAXIMUM_FILES, MAXIMUM_TOTAL, Contents
from airlock.places import objects

_LOCAL = struct.Struct("<4s5H3L2H")
_CENTRAL = struct.Struct("<4s6H3L5H2L")
_END = struct.Struct("<4s4H2LH")
_FILE, _DIRECTORY, _LAST = b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06"
_VERSION, _UNIX = 20, 3 << 8
_MIDNIGHT, _FIRST_DAY = 0, 0x21
_MODE = 0o100644 << 16
_STORED, _DEFLATED = 0, 8
"""Packs hold files as they are. Those of earlier releases are deflated, which zlibs of other versions do otherwise."""
_ENCRYPTED_OR_STREAMED = 0x1 | 0x8
_NAME = 256


@dataclass(frozen=True)
class _Entry:
    name: bytes
    method: int
    crc: int
    packed: int
    size: int
    offset: int

    def header(self) -> bytes:
        """What lies before the file's bytes."""
        return _LOCAL.pack(_FILE, _VERSION, 0, self.method, _MIDNIGHT, _FIRST_DAY, self.crc, self.packed, self.size,
                           len(self.name), 0) + self.name

    def listed(self) -> bytes:
        """Its line in the directory at the end."""
        return _CENTRAL.pack(_DIRECTORY, _UNIX | _VERSION, _VERSION, 0, self.method, _MIDNIGHT, _FIRST_DAY, self.crc,
                             self.packed, self.size, len(self.name), 0, 0, 0, 0, _MODE, self.offset) + self.name


def zip_of(files: Mapping[str, bytes]) -> bytes:
    """Return the zip of *files*, in their order. The same files always give the same bytes."""
    parts: list[bytes] = []
    entries: list[_Entry] = []
    offset = 0
    for name, data in files.items():
        entry = _Entry(name.encode("ascii"), _STORED, zlib.crc32(data), len(data), len(data), offset)
        entries.append(entry)
        parts += (entry.header(), data)
        offset += len(entry.header()) + len(data)
    return b"".join((*parts, *_tail(entries, offset)))


def is_zip(path: Path) -> bool:
    """Return whether the file *path* begins as a zip does, or is called one.

    :raises InvalidInput: it cannot be read
    """
    if path.suffix.lower() == ".zip":
        return True
    try:
        with path.open("rb") as stream:
            return stream.read(len(_FILE)) in (_FILE, _LAST)
    except OSError as error:
        raise InvalidInput(f"{path} cannot be read: {error.strerror or error}") from error


def read_zip(path: Path) -> Contents:
    """Return the files of a zip. Never raises for what is in it."""
    contents = Contents(zipped=True)
    try:
        with path.open("rb") as stream:
            _read(stream, contents)
    except Damaged as error:
        contents.problems.append(f"the zip cannot be read, it was altered or cut off: {error}")
    except OSError as error:
        contents.problems.append(f"the zip cannot be read: {error.strerror or error}")
    return contents


def _read(stream: BinaryIO, contents: Contents) -> None:
    entries: list[_Entry] = []
    offset = 0
    while (start := stream.read(_LOCAL.size)).startswith(_FILE):
        if len(entries) == MAXIMUM_FILES:
            contents.problems.append(f"the zip has over {MAXIMUM_FILES} files, more than any pack")
            return
        entry, extra = _entry(start, stream, offset, contents)
        data = _data(entry, _exactly(stream, entry.packed, entry.name), contents)
        _keep(entry, data, contents)
        entries.append(entry)
        offset += len(entry.header()) + extra + entry.packed
    if not entries:
        raise EvidenceInvalid("it does not begin with a file")
    _compare_tail(start, stream, entries, offset, contents)


def _entry(start: bytes, stream: BinaryIO, offset: int, contents: Contents) -> tuple[_Entry, int]:
    """Return the file whose header begins with *start*, and how many bytes its header has too many."""
    if len(start) < _LOCAL.size:
        raise EvidenceInvalid("it ends within the header of a file")
    _, _, flags, method, _, _, crc, packed, size, length, extra = _LOCAL.unpack(start)
    if length > _NAME:
        raise EvidenceInvalid(f"it holds a name of {length} bytes")
    name = _exactly(stream, length, b"a name")
    _exactly(stream, extra, name)
    if flags & _ENCRYPTED_OR_STREAMED or method not in (_STORED, _DEFLATED):
        raise EvidenceInvalid(f"{_shown(name)} is packed in a way that no pack uses")
    if size > objects.MAXIMUM_BYTES or contents.total + size > MAXIMUM_TOTAL or packed > size + (size >> 9) + 64:
        raise EvidenceInvalid(f"{_shown(name)} unpacks to {size} bytes from {packed}, more than a pack may hold")
    entry = _Entry(name, method, crc, packed, size, offset)
    if start + name != entry.header() or extra:
        contents.deviations.append(f"the header of {_shown(name)}")
    return entry, extra


def _data(entry: _Entry, packed: bytes, contents: Contents) -> bytes | None:
    if entry.method == _STORED:
        data, whole = packed, len(packed) == entry.size
    else:
        inflate = zlib.decompressobj(-zlib.MAX_WBITS)
        try:
            data = inflate.decompress(packed, entry.size + 1)
        except zlib.error:
            data = b""
        whole = inflate.eof and not inflate.unused_data and len(data) == entry.size
    if whole and zlib.crc32(data) == entry.crc:
        return data
    contents.problems.append(f"altered: {_shown(entry.name)} cannot be unpacked: it does not fit its size and checksum")
    return None


def _keep(entry: _Entry, data: bytes | None, contents: Contents) -> None:
    name = entry.name.decode("ascii", "backslashreplace")
    if name in contents.files:
        contents.problems.append(f"duplicated: the zip holds {_shown(entry.name)} twice")
    else:
        contents.add(name, data)


def _compare_tail(start: bytes, stream: BinaryIO, entries: list[_Entry], offset: int, contents: Contents) -> None:
    """Note when anything but the directory of *entries* follows them, up to the end of the file."""
    if len({entry.method for entry in entries}) > 1:
        contents.deviations.append("files that are packed in different ways")
    held = start
    for expected in _tail(entries, offset):
        held += stream.read(max(len(expected) - len(held), 0))
        if not held.startswith(expected):
            contents.deviations.append("the list of files at its end")
            return
        held = held[len(expected):]
    if held or stream.read(1):
        contents.deviations.append("bytes behind its end")


def _tail(entries: list[_Entry], offset: int) -> Iterator[bytes]:
    length = 0
    for entry in entries:
        length += len(entry.listed())
        yield entry.listed()
    yield _END.pack(_LAST, 0, 0, len(entries), len(entries), length, offset, 0)


def _exactly(stream: BinaryIO, count: int, what: bytes) -> bytes:
    data = stream.read(count)
    if len(data) < count:
        raise EvidenceInvalid(f"it ends within {_shown(what)}")
    return data


def _shown(name: bytes) -> str:
    return untrusted.shown(name.decode("ascii", "backslashreplace"))
