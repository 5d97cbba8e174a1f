"""Writes the streams of one backup of a whole PostgreSQL server: its files, their manifest, and the log to a position.

Knows the origin and where streams go; compares nothing, and decides only to take everything where less was refused.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from airlock.backup import archive
from airlock.backup.attributes import Attributes
from airlock.backup.driver import Write
from airlock.backup.drivers.databases import postgres_streaming as streaming
from airlock.backup.drivers.databases.postgres_chain import Choice
from airlock.backup.drivers.databases.postgres_cluster import Earlier
from airlock.backup.drivers.databases.postgres_origin import Origin
from airlock.backup.drivers.databases.postgres_restored import BASE, LOG, stream_of
from airlock.backup.drivers.databases.postgres_wal import Manifest, Stretch, read_manifest
from airlock.backup.files import read_exactly
from airlock.backup.store import BackupStore
from airlock.errors import AirlockError, PermanentError

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Files:
    """The files that were written: as *choice* says, with their manifest, and what was seen when they passed."""

    choice: Choice
    manifest: Manifest
    seen: streaming.Passing


@dataclass(frozen=True)
class Taking:
    """One attempt, which works in *folder* and writes with *write*; *follower* fetches the log meanwhile."""

    origin: Origin
    store: BackupStore
    follower: streaming.LogFollower
    folder: Path
    write: Write
    label: str

    def files(self, choice: Choice) -> Files:
        """Write the files of the server; all of them where they cannot be taken as was chosen."""
        log.info("%s: takes %s", self.label, choice)
        program, environment = self.origin.program("pg_basebackup"), self.origin.replication_environment()
        path, begun = self.folder / streaming.MANIFEST, time.monotonic()
        try:
            with path.open("wb") as file:
                seen = streaming.Passing(file)
                chunks = streaming.stream(program, environment, self.label, self._parent(choice))
                stored = self.write(BASE, seen.through(self.follower.beside(chunks)))
        except AirlockError as error:
            if choice.parent is None or not streaming.speaks_of_its_parent(error):
                raise
            return self.files(Choice(None, str(error).removeprefix(f"{self.label}: ")))
        if not seen.found:
            raise PermanentError(
                f"{self.label}: pg_basebackup wrote no manifest; next: see whether the server is 17 or newer"
            )
        self.write(streaming.MANIFEST, read_exactly(path, path.stat(), self.label))
        log.info("%s: files taken: %d bytes, %.1f s", self.label, stored.plain_bytes, time.monotonic() - begun)
        return Files(choice, read_manifest(path, self.label), seen)

    def log_until_now(self, start: int) -> Stretch:
        """Write the log from *start* until now, after a look that it is whole."""
        needed = self.follower.stretch(self.follower.catch_up(), start)
        paths = self.follower.files(needed, self.origin.program("pg_waldump"))
        self.write(LOG, self._packed(paths))
        return needed

    def earlier(self, files: Files, needed: Stretch) -> Earlier | None:
        """Return what is known of the server from the recovery point that *files* build on, and the log since."""
        if files.choice.parent is None:
            return None
        touched = streaming.written_to(needed, self.folder, self.origin.program("pg_waldump"), self.label)
        empty = frozenset(files.seen.empty - touched)
        return Earlier(files.choice.parent.facts, files.seen.unchanged - touched, empty)

    def _parent(self, choice: Choice) -> Path | None:
        if choice.parent is None:
            return None
        path = self.folder / "parent_manifest"
        with path.open("wb") as file:
            file.writelines(self.store.read(stream_of(choice.parent, streaming.MANIFEST, self.label)))
        return path

    def _packed(self, paths: list[Path]) -> Iterator[bytes]:
        for path in paths:
            seen = path.stat()
            yield from archive.Member(path.name, seen, Attributes(0o600)).pack(read_exactly(path, seen, self.label))
        yield archive.end()
