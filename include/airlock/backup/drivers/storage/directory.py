"""Driver ``directory``: a folder of any size (uploads), as a tar stream and a manifest. Knows no object storage."""

from __future__ import annotations

import hashlib
import logging
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from pydantic import Field

from airlock.backup import archive, file_needs
from airlock.backup import driver as contract
from airlock.backup.attributes import LEFT_OUT
from airlock.backup.driver import Place, StreamDriver, Write
from airlock.backup.drivers.storage.tree import CHUNK, FRESH, OLD, SORTS, Entry, Walk, digest_of, fingerprint
from airlock.backup.drivers.storage.tree_lines import Comparison, facts_of
from airlock.backup.drivers.storage.tree_place import files_of, put_back, root_of, without_mounts
from airlock.backup.files import Owners, discard_folder, present, read_exactly
from airlock.identity import file_identity
from airlock.models import Check, Inspection, Kind, RecoveryPoint
from airlock.options import Options as DriverOptions

log = logging.getLogger(__name__)
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
        return fingerprint(self._walk(self._root()))

    def take(self, write: Write) -> dict[str, Any]:
        root = self._root()
        without_mounts(root, self.label)
        walk = self._walk(root)
        counts = dict.fromkeys(SORTS, 0)
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
        def fill(fresh: Path) -> Path:
            count = archive.unpack(self.store.read(point.objects[0]), fresh)
            log.info("%s: unpacked %d entries into %s", self.label, count, fresh)
            return fresh

        put_back(self.options.path, place, self.label, fill, linked=bool(point.facts.get("linked", True)))

    def prove(self, point: RecoveryPoint, place: Place) -> tuple[Check, ...]:
        root = files_of(self.options.path, place, self.label)
        facts = point.facts
        if not root.is_dir():
            return (Check(name="the folder", expected="present", found="missing", ok=False),)
        result = Comparison()
        result.compare(facts_of(self.store.read(point.objects[1]), self.label),
                       (entry.facts(digest_of(entry, self.label)) for entry in self._walk(root)))
        return (
            *(
                Check(name=f"{sort}s", expected=facts.get(f"{sort}s"), found=n, ok=facts.get(f"{sort}s") == n)
                for sort, n in result.found.items()
            ),
            Check(
                name=_ALL,
                expected=facts["manifest_sha256"],
                found=result.told,
                ok=not result.differences and result.told == facts["manifest_sha256"],
            ),
        )

    def discard(self, place: Place) -> None:
        discard_folder(place, self.label)

    def _walk(self, root: Path) -> Walk:
        return Walk(root, self.label, self.options.owners)

    def _root(self) -> Path:
        return root_of(self.options.path, self.label)
