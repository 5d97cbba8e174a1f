"""Tar archives as streams: written member by member and read one after another, in constant memory.

Standard pax archives, so that ``tar`` alone can unpack them. Must not know drivers or the store.
"""

from __future__ import annotations

import os
import stat
import tarfile
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import IO, cast

from airlock.errors import BackupDamaged

_BLOCK = tarfile.BLOCKSIZE
CHUNK = 1 << 20
_MTIME = "mtime"


def member(name: str, seen: os.stat_result, chunks: Iterable[bytes], target: str = "") -> Iterator[bytes]:
    """Yield one member: a file with exactly ``seen.st_size`` bytes of *chunks*, a folder, or a link to *target*."""
    info = tarfile.TarInfo(name)
    info.mode = stat.S_IMODE(seen.st_mode)
    info.uid, info.gid = seen.st_uid, seen.st_gid
    info.mtime = seen.st_mtime_ns // 1_000_000_000
    # the header's own field holds whole seconds only
    info.pax_headers = {_MTIME: f"{info.mtime}.{seen.st_mtime_ns % 1_000_000_000:09d}"}
    if stat.S_ISDIR(seen.st_mode):
        info.type = tarfile.DIRTYPE
    elif stat.S_ISLNK(seen.st_mode):
        info.type, info.linkname = tarfile.SYMTYPE, target
    else:
        info.size = seen.st_size
    yield info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")
    if info.size:
        yield from chunks
        yield b"\0" * (-info.size % _BLOCK)


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


def unpack(chunks: Iterable[bytes], folder: Path) -> int:
    """Unpack an archive into *folder*, which exists and is empty; return the number of members.

    Nothing leaves *folder*: absolute names and ``..`` are refused, links are made last and never below another link,
    and hard links, devices, pipes and names that come twice are refused. Modes of folders are set last, so that a
    read-only one can be filled. All *chunks* are used up.

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
                path = _inside(folder, info.name)
                if info.isdir():
                    path.mkdir(parents=True, exist_ok=True)
                    folders.append((path, info))
                elif info.issym():
                    links.append((path, info))
                elif info.isreg():
                    _write(archive, info, path)
                else:
                    raise BackupDamaged(f"the archive holds {info.name!r}, which is no file, folder or link")
        _use_up(iterator)
        for path, info in links:
            _link(folder, path, info)
        for path, info in reversed(folders):
            _own(path, info)
            path.chmod(stat.S_IMODE(info.mode))
    except (tarfile.TarError, FileExistsError, NotADirectoryError, ValueError, OverflowError) as error:
        _use_up(iterator)
        raise BackupDamaged(f"the archive cannot be unpacked: {error}") from error
    return count


def _link(folder: Path, path: Path, info: tarfile.TarInfo) -> None:
    """Make one link. A parent that is itself a link could lead anywhere."""
    parents = [parent for parent in path.parents if parent != folder and parent.is_relative_to(folder)]
    if any(parent.is_symlink() for parent in parents):
        raise BackupDamaged(f"the archive holds {info.name!r} below a link, which could leave the folder: refused")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(info.linkname)
    _own(path, info)


def _use_up(iterator: Iterator[bytes]) -> None:
    """Read to the end: only there does the store know that the bytes are the right ones."""
    for _ in iterator:
        pass


def _write(archive: tarfile.TarFile, info: tarfile.TarInfo, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    source = archive.extractfile(info)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        while source is not None and (chunk := source.read(CHUNK)):
            file.write(chunk)
    _own(path, info)
    path.chmod(stat.S_IMODE(info.mode))
    nanoseconds = _mtime(info)
    os.utime(path, ns=(nanoseconds, nanoseconds))


def _own(path: Path, info: tarfile.TarInfo) -> None:
    """Give the owner back, where this process may."""
    if os.geteuid() == 0:
        os.chown(path, info.uid, info.gid, follow_symlinks=False)


def _mtime(info: tarfile.TarInfo) -> int:
    whole, _, fraction = str(info.pax_headers.get(_MTIME, info.mtime)).partition(".")
    return int(whole) * 1_000_000_000 + int(fraction.ljust(9, "0")[:9] or 0)


def _inside(folder: Path, name: str) -> Path:
    relative = PurePosixPath(name)
    if relative.is_absolute() or ".." in relative.parts or not relative.parts or "\0" in name:
        raise BackupDamaged(f"the archive holds {name!r}, which would leave the folder it is unpacked into: refused")
    return folder / relative
