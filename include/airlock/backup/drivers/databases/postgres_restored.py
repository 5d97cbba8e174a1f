"""The files of a recovery point of a whole server, put together from its chain, and recovered to its position.

Knows the store, PostgreSQL's programs and the scratch server; decides nothing about the origin.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from airlock.backup import archive
from airlock.backup.drivers.databases import postgres_programs as programs
from airlock.backup.drivers.databases import postgres_streaming as streaming
from airlock.backup.drivers.databases.postgres_cluster import Cluster
from airlock.backup.drivers.databases.postgres_origin import schema_text
from airlock.backup.drivers.databases.postgres_scratch_server import (
    OWN_SETTINGS,
    Account,
    ScratchServer,
    recovered_to,
)
from airlock.backup.drivers.databases.postgres_session import session
from airlock.backup.drivers.databases.postgres_wal import Stretch, position
from airlock.backup.files import remove_tree
from airlock.backup.store import BackupStore
from airlock.errors import BackupDamaged
from airlock.models import RecoveryPoint, StoredObject

log = logging.getLogger(__name__)
BASE, LOG, KEY = "base.tar", "log.tar", "cluster.json"
_OPTIONS = "-c event_triggers=off -c default_transaction_read_only=off -c session_preload_libraries="


def stream_of(point: RecoveryPoint, name: str, label: str) -> StoredObject:
    """Return the stream *name* of *point*.

    :raises BackupDamaged: it has none
    """
    for stored in point.objects:
        if stored.name == name:
            return stored
    raise BackupDamaged(f"{label}: recovery point {point.id} holds no {name}; next: take the backup again")


@dataclass(frozen=True)
class Restored:
    """A folder with the files of one recovery point (``data``) and the log to recover (``log``)."""

    folder: Path
    programs: str
    account: Account
    libraries: str
    label: str

    @property
    def server(self) -> ScratchServer:
        return ScratchServer(self.folder, self._program("postgres"), self.account, self.label)

    @property
    def data(self) -> Path:
        return self.folder / "data"

    def stop(self) -> None:
        """End what a killed process left running there."""
        ScratchServer(self.folder, "", self.account, self.label).stop_left()

    def clear(self) -> None:
        """Remove all that is in the folder, and end what runs there."""
        self.stop()
        for path in self.folder.iterdir() if self.folder.is_dir() else ():
            if path.is_dir() and not path.is_symlink():
                remove_tree(path)
            else:
                path.unlink()

    def fill(self, store: BackupStore, chain: Sequence[RecoveryPoint], *, lasting: bool) -> None:
        """Put the last of *chain* together, which builds on the others, and recover it to its position.

        :param lasting: whether the files are to be used: they are written through to the disk, and keep their settings
        :raises BackupDamaged: it is not whole, has a gap, or no server comes up on it
        """
        self.clear()
        point, begun = chain[-1], time.monotonic()
        parts = [self.folder / "parts" / str(number) for number, _ in enumerate(chain)]
        for one, part in zip(chain, parts, strict=True):
            part.mkdir(parents=True, mode=0o700)
            archive.unpack(store.read(stream_of(one, BASE, self.label)), part, owners=False)
        for _ in store.read(stream_of(point, streaming.MANIFEST, self.label)):
            pass  # the next backup builds on it
        (self.folder / "log").mkdir(mode=0o700)
        archive.unpack(store.read(stream_of(point, LOG, self.label)), self.folder / "log", owners=False)
        self._refuse_gap(point)
        self.account.give(self.folder)
        if len(parts) == 1:
            parts[0].rename(self.data)
        else:
            self._run(
                "pg_combinebackup", *map(str, parts), f"--output={self.data}", *([] if lasting else ["--no-sync"])
            )
        remove_tree(self.folder / "parts")
        self._run("pg_verifybackup", "--no-parse-wal", "--quiet", str(self.data))
        self._recover(point, lasting=lasting)
        log.info(
            "%s: recovery point %s recovered to %s in %s, of %d backup(s), %.1f s",
            self.label,
            point.id,
            point.facts["position"],
            self.data,
            len(chain),
            time.monotonic() - begun,
        )

    def _refuse_gap(self, point: RecoveryPoint) -> None:
        needed = Stretch(
            **{
                **point.facts["log"],
                "start": position(point.facts["log"]["start"]),
                "end": position(point.facts["log"]["end"]),
            }
        )
        gaps = list(needed.gaps(self.folder / "log"))
        if gaps:
            raise BackupDamaged(
                f"{self.label}: the log of recovery point {point.id} has a gap: {'; '.join(gaps[:3])}; next: "
                "take the backup again"
            )

    def _recover(self, point: RecoveryPoint, *, lasting: bool) -> None:
        version = (self.data / "PG_VERSION").read_text().strip()
        self._refuse_other_version(version)
        kept = self.folder / OWN_SETTINGS
        with suppress(FileNotFoundError):
            (self.data / OWN_SETTINGS).rename(kept)  # commands, archives and other servers are in it
        (self.data / "standby.signal").unlink(missing_ok=True)
        (self.data / "recovery.signal").touch()
        self.account.give(self.data)
        target = {"recovery_target_lsn": point.facts["position"], **({} if lasting else {"fsync": "off"})}
        with self.server.running(point.facts["needed"]["superuser"], self._settings(point) | target):
            pass
        if lasting and kept.exists():
            kept.rename(self.data / OWN_SETTINGS)

    def _refuse_other_version(self, wanted: str) -> None:
        import subprocess

        said = subprocess.run(
            [self._program("postgres"), "--version"],
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
        ).stdout
        if f" {wanted}." not in said and not said.strip().endswith(f" {wanted}"):
            raise BackupDamaged(
                f"{self.label}: the files are of PostgreSQL {wanted}, and the program is {said.strip()[:80]}; "
                "next: set the option 'programs' to the folder of that version"
            )

    def _settings(self, point: RecoveryPoint) -> dict[str, str]:
        needed = {name: value for name, value in point.facts["needed"].items() if name.startswith("max_")}
        return {**needed, "shared_preload_libraries": self.libraries}

    @contextmanager
    def compared(self, point: RecoveryPoint, databases: Sequence[str]) -> Iterator[tuple[Cluster, Any]]:
        """Run the server, and yield what compares it with a session beside."""
        user = point.facts["needed"]["superuser"]
        server = self.server

        @contextmanager
        def connect(database: str) -> Iterator[Any]:
            where = f"the scratch server in {self.folder}, database {database}"
            with session(server.parameters(user, database), _OPTIONS, self.label, where) as opened:
                yield opened

        def dump(name: str, opened: Any, snapshot: str) -> Iterator[bytes]:
            environment = server.environment(user, name, _OPTIONS)
            return schema_text(self._program("pg_dump"), environment, opened, snapshot, self.label)

        with server.running(user, self._settings(point) | {"fsync": "off"}), connect("template1") as watcher:
            yield Cluster(connect, dump, databases, self.label), watcher

    @property
    def position(self) -> str:
        """Return the position before which recovery stopped."""
        return recovered_to(self.data)

    def _program(self, name: str) -> str:
        return programs.find_program(name, self.programs, self.label)

    def _run(self, name: str, *arguments: str) -> None:
        self.account.run([self._program(name), *arguments], self.label, self.folder)
