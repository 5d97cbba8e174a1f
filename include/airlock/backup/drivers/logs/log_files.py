"""Driver ``log_files``: rotated and live log files, each up to the offset that was recorded. Knows no log format."""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import Field, field_validator

from airlock.backup import archive
from airlock.backup import driver as contract
from airlock.backup.attributes import Attributes, attributes_of
from airlock.backup.driver import Place, StreamDriver, Write
from airlock.backup.files import CHUNK, Owners, discard_folder, fault, scratch_folder
from airlock.errors import InvalidInput, TemporaryError
from airlock.identity import file_identity
from airlock.models import Check, Inspection, Kind, RecoveryPoint, digest_of
from airlock.options import Options as DriverOptions

log = logging.getLogger(__name__)


class LogFilesDriver(StreamDriver):
    """All files of a folder that match one of the patterns. Lines that are appended meanwhile do not matter; a rotation
    is noticed and the backup begins anew. Restoring the origin brings missing files back and touches no other."""

    kind = Kind.LOGS
    capabilities = contract.Capabilities(consistent="each file up to its size when the backup began")

    class Options(DriverOptions):
        path: str = Field(min_length=1, description="the folder")
        patterns: tuple[str, ...] = Field(("*.log*",), min_length=1, description="which files, relative to the folder")
        owners: Owners = True

        @field_validator("patterns")
        @classmethod
        def _inside(cls, patterns: tuple[str, ...]) -> tuple[str, ...]:
            for pattern in patterns:
                if not pattern or Path(pattern).is_absolute() or ".." in Path(pattern).parts:
                    raise ValueError(f"pattern {pattern!r} must be relative and stay inside the folder")
            return patterns

        def identities(self) -> tuple[str, ...]:
            return (file_identity(self.path),)

    options: Options

    def inspect(self) -> Inspection:
        found = self._list()
        seen = [[name, stat.st_size, stat.st_mtime_ns] for name, stat in found.items()]
        return Inspection(
            present=bool(found),
            size_bytes=sum(stat.st_size for stat in found.values()),
            fingerprint=digest_of(seen) if found else "",
            detail={"files": len(found)},
        )

    def take(self, write: Write) -> dict[str, Any]:
        found = self._list()
        if not found:
            raise InvalidInput(
                f"{self.label}: no file in {self.options.path} matches {', '.join(self.options.patterns)}; "
                "check the options in the service file"
            )
        files: list[dict[str, Any]] = []
        write("logs.tar", self._pack(found, files))
        log.info("%s: read %d file(s), %d line(s)", self.label, len(files), sum(file["lines"] for file in files))
        return {"files": files}

    def _pack(self, found: dict[str, os.stat_result], files: list[dict[str, Any]]) -> Iterator[bytes]:
        for name, seen in found.items():
            path = Path(self.options.path) / name
            tally = _Tally()
            yield from archive.Member(name, seen, self._attributes(path, seen)).pack(tally.over(self._upto(path, seen)))
            files.append({"name": name, "offset": seen.st_size, **tally.facts()})
        yield archive.end()
        # a rotation between two files could have hidden lines from both
        for name, seen in found.items():
            self._same(Path(self.options.path) / name, seen)

    def _attributes(self, path: Path, seen: os.stat_result) -> Attributes:
        try:
            return attributes_of(path, seen, owners=self.options.owners)
        except FileNotFoundError as error:
            raise self._rotated(path) from error
        except OSError as error:
            raise fault(error, self.label, "look at", path) from error

    def _upto(self, path: Path, seen: os.stat_result) -> Iterator[bytes]:
        self._same(path, seen)
        left = seen.st_size
        try:
            with path.open("rb") as file:
                if os.fstat(file.fileno()).st_ino != seen.st_ino:
                    raise self._rotated(path)
                while left and (chunk := file.read(min(CHUNK, left))):
                    left -= len(chunk)
                    yield chunk
        except FileNotFoundError as error:
            raise self._rotated(path) from error
        except OSError as error:
            raise fault(error, self.label, "read", path) from error
        if left:
            raise self._rotated(path)

    def _same(self, path: Path, seen: os.stat_result) -> None:
        try:
            now = path.stat()
        except FileNotFoundError as error:
            raise self._rotated(path) from error
        if (now.st_dev, now.st_ino) != (seen.st_dev, seen.st_ino) or now.st_size < seen.st_size:
            raise self._rotated(path)

    def _rotated(self, path: Path) -> TemporaryError:
        return TemporaryError(f"{self.label}: {path} was rotated or cut off while it was read; take the backup again")

    def restore(self, point: RecoveryPoint, place: Place) -> None:
        if not place.origin:
            files = scratch_folder(place, self.label) / "files"
            shutil.rmtree(files, ignore_errors=True)
            self._unpack(point, files)
            return
        root = Path(self.options.path)
        fresh = root / ".airlock-restore"
        shutil.rmtree(fresh, ignore_errors=True)
        try:
            self._unpack(point, fresh)
            for file in point.facts["files"]:
                target = root / file["name"]
                if target.exists():
                    continue  # it may hold newer lines, which a rollback must not lose
                target.parent.mkdir(parents=True, exist_ok=True)
                (fresh / file["name"]).rename(target)
                log.info("%s: brought %s back", self.label, target)
        except OSError as error:
            raise fault(error, self.label, "restore into", root) from error
        finally:
            shutil.rmtree(fresh, ignore_errors=True)

    def _unpack(self, point: RecoveryPoint, folder: Path) -> None:
        try:
            folder.mkdir(parents=True)
            archive.unpack(self.store.read(point.objects[0]), folder)
        except OSError as error:
            raise fault(error, self.label, "unpack into", folder) from error

    def prove(self, point: RecoveryPoint, place: Place) -> tuple[Check, ...]:
        root = Path(self.options.path) if place.origin else Path(place.folder) / "files"
        files = point.facts["files"]
        expected = [file["name"] for file in files]
        present = [name for name in expected if (root / name).is_file()]
        if not place.origin:
            present = sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())
        checks = [
            Check(name="names of files", expected=expected, found=present, ok=sorted(expected) == sorted(present))
        ]
        for file in files:
            found = self._measure(root / file["name"], file["offset"])
            wanted = {key: file[key] for key in ("lines", "sha256")}
            checks.append(
                Check(
                    name=f"{file['name']} up to byte {file['offset']}", expected=wanted, found=found, ok=wanted == found
                )
            )
        return tuple(checks)

    def _measure(self, path: Path, offset: int) -> dict[str, Any] | None:
        tally = _Tally()
        try:
            with path.open("rb") as file:
                while offset and (chunk := file.read(min(CHUNK, offset))):
                    offset -= len(chunk)
                    tally.add(chunk)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise fault(error, self.label, "read", path) from error
        return tally.facts()

    def discard(self, place: Place) -> None:
        discard_folder(place, self.label)

    def _list(self) -> dict[str, os.stat_result]:
        """Return every matching regular file by its name below the folder, sorted."""
        root = Path(self.options.path)
        found: dict[str, os.stat_result] = {}
        try:
            for pattern in self.options.patterns:
                for path in root.glob(pattern):
                    if path.is_file() and not path.is_symlink():
                        found[str(path.relative_to(root))] = path.stat()
        except FileNotFoundError as error:
            raise TemporaryError(f"{self.label}: files in {root} were rotated while they were listed") from error
        except OSError as error:
            raise fault(error, self.label, "list", root) from error
        return dict(sorted(found.items()))


class _Tally:
    """Lines and sha256 of what passes."""

    def __init__(self) -> None:
        self._lines = 0
        self._hash = hashlib.sha256()

    def add(self, chunk: bytes) -> None:
        self._lines += chunk.count(b"\n")
        self._hash.update(chunk)

    def over(self, chunks: Iterator[bytes]) -> Iterator[bytes]:
        for chunk in chunks:
            self.add(chunk)
            yield chunk

    def facts(self) -> dict[str, Any]:
        return {"lines": self._lines, "sha256": self._hash.hexdigest()}
