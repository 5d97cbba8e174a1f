"""The file system that the layers of an image add up to, without ever being unpacked: which files there are, where a
path leads, and the bytes of one file.

What a layer holds is a stranger's: names lead nowhere but inside the image, links are followed inside it only, and how
much is read is bounded. Knows layers as files on the disk; must not know a registry.
"""

from __future__ import annotations

import gzip
import io
import tarfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, cast

import zstandard

from airlock.errors import InvalidInput

CHUNK = 1 << 20
_WHITEOUT = ".wh."
_OPAQUE = ".wh..wh..opq"
_MOST_MEMBERS = 1_000_000
_DEEPEST = 200
_LONGEST_LINK = 4096
_LARGEST_HEADER = 1 << 20
_MOST_LINKS = 40
_LARGEST_UNPACKED = 256 << 30
_EXTENDED = (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE, tarfile.GNUTYPE_LONGNAME,
             tarfile.GNUTYPE_LONGLINK)
Parts = tuple[str, ...]


@dataclass(frozen=True)
class Entry:
    """What a name stands for: which member of which layer, and what that is."""

    layer: int
    member: int
    type: bytes
    size: int = 0
    link: str = ""


@dataclass
class _Node:
    """One name of the tree. ``layer`` is the one that brought it, which need not be the one that holds its bytes."""

    layer: int
    entry: Entry
    children: dict[str, _Node] = field(default_factory=dict)

    @property
    def is_folder(self) -> bool:
        return self.entry.type == tarfile.DIRTYPE

    def strip(self, layer: int) -> None:
        """Take away all below it that layers before *layer* brought."""
        for name, child in list(self.children.items()):
            child.strip(layer)
            if child.layer < layer and not child.children:
                del self.children[name]


class _Member(tarfile.TarInfo):
    """A member whose extended header is not read into memory whatever its size."""

    def _proc_member(self, archive: tarfile.TarFile) -> tarfile.TarInfo:
        if self.type in _EXTENDED and not 0 <= self.size <= _LARGEST_HEADER:
            raise tarfile.ReadError("a header is larger than 1 MiB")
        return cast(tarfile.TarInfo, super()._proc_member(archive))  # type: ignore[misc]  # tarfile's own seam


class _Bounded(io.RawIOBase):
    """A stream that ends in an error after so many bytes."""

    def __init__(self, stream: IO[bytes], largest: int) -> None:
        self._stream, self._left = stream, largest

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        content = self._stream.read(min(size, CHUNK) if size >= 0 else CHUNK)
        self._left -= len(content)
        if self._left < 0:
            raise tarfile.ReadError(f"a layer unpacks to more than {_LARGEST_UNPACKED >> 30} GiB")
        return content


class ImageFiles:
    """The files of one image."""

    def __init__(self, layers: Sequence[Path], what: str) -> None:
        """Read the names in *layers*, the lowest first; *what* names the image in messages.

        :raises InvalidInput: a layer cannot be read
        """
        self._layers = tuple(layers)
        self._what = what
        self._root = _Node(-1, Entry(-1, -1, tarfile.DIRTYPE))
        self._count = 0
        for number in range(len(self._layers)):
            self._lay(number)

    def find(self, path: str) -> Entry | None:
        """Return what the file that *path* leads to inside the image is; ``None`` if there is none."""
        node = self._node(self._resolved(self._within(path)))
        return None if node is None or node.is_folder else node.entry

    def below(self, path: str) -> dict[str, Entry]:
        """Return every name in the folder *path* and in those below it -> the file that it leads to."""
        start = self._resolved(self._within(path))
        found: dict[str, Entry] = {}
        left: list[tuple[Parts, _Node | None]] = [((), self._node(start))]
        while left:
            names, node = left.pop()
            for name, child in node.children.items() if node is not None else ():
                if child.is_folder:
                    left.append(((*names, name), child))
                    continue
                led = self._node(self._resolved((*start, *names, name)))
                if led is not None and not led.is_folder:
                    found["/".join((*names, name))] = led.entry
        return found

    def read(self, entry: Entry) -> Iterator[bytes]:
        """Yield the bytes of the file *entry*.

        :raises InvalidInput: it is no file, or cannot be read
        """
        with self._archive(entry.layer) as archive:
            for number, member in enumerate(archive):
                archive.members = []  # type: ignore[attr-defined]  # tarfile would remember every member
                if number == entry.member:
                    stream = self._opened(archive, member)
                    while piece := stream.read(CHUNK):
                        yield piece
                    return
        raise InvalidInput(f"{self._what}: layer {entry.layer + 1} changed while it was read")

    def read_all(self, entries: Iterable[Entry], most: int) -> dict[Entry, bytes]:
        """Return the first *most* bytes of each of the files *entries*, each layer read once; errors as ``read``."""
        wanted: dict[int, dict[int, Entry]] = {}
        for entry in entries:
            wanted.setdefault(entry.layer, {})[entry.member] = entry
        found: dict[Entry, bytes] = {}
        for layer, members in wanted.items():
            with self._archive(layer) as archive:
                for number, member in enumerate(archive):
                    archive.members = []  # type: ignore[attr-defined]  # as above
                    if number in members:
                        found[members[number]] = self._opened(archive, member).read(most)
        return found

    def _opened(self, archive: tarfile.TarFile, member: tarfile.TarInfo) -> IO[bytes]:
        stream = archive.extractfile(member) if member.isreg() else None
        if stream is None:
            raise InvalidInput(f"{self._what}: {member.name[:200]!a} is no file")
        return stream

    def _lay(self, layer: int) -> None:
        """Lay one layer over those below it, as the specification of images says."""
        emptied: set[Parts] = set()
        with self._archive(layer) as archive:
            for number, member in enumerate(archive):
                archive.members = []  # type: ignore[attr-defined]  # as above
                self._count += 1
                if self._count > _MOST_MEMBERS:
                    raise InvalidInput(f"{self._what} has more than {_MOST_MEMBERS} files; build it smaller")
                parts = _parts(member.name)
                if parts is None:
                    raise InvalidInput(f"{self._what}: layer {layer + 1} holds {member.name[:200]!a}, which leads out "
                                       "of the image, or is too deep; build it anew")
                if not parts:
                    continue
                folder, name = self._resolved(parts[:-1]), parts[-1]
                if name == _OPAQUE:
                    if folder not in emptied and (node := self._node(folder)) is not None:
                        node.strip(layer)
                    emptied.add(folder)
                elif name.startswith(_WHITEOUT):
                    self._remove(folder, name.removeprefix(_WHITEOUT), layer)
                else:
                    self._bring(folder, name, _Node(layer, self._entry(layer, number, member)))

    def _bring(self, folder: Parts, name: str, node: _Node) -> None:
        at = self._root
        for one in folder:
            below = at.children.get(one)
            if below is None or not below.is_folder:
                below = at.children[one] = _Node(node.layer, Entry(node.layer, -1, tarfile.DIRTYPE))
            at = below
        before = at.children.get(name)
        if before is not None and before.is_folder and node.is_folder:
            node.children = before.children
        at.children[name] = node

    def _remove(self, folder: Parts, name: str, layer: int) -> None:
        at = self._node(folder)
        gone = None if at is None else at.children.get(name)
        if at is None or gone is None:
            return
        gone.strip(layer)
        if gone.layer < layer and not gone.children:
            del at.children[name]

    def _entry(self, layer: int, number: int, member: tarfile.TarInfo) -> Entry:
        if len(member.linkname) > _LONGEST_LINK:
            raise InvalidInput(f"{self._what}: layer {layer + 1} holds a link of {len(member.linkname)} characters; "
                               "build it anew")
        if not member.islnk():
            kind = tarfile.REGTYPE if member.isreg() else member.type
            return Entry(layer, number, kind, member.size, member.linkname)
        target = _parts(member.linkname)
        first = self._node((*self._resolved(target[:-1]), target[-1])) if target else None
        if first is None or first.is_folder:
            raise InvalidInput(f"{self._what}: layer {layer + 1} holds {member.name[:200]!a}, another name of "
                               f"{member.linkname[:200]!a}, which is no file of the image; build it anew")
        return first.entry

    def _node(self, parts: Parts) -> _Node | None:
        at: _Node | None = self._root
        for name in parts:
            at = None if at is None else at.children.get(name)
        return at

    def _within(self, path: str) -> Parts:
        parts = _parts(path)
        if parts is None:
            raise InvalidInput(f"{path[:200]!a} leads out of the image; write a path from its root")
        return parts

    def _resolved(self, parts: Parts) -> Parts:
        """Follow every symbolic link on the way, inside the image: its root is where ``..`` ends."""
        left, at, nodes, links = list(reversed(parts)), list[str](), [self._root], 0
        while left:
            name = left.pop()
            if name == "..":
                at, nodes = at[:-1], nodes[:-1] or [self._root]
                continue
            node = nodes[-1].children.get(name)
            if node is not None and node.entry.type == tarfile.SYMTYPE:
                links += 1
                if links > _MOST_LINKS:
                    raise InvalidInput(f"{self._what}: the links of {'/'.join(parts)[:200]!a} lead in a circle; build "
                                       "it anew")
                if node.entry.link.startswith("/"):
                    at, nodes = [], [self._root]
                left += reversed([one for one in node.entry.link.split("/") if one not in ("", ".")])
                continue
            at.append(name)
            nodes.append(node or _Node(-1, Entry(-1, -1, tarfile.DIRTYPE)))
        return tuple(at)

    @contextmanager
    def _archive(self, layer: int) -> Iterator[tarfile.TarFile]:
        try:
            with ExitStack() as opened:
                file = opened.enter_context(self._layers[layer].open("rb"))
                stream = opened.enter_context(_unpacked(file))
                bounded = cast(IO[bytes], _Bounded(stream, _LARGEST_UNPACKED))
                yield opened.enter_context(tarfile.open(
                    mode="r|", fileobj=bounded, tarinfo=_Member, bufsize=CHUNK, errors="surrogateescape"))
        except (tarfile.TarError, zlib.error, zstandard.ZstdError, EOFError, OSError, ValueError, OverflowError,
                MemoryError, RecursionError) as error:
            raise InvalidInput(f"{self._what}: layer {layer + 1} cannot be read ({type(error).__name__}: "
                               f"{str(error)[:100]}); build the image anew") from error


def _parts(name: str) -> Parts | None:
    """Return the names on the way to *name* from the root of the image; ``None`` if it leads out of it."""
    parts = tuple(one for one in name.split("/") if one not in ("", "."))
    return None if ".." in parts or "\0" in name or len(parts) > _DEEPEST else parts


def _unpacked(file: IO[bytes]) -> IO[bytes]:
    """Return what a layer holds, however it is compressed: what it calls itself is not always true."""
    first = file.read(4)
    file.seek(0)
    if first.startswith(b"\x1f\x8b"):
        return cast(IO[bytes], gzip.GzipFile(fileobj=file, mode="rb"))
    if first == b"\x28\xb5\x2f\xfd":
        decompressor = zstandard.ZstdDecompressor(max_window_size=128 << 20)
        return cast(IO[bytes], decompressor.stream_reader(file, read_across_frames=True))
    return file
