"""Tar archives as streams: written member by member and read one after another, in constant memory.

Standard pax archives, so that ``tar`` alone can unpack them. Must not know drivers or the store.
"""

from __future__ import annotations

import os
import stat
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, cast

from airlock.backup.attributes import KEPT, Attributes, give
from airlock.errors import BackupDamaged

_BLOCK = tarfile.BLOCKSIZE
CHUNK = 1 << 20
ROOT = "."
"""The name of the folder itself."""
_MTIME = "mtime"
_EXTENDED = "SCHILY.xattr."  # as GNU tar and bsdtar write them
_NO_OWNER = "AIRLOCK.no_owner"
_SPARSE = "AIRLOCK.sparse"
_HOLE = 1 << 12


@dataclass(frozen=True)
class Member:
    """One member of an archive.

    target: where a link leads, or the name of the member that this one is another name of (*hard*)
    sparse: whether the file has holes, which are left out again when it is unpacked
    """

    name: str
    seen: os.stat_result
    attributes: Attributes
    target: str = ""
    hard: bool = False
    sparse: bool = False

    def pack(self, chunks: Iterable[bytes] = ()) -> Iterator[bytes]:
        """Yield the member: a file with exactly ``seen.st_size`` bytes of *chunks*, a folder, or a link."""
        info = tarfile.TarInfo(self.name)
        info.mode = self.attributes.mode
        info.uid, info.gid = self.attributes.owner or (0, 0)
        info.mtime = self.seen.st_mtime_ns // 1_000_000_000
        info.pax_headers = {
            # the header's own field holds whole seconds only
            _MTIME: _decimal(self.seen.st_mtime_ns),
            **{_EXTENDED + name: value.decode("utf-8", "surrogateescape")
               for name, value in self.attributes.extended.items()},
        }  # fmt: skip
        if self.attributes.owner is None:
            info.pax_headers[_NO_OWNER] = "1"
        if self.sparse:
            info.pax_headers[_SPARSE] = "1"
        if self.hard:
            info.type, info.linkname = tarfile.LNKTYPE, self.target
        elif stat.S_ISDIR(self.seen.st_mode):
            info.type = tarfile.DIRTYPE
        elif stat.S_ISLNK(self.seen.st_mode):
            info.type, info.linkname = tarfile.SYMTYPE, self.target
        else:
            info.size = self.seen.st_size
        yield info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")
        if info.size:
            yield from chunks
            yield b"\0" * (-info.size % _BLOCK)


def _decimal(nanoseconds: int) -> str:
    whole, fraction = divmod(abs(nanoseconds), 1_000_000_000)
    return f"{'-' if nanoseconds < 0 else ''}{whole}.{fraction:09d}"


def end() -> bytes:
    """Return what ends an archive."""
    return b"\0" * (2 * _BLOCK)


class _Reader:
    """A file-like view of chunks."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._pending = b""

    def read(self, size: int) -> bytes:
        parts: list[bytes] = []
        while size:
            if not self._pending:
                self._pending = next(self._chunks, b"")
                if not self._pending:
                    break
            parts.append(self._pending[:size])
            self._pending = self._pending[size:]
            size -= len(parts[-1])
        return b"".join(parts)


def unpack(chunks: Iterable[bytes], folder: Path, *, owners: bool = True) -> int:
    """Unpack an archive into *folder*, which exists and is empty; return the number of members.

    Nothing leaves *folder*: absolute names and ``..`` are refused, links are made last and never below another link, a
    hard link is to a file of this archive only, and devices, pipes and names that come twice are refused. Attributes of
    folders are set last, so that a read-only one can be filled. All *chunks* are used up.

    :param owners: whether owners that the archive tells are given back; else all is this process's own
    :raises BackupDamaged: it is no archive, a member would leave the folder, or says of itself what cannot be
    """
    iterator = iter(chunks)
    folders: list[tuple[Path, tarfile.TarInfo]] = []
    links: list[tuple[Path, tarfile.TarInfo]] = []
    count = 0
    try:
        with tarfile.open(
            mode="r|",
            fileobj=cast(IO[bytes], _Reader(iterator)),
            encoding="utf-8",
            errors="surrogateescape",
            bufsize=CHUNK,
        ) as archive:
            for info in archive:
                archive.members = []  # type: ignore[attr-defined]  # tarfile would remember every member
                count += 1
                if not owners:
                    info.pax_headers = {**info.pax_headers, _NO_OWNER: "1"}
                path = folder if info.name == ROOT and info.isdir() else _inside(folder, info.name)
                if info.isdir():
                    _make_folder(path)
                    folders.append((path, info))
                elif info.issym():
                    links.append((path, info))
                elif info.islnk():
                    _another_name(folder, path, info)
                elif info.isreg():
                    _write(archive, info, path)
                else:
                    raise BackupDamaged(f"the archive holds {info.name!r}, which is no file, folder or link")
        _use_up(iterator)
        for path, info in links:
            _link(folder, path, info)
        for path, info in reversed(folders):
            _finish(path, info)
    except (tarfile.TarError, FileExistsError, NotADirectoryError, ValueError, OverflowError) as error:
        _use_up(iterator)
        raise BackupDamaged(f"the archive cannot be unpacked: {error}") from error
    return count


def _make_folder(path: Path) -> None:
    """Make one folder, which this process may fill until it gets its own mode; its parents may be missing."""
    missing = [path]
    while not missing[-1].parent.exists():
        missing.append(missing[-1].parent)
    for one in reversed(missing):
        one.mkdir(mode=0o700, exist_ok=True)


def _another_name(folder: Path, path: Path, info: tarfile.TarInfo) -> None:
    """Give a file that was unpacked before another name. No link is there yet that could lead elsewhere."""
    first = _inside(folder, info.linkname)
    if first.is_symlink() or not first.is_file():
        raise BackupDamaged(f"the archive holds {info.name!r}, a name of {info.linkname!r}, which is no file of it")
    _make_folder(path.parent)
    path.hardlink_to(first)


def _link(folder: Path, path: Path, info: tarfile.TarInfo) -> None:
    """Make one link. A parent that is itself a link could lead anywhere."""
    parents = [parent for parent in path.parents if parent != folder and parent.is_relative_to(folder)]
    if any(parent.is_symlink() for parent in parents):
        raise BackupDamaged(f"the archive holds {info.name!r} below a link, which could leave the folder: refused")
    _make_folder(path.parent)
    path.symlink_to(info.linkname)
    _finish(path, info)


def _use_up(iterator: Iterator[bytes]) -> None:
    """Read to the end: only there does the store know that the bytes are the right ones."""
    for _ in iterator:
        pass


def _write(archive: tarfile.TarFile, info: tarfile.TarInfo, path: Path) -> None:
    _make_folder(path.parent)
    source = archive.extractfile(info)
    sparse = _SPARSE in info.pax_headers
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        while source is not None and (chunk := source.read(_HOLE if sparse else CHUNK)):
            if sparse and not any(chunk):
                file.seek(len(chunk), os.SEEK_CUR)
            else:
                file.write(chunk)
        file.truncate()
    _finish(path, info)


def _finish(path: Path, info: tarfile.TarInfo) -> None:
    """Give owner, mode, extended attributes and time back."""
    extended = {
        name.removeprefix(_EXTENDED): str(value).encode("utf-8", "surrogateescape")
        for name, value in info.pax_headers.items()
        if name.startswith(_EXTENDED) and name.removeprefix(_EXTENDED).startswith(KEPT)
    }
    owner = None if _NO_OWNER in info.pax_headers else (info.uid, info.gid)
    give(path, Attributes(stat.S_IMODE(info.mode), owner, extended), link=info.issym())
    nanoseconds = _mtime(info)
    os.utime(path, ns=(nanoseconds, nanoseconds), follow_symlinks=False)


def _mtime(info: tarfile.TarInfo) -> int:
    text = str(info.pax_headers.get(_MTIME, info.mtime))
    whole, _, fraction = text.removeprefix("-").partition(".")
    nanoseconds = int(whole) * 1_000_000_000 + int(fraction.ljust(9, "0")[:9] or 0)
    return -nanoseconds if text.startswith("-") else nanoseconds


def _inside(folder: Path, name: str) -> Path:
    relative = PurePosixPath(name)
    if relative.is_absolute() or ".." in relative.parts or not relative.parts or "\0" in name:
        raise BackupDamaged(
            f"the archive holds {name!r}, which would leave the folder it is unpacked into: refused"
        )
    return folder / relative
