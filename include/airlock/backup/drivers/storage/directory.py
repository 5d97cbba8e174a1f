"""Driver ``directory``: a folder of any size (uploads), as a tar stream and a manifest. Knows no object storage."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import tempfile
from collections.abc import Iterable, Iterator
from itertools import zip_longest
from pathlib import Path
from typing import IO, Any

from pydantic import Field

from airlock.backup import archive, file_needs
from airlock.backup import driver as contract
from airlock.backup.attributes import LEFT_OUT, attributes_of, give
from airlock.backup.driver import Place, StreamDriver, Write
from airlock.backup.drivers.storage.tree import CHUNK, FRESH, OLD, WORDS, Entry, Walk, manifest, mounted_below
from airlock.backup.files import (
    Owners,
    discard_folder,
    end_of,
    fault,
    present,
    read_exactly,
    remove_tree,
    scratch_folder,
    shown,
)
from airlock.backup.taken_names import folder_at
from airlock.errors import InvalidInput
from airlock.identity import file_identity
from airlock.models import Check, Inspection, Kind, RecoveryPoint
from airlock.options import Options as DriverOptions

log = logging.getLogger(__name__)
_SHOWN = 5
_SORTS = ("file", "hard link", "folder", "link")
_ALL = "names, attributes, sizes and hashes"


class DirectoryDriver(StreamDriver):
    """A folder with all below it: names, modes, owners, access lists, times, contents, holes, links
    of both sorts, empty folders.

    The manifest is a stream of its own and not part of the facts, which stay small however many files there are.
    """

    kind = Kind.STORAGE
    capabilities = contract.Capabilities(
        consistent="each file by itself; a file that changes while it is read is refused",
        leaves_out=(
            "times of creation and of the last reading",
            f"{FRESH} and {OLD} at its top, where a restore works",
            LEFT_OUT,
        ),
    )
    needs = file_needs.of_folder("{path}")

    class Options(DriverOptions):
        path: str = Field(min_length=1, description="the folder")
        owners: Owners = True

        def identities(self) -> tuple[str, ...]:
            return (file_identity(self.path),)

    options: Options

    def inspect(self) -> Inspection:
        if not present(Path(self.options.path), self.label):
            return Inspection(present=False)
        seen, count, size = hashlib.sha256(), 0, 0
        for entry in self._walk(self._root()):
            seen.update(entry.line(""))
            count, size = count + 1, size + entry.size
        return Inspection(
            present=True, size_bytes=size, fingerprint=f"sha256:{seen.hexdigest()}", detail={"entries": count - 1}
        )

    def take(self, write: Write) -> dict[str, Any]:
        root = self._root()
        self._without_mounts(root)
        walk = self._walk(root)
        counts = dict.fromkeys(_SORTS, 0)
        with tempfile.TemporaryFile(prefix="airlock-manifest-") as lines:
            write("files.tar", self._pack(walk, counts, lines))
            lines.seek(0)
            stored = write("manifest.jsonl", iter(lambda: lines.read(CHUNK), b""))
        outside = walk.linked_from_outside()
        left_out = [f"{outside} file(s) have further names outside of the folder: those names are not kept"]
        return {
            **{f"{sort}s": count for sort, count in counts.items()},
            "manifest_sha256": stored.plain_sha256,
            "linked": Path(self.options.path).is_symlink(),
            "left_out": left_out if outside else [],
        }

    def _pack(self, walk: Walk, counts: dict[str, int], lines: IO[bytes]) -> Iterator[bytes]:
        for entry in walk:
            digest = hashlib.sha256()
            yield from entry.member().pack(self._hashed(entry, digest))
            counts[entry.sort] += 1
            lines.write(entry.line(digest.hexdigest() if entry.sort == "file" else ""))
        yield archive.end()

    def _hashed(self, entry: Entry, digest: Any) -> Iterator[bytes]:
        for chunk in read_exactly(entry.path, entry.seen, self.label):
            digest.update(chunk)
            yield chunk

    def restore(self, point: RecoveryPoint, place: Place) -> None:
        if not place.origin:
            scratch_folder(place, self.label)
        linked = not place.origin or point.facts.get("linked", True)
        root = self._files(place) if linked else Path(self.options.path)
        fresh, old = root / FRESH, root / OLD  # names are fixed, so that a retry finds what was left
        time = None
        try:
            with folder_at(root, linked=linked):
                self._without_mounts(root)
                time = root.stat().st_mtime_ns
                remove_tree(fresh)
                fresh.mkdir(mode=0o700)
                count = archive.unpack(self.store.read(point.objects[0]), fresh)
                log.info("%s: unpacked %d entries into %s", self.label, count, fresh)
                time = _exchange(root, fresh, old)
        except OSError as error:
            raise fault(error, self.label, "replace the content of", root) from error
        finally:
            with contextlib.suppress(OSError):
                remove_tree(fresh)
                if time is not None:
                    os.utime(root, ns=(time, time))  # what was done beside its content changed it
        log.info("%s: replaced the content of %s", self.label, root)

    def prove(self, point: RecoveryPoint, place: Place) -> tuple[Check, ...]:
        root = self._files(place)
        facts = point.facts
        if not root.is_dir():
            return (Check(name="the folder", expected="present", found="missing", ok=False),)
        counts = dict.fromkeys(_SORTS, 0)
        found = hashlib.sha256()
        differences: list[str] = []
        recorded = _lines(self.store.read(point.objects[1]))
        for expected, line in zip_longest(recorded, self._counted(root, counts), fillvalue=b""):
            found.update(line)
            if expected != line and len(differences) < _SHOWN:
                differences.append(_difference(expected, line))
        return (
            *(
                Check(name=f"{sort}s", expected=facts.get(f"{sort}s"), found=n, ok=facts.get(f"{sort}s") == n)
                for sort, n in counts.items()
            ),
            Check(
                name=_ALL,
                expected=facts["manifest_sha256"],
                found=found.hexdigest() if not differences else "; ".join(differences),
                ok=not differences and found.hexdigest() == facts["manifest_sha256"],
            ),
        )

    def _counted(self, root: Path, counts: dict[str, int]) -> Iterator[bytes]:
        for entry, line in manifest(self._walk(root)):
            counts[entry.sort] += 1
            yield line

    def discard(self, place: Place) -> None:
        discard_folder(place, self.label)

    def _walk(self, root: Path) -> Walk:
        return Walk(root, self.label, self.options.owners)

    def _without_mounts(self, root: Path) -> None:
        """Look that no other file system is mounted below *root*: one cannot be moved aside, and what is in it would be
        deleted with the folder that holds it.

        :raises InvalidInput: one is
        """
        found = mounted_below(root)
        if found:
            raise InvalidInput(
                f"{self.label}: another file system is mounted at {', '.join(map(shown, found[:_SHOWN]))}, and a "
                "restore cannot replace it; next: back it up as a resource of its own and mount it outside of 'path'"
            )

    def _files(self, place: Place) -> Path:
        return end_of(Path(self.options.path), self.label) if place.origin else Path(place.folder) / "files"

    def _root(self) -> Path:
        root = end_of(Path(self.options.path), self.label)
        if not root.is_dir():
            raise InvalidInput(f"{self.label}: {root} is no folder; check 'path' in the service file")
        return root


def _exchange(root: Path, fresh: Path, old: Path) -> int:
    """Put all that is in *fresh* in the place of all that is in *root*, which itself stays: it may be a mount point, or
    be open in a program. Return the time that *root* must show of its last change."""
    with contextlib.suppress(FileExistsError):
        old.mkdir(mode=0o700)
    moved: list[str] = []
    try:
        for path in [one for one in root.iterdir() if one not in (fresh, old)]:
            _away(old / path.name)  # what a try that was killed moved there
            path.rename(old / path.name)
            moved.append(path.name)
    except OSError:  # something that cannot be moved, such as a file with the flag +i
        for name in moved:
            (old / name).rename(root / name)
        with contextlib.suppress(OSError):
            old.rmdir()
        raise
    seen = fresh.stat()
    for path in list(fresh.iterdir()):
        path.rename(root / path.name)
    remove_tree(old)
    give(root, attributes_of(fresh, seen))
    return seen.st_mtime_ns


def _away(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        remove_tree(path)
    else:
        path.unlink(missing_ok=True)


def _lines(chunks: Iterable[bytes]) -> Iterator[bytes]:
    rest = b""
    for chunk in chunks:
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            yield line + b"\n"
    if rest:
        yield rest


def _difference(expected: bytes, found: bytes) -> str:
    """Return the first difference of two lines in words; one side may be empty."""
    if not expected or not found:
        name = json.loads(expected or found)[0]
        return f"{name!r} is {'missing' if not found else 'not in the backup'}"
    before, now = json.loads(expected), json.loads(found)
    if before[0] != now[0]:
        return f"{before[0]!r} was expected, {now[0]!r} found"
    which = [word for word, a, b in zip(WORDS, before, now, strict=True) if a != b]
    return f"{before[0]!r} differs in {', '.join(which)}"
