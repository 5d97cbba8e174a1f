"""Driver ``log_files``: rotated and live log files, each up to the offset that was recorded. Knows no log format."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import Field, field_validator

from airlock.backup import archive, file_needs
from airlock.backup import driver as contract
from airlock.backup.attributes import LEFT_OUT, RIGHTS, Attributes, attributes_of, give
from airlock.backup.driver import Place, StreamDriver, Write
from airlock.backup.drivers.logs.rotated import (
    Tally,
    begins_as,
    holder,
    measured,
    name_of,
    place_of,
    recorded_name,
    restored_beside,
)
from airlock.backup.files import (
    CHUNK,
    Owners,
    discard_folder,
    fault,
    has_holes,
    recorded,
    remove_tree,
    rights_of,
    scratch_folder,
    shown,
)
from airlock.backup.taken_names import folder_at
from airlock.errors import BackupDamaged, InvalidInput, TemporaryError
from airlock.identity import file_identity
from airlock.models import Check, Inspection, Kind, RecoveryPoint, digest_of
from airlock.options import Options as DriverOptions

log = logging.getLogger(__name__)
FRESH = ".airlock-restore"
_ENDS = 1 << 14


class LogFilesDriver(StreamDriver):
    """All files of a folder that match one of the patterns. Lines that are appended meanwhile do not matter; a rotation
    is noticed and the backup begins anew. Restoring the origin brings back lines that are gone, also those of a file
    that was emptied or cut off, and loses none that came later: where a file holds other lines now, the recorded ones
    are put beside it."""

    kind = Kind.LOGS
    capabilities = contract.Capabilities(
        consistent="each file up to its size when the backup began",
        leaves_out=(
            "links to files", "attributes of folders", f"{FRESH} at its top, where a restore works", LEFT_OUT,
        ),
    )
    needs = file_needs.of_folder("{path}")

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
        seen = [[shown(name), stat.st_size, stat.st_mtime_ns] for name, stat in found.items()]
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
        ends = {name: self._ends(Path(self.options.path) / name, seen.st_size) for name, seen in found.items()}
        files: list[dict[str, Any]] = []
        write("logs.tar", self._pack(found, ends, files))
        log.info("%s: read %d file(s), %d line(s)", self.label, len(files), sum(file["lines"] for file in files))
        return {"files": files, "linked": Path(self.options.path).is_symlink()}

    def _pack(
        self, found: dict[str, os.stat_result], ends: dict[str, str], files: list[dict[str, Any]]
    ) -> Iterator[bytes]:
        for name, seen in found.items():
            path = Path(self.options.path) / name
            tally = Tally()
            attributes, sparse = self._attributes(path, seen)
            yield from archive.Member(name, seen, attributes, sparse=sparse).pack(tally.over(self._upto(path, seen)))
            files.append({**recorded_name(name), "offset": seen.st_size, "rights": attributes.facts(), **tally.facts()})
        yield archive.end()
        # a rotation between two files could have hidden lines from both
        for name, seen in found.items():
            path = Path(self.options.path) / name
            self._same(path, seen)
            # one that copies and truncates keeps the file, and a busy writer makes it as long again
            if self._ends(path, seen.st_size) != ends[name]:
                raise self._rotated(path)
        for name in self._list().keys() - found.keys():
            if any(name.startswith(known) for known in found):
                raise self._rotated(Path(self.options.path) / name)

    def _ends(self, path: Path, size: int) -> str:
        """Return a digest of how the first *size* bytes of a file begin and end."""
        try:
            with path.open("rb") as file:
                begin = file.read(min(_ENDS, size))
                file.seek(max(0, size - _ENDS))
                return hashlib.sha256(begin + file.read(min(_ENDS, size))).hexdigest()
        except FileNotFoundError as error:
            raise self._rotated(path) from error
        except OSError as error:
            raise fault(error, self.label, "read", path) from error

    def _attributes(self, path: Path, seen: os.stat_result) -> tuple[Attributes, bool]:
        """Return who may do what with a file, and whether it has holes."""
        try:
            return attributes_of(path, seen, owners=self.options.owners, names=RIGHTS), has_holes(path, seen)
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
        return TemporaryError(
            f"{self.label}: {shown(path)} was rotated or cut off while it was read; take the backup again"
        )

    def restore(self, point: RecoveryPoint, place: Place) -> None:
        root = self._files(place)
        fresh = root / FRESH
        try:
            if not place.origin:
                scratch_folder(place, self.label)
                remove_tree(root)
            # points of earlier builds do not say whether they were taken through a link
            with folder_at(root, linked=point.facts.get("linked", root.is_symlink()), keep=True):
                remove_tree(fresh)
                fresh.mkdir(mode=0o700)
                archive.unpack(self.store.read(point.objects[0]), fresh)
                for file in point.facts["files"]:
                    self._bring_back(fresh / name_of(file), root, file)
        except OSError as error:
            raise fault(error, self.label, "restore into", root) from error
        finally:
            with contextlib.suppress(OSError):
                remove_tree(fresh)

    def _bring_back(self, fresh: Path, root: Path, file: dict[str, Any]) -> None:
        """Have the lines of one *file* in *root* again, and lose none that came later."""
        if not fresh.is_file():
            raise BackupDamaged(f"{self.label}: the recovery point lacks {file['name']}; next: take the backup again")
        target = place_of(root, file)
        held = holder(root, file)
        if held == target:
            self._give(target, file)
        if held is not None:
            return
        if not target.exists() and not target.is_symlink():
            target.parent.mkdir(parents=True, exist_ok=True)
            fresh.rename(target)
        elif target.is_file() and begins_as(target, fresh):
            # emptied or cut off: a program may hold it open, so that it must stay the file it is
            with fresh.open("rb") as source, target.open("ab") as file_:
                source.seek(target.stat().st_size)
                shutil.copyfileobj(source, file_, CHUNK)
            self._give(target, file)
        else:
            target = restored_beside(target)  # it holds other lines, which a rollback must not lose
            fresh.replace(target)
        log.info("%s: brought %s back", self.label, shown(target))

    def _give(self, path: Path, file: dict[str, Any]) -> None:
        wanted = recorded(file.get("rights"), self.label)
        give(path, wanted, names=RIGHTS)

    def prove(self, point: RecoveryPoint, place: Place) -> tuple[Check, ...]:
        root = self._files(place)
        files = point.facts["files"]
        checks = []
        if not place.origin:
            expected = sorted(file["name"] for file in files)
            present = sorted(shown(str(path.relative_to(root))) for path in root.rglob("*") if path.is_file())
            checks.append(Check(name="names of files", expected=expected, found=present, ok=expected == present))
        for file in files:
            checks += self._compared(root, file)
        return tuple(checks)

    def _compared(self, root: Path, file: dict[str, Any]) -> list[Check]:
        """Return whether the recorded lines are there: under their name, or where a rotation has put them since."""
        target = place_of(root, file)
        try:
            held = holder(root, file)
            wanted = {key: file[key] for key in ("lines", "sha256")}
            found = measured(target, file["offset"]) if held is None else wanted
            name = f"{file['name']} up to byte {file['offset']}"
            checks = [Check(name=name, expected=wanted, found=found, ok=wanted == found)]
            if held == target:
                rights = rights_of(target, target.stat(), self.label, owners=self.options.owners)
                expected = file.get("rights")
                checks.append(
                    Check(name=f"rights of {file['name']}", expected=expected, found=rights, ok=rights == expected)
                )
        except OSError as error:
            raise fault(error, self.label, "read", target) from error
        return checks

    def discard(self, place: Place) -> None:
        discard_folder(place, self.label)

    def _files(self, place: Place) -> Path:
        return Path(self.options.path) if place.origin else Path(place.folder) / "files"

    def _list(self) -> dict[str, os.stat_result]:
        """Return every matching regular file by its name below the folder, sorted."""
        root = Path(self.options.path)
        found: dict[str, os.stat_result] = {}
        try:
            if any(len(Path(pattern).parts) > 1 for pattern in self.options.patterns):
                for _ in os.walk(root, onerror=_refuse):
                    pass  # what looks for names passes over a folder that it may not read
            for pattern in self.options.patterns:
                for path in root.glob(pattern):
                    relative = path.relative_to(root)
                    if path.is_file() and not path.is_symlink() and relative.parts[0] != FRESH:
                        found[str(relative)] = path.stat()
        except FileNotFoundError as error:
            raise TemporaryError(f"{self.label}: files in {shown(root)} were rotated while they were listed") from error
        except OSError as error:
            raise fault(error, self.label, "list", root) from error
        return dict(sorted(found.items()))


def _refuse(error: OSError) -> None:
    """Stop where a folder is there and cannot be listed."""
    if not isinstance(error, FileNotFoundError):
        raise error
