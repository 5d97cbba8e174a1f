"""Driver ``directory``: a folder of any size (uploads), as a tar stream and a manifest. Knows no object storage."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from itertools import zip_longest
from pathlib import Path
from typing import IO, Any

from pydantic import Field

from airlock.backup import archive
from airlock.backup import driver as contract
from airlock.backup.driver import Place, StreamDriver, Write
from airlock.backup.drivers.storage.tree import CHUNK, Entry, manifest, walk
from airlock.backup.files import discard_folder, fault, read_exactly, scratch_folder
from airlock.errors import InvalidInput
from airlock.identity import file_identity
from airlock.models import Check, Inspection, Kind, RecoveryPoint
from airlock.options import Options as DriverOptions

log = logging.getLogger(__name__)
_SHOWN = 5


class DirectoryDriver(StreamDriver):
    """A folder with all below it: names, modes, owners, times, contents, links, empty folders.

    The manifest is a stream of its own and not part of the facts, which stay small however many files there are.
    """

    kind = Kind.STORAGE
    capabilities = contract.Capabilities(
        consistent="each file by itself; a file that changes while it is read is refused"
    )

    class Options(DriverOptions):
        path: str = Field(min_length=1, description="the folder")

        def identities(self) -> tuple[str, ...]:
            return (file_identity(self.path),)

    options: Options

    def inspect(self) -> Inspection:
        root = Path(self.options.path)
        if not root.exists():
            return Inspection(present=False)
        seen, count, size = hashlib.sha256(), 0, 0
        for entry in walk(self._root(), self.label):
            changed = entry.seen.st_mtime_ns if entry.sort == "file" else ""
            seen.update(entry.line(str(changed)))
            count, size = count + 1, size + entry.size
        return Inspection(
            present=True, size_bytes=size, fingerprint=f"sha256:{seen.hexdigest()}", detail={"entries": count}
        )

    def take(self, write: Write) -> dict[str, Any]:
        root = self._root()
        counts = {"file": 0, "folder": 0, "link": 0}
        with tempfile.TemporaryFile(prefix="airlock-manifest-") as lines:
            write("files.tar", self._pack(root, counts, lines))
            lines.seek(0)
            stored = write("manifest.jsonl", iter(lambda: lines.read(CHUNK), b""))
        mode = f"{root.stat().st_mode & 0o7777:04o}"
        return {
            "files": counts["file"],
            "folders": counts["folder"],
            "links": counts["link"],
            "mode": mode,
            "manifest_sha256": stored.plain_sha256,
        }

    def _pack(self, root: Path, counts: dict[str, int], lines: IO[bytes]) -> Iterator[bytes]:
        for entry in walk(root, self.label):
            digest = hashlib.sha256()
            yield from archive.member(entry.name, entry.seen, self._hashed(entry, digest), entry.target)
            counts[entry.sort] += 1
            lines.write(entry.line(digest.hexdigest() if entry.sort == "file" else ""))
        yield archive.end()

    def _hashed(self, entry: Entry, digest: Any) -> Iterator[bytes]:
        for chunk in read_exactly(entry.path, entry.seen, self.label):
            digest.update(chunk)
            yield chunk

    def restore(self, point: RecoveryPoint, place: Place) -> None:
        if not place.origin:
            files = scratch_folder(place, self.label) / "files"
            _remove(files)
            self._unpack(point, files)
            return
        # beside the origin, so that the exchange is two renames; names are fixed, so that a retry finds what was left
        root = Path(self.options.path).resolve()
        fresh, old = (root.with_name(f".{root.name}.airlock-{word}") for word in ("new", "old"))
        try:
            _remove(fresh)
            self._unpack(point, fresh)
            if root.exists():
                _remove(old)
                root.rename(old)
            fresh.rename(root)
            _remove(old)
        except OSError as error:
            raise fault(error, self.label, "replace", root) from error
        finally:
            shutil.rmtree(fresh, ignore_errors=True)
        log.info("%s: replaced the content of %s", self.label, root)

    def _unpack(self, point: RecoveryPoint, folder: Path) -> None:
        try:
            folder.mkdir(parents=True)
            count = archive.unpack(self.store.read(point.objects[0]), folder)
            folder.chmod(int(point.facts["mode"], 8))
        except OSError as error:
            raise fault(error, self.label, "unpack into", folder) from error
        log.info("%s: unpacked %d entries into %s", self.label, count, folder)

    def prove(self, point: RecoveryPoint, place: Place) -> tuple[Check, ...]:
        root = self._root() if place.origin else Path(place.folder) / "files"
        facts = point.facts
        if not root.is_dir():
            return (Check(name="the folder", expected="present", found="missing", ok=False),)
        counts = {"file": 0, "folder": 0, "link": 0}
        found = hashlib.sha256()
        differences: list[str] = []
        recorded = _lines(self.store.read(point.objects[1]))
        for expected, line in zip_longest(recorded, self._counted(root, counts), fillvalue=b""):
            found.update(line)
            if expected != line and len(differences) < _SHOWN:
                differences.append(_difference(expected, line))
        mode = f"{root.stat().st_mode & 0o7777:04o}"
        pairs = (("files", counts["file"]), ("folders", counts["folder"]), ("links", counts["link"]), ("mode", mode))
        return (
            *(Check(name=name, expected=facts[name], found=value, ok=facts[name] == value) for name, value in pairs),
            Check(
                name="names, modes, sizes and hashes",
                expected=facts["manifest_sha256"],
                found=found.hexdigest() if not differences else "; ".join(differences),
                ok=not differences and found.hexdigest() == facts["manifest_sha256"],
            ),
        )

    def _counted(self, root: Path, counts: dict[str, int]) -> Iterator[bytes]:
        for line in manifest(root, self.label):
            counts[json.loads(line)[1]] += 1
            yield line

    def discard(self, place: Place) -> None:
        discard_folder(place, self.label)

    def _root(self) -> Path:
        root = Path(self.options.path).resolve()
        if not root.is_dir():
            raise InvalidInput(f"{self.label}: {root} is no folder; check 'path' in the service file")
        return root


def _remove(folder: Path) -> None:
    if folder.exists():
        shutil.rmtree(folder)


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
    words = ("name", "sort", "mode", "size", "hash or target")
    which = [word for word, a, b in zip(words, before, now, strict=True) if a != b]
    return f"{before[0]!r} differs in {', '.join(which)}"
