"""Which earlier recovery point a backup of a PostgreSQL server can build on, and which ones a recovery point needs.

A chain is on record link by link, with the digest of each: what a backup builds on cannot be replaced by another one.
Knows the store and recovery points; takes and restores nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from airlock.backup.store import BackupStore
from airlock.errors import AirlockError, BackupDamaged
from airlock.models import RecoveryPoint, Resource, digest_of

log = logging.getLogger(__name__)
_SERVER = (
    "SELECT (pg_catalog.pg_control_system()).system_identifier::text, "
    "(pg_catalog.pg_control_checkpoint()).timeline_id, "
    "pg_catalog.current_setting('data_checksums')"
)
_SUMMARIZES = "SELECT pg_catalog.current_setting('summarize_wal')"
_SUMMARIES = (
    "SELECT count(*) FROM pg_catalog.pg_available_wal_summaries() WHERE tli = %s AND start_lsn <= %s::text::pg_lsn"
)


def server_of(watcher: Any) -> dict[str, Any]:
    """Return what must be the same at the server of two backups of which one builds on the other."""
    system, timeline, checksums = watcher.execute(_SERVER).fetchone()
    return {"system": system, "timeline": timeline, "data_checksums": checksums}


@dataclass(frozen=True)
class Choice:
    """What to take: what changed since *parent*, or, without one, all; and *why*."""

    parent: RecoveryPoint | None
    why: str

    def __str__(self) -> str:
        return f"an incremental backup: {self.why}" if self.parent else f"a full backup: {self.why}"


class Chains:
    """The recovery points of one resource in one store."""

    def __init__(self, store: BackupStore, resource: Resource, label: str) -> None:
        self._store, self._resource, self._label = store, resource, label

    def choose(self, watcher: Any, longest: int) -> Choice:
        """Choose what the next backup builds on.

        :param watcher: a session at the server
        :param longest: how many incremental ones may follow a full one
        """
        if watcher.execute(_SUMMARIZES).fetchone()[0] != "on":
            return Choice(None, "the server keeps no summaries of its log; next: ALTER SYSTEM SET summarize_wal = on")
        points = self.points()
        if not points:
            return Choice(None, "there is no earlier recovery point")
        newest, server = points[-1], server_of(watcher)
        for name, now in server.items():
            if newest.facts["server"].get(name) != now:
                return Choice(
                    None,
                    f"the server is not the one of {newest.id} any more: {name} was "
                    f"{newest.facts['server'].get(name)}, and is {now}",
                )
        if len(newest.facts["chain"]) >= longest:
            return Choice(None, f"{newest.id} is number {len(newest.facts['chain'])} after its full one")
        try:
            for one in (*self.before(newest), newest):
                self._store.confirm_sizes(one)
        except BackupDamaged as error:
            return Choice(None, f"{newest.id} cannot be built on: {error}")
        if not watcher.execute(_SUMMARIES, [server["timeline"], newest.facts["log"]["start"]]).fetchone()[0]:
            return Choice(
                None, f"the server has no summaries of its log since {newest.id} any more (wal_summary_keep_time)"
            )
        return Choice(newest, f"what changed since {newest.id}")

    def before(self, point: RecoveryPoint) -> tuple[RecoveryPoint, ...]:
        """Return what *point* builds on, the full one first.

        :raises BackupDamaged: one of them is missing, or is another one than was built on
        """
        found = []
        for link in point.facts["chain"]:
            one = self._store.load_point(link["point"])
            if one is None:
                raise BackupDamaged(
                    f"{self._label}: {point.id} builds on recovery point {link['point']}, which is missing;"
                    " next: take the backup again, which builds on another one"
                )
            if digest_of(one) != link["digest"]:
                raise BackupDamaged(
                    f"{self._label}: {point.id} builds on recovery point {one.id}, which is altered: it is "
                    "not the one that was built on; next: take the backup again"
                )
            found.append(one)
        return tuple(found)

    @staticmethod
    def links(parent: RecoveryPoint | None) -> list[dict[str, str]]:
        """Return what a recovery point records of what it builds on, when that is *parent*."""
        if parent is None:
            return []
        return [*parent.facts["chain"], {"point": parent.id, "digest": digest_of(parent)}]

    def built_on(self, point: RecoveryPoint) -> list[str]:
        """Return the ids of the recovery points that build on *point*."""
        return [one.id for one in self.points() if any(link["point"] == point.id for link in one.facts["chain"])]

    def points(self) -> list[RecoveryPoint]:
        """Return every recovery point of the resource that can be read, the newest last."""
        ids = self._store.list_points()
        named = [one for one in ids if self._label in one]  # the others need not even be opened
        found = list(self._read(named)) or list(self._read([one for one in ids if one not in named]))
        return sorted(found, key=lambda one: one.taken_at)

    def _read(self, ids: list[str]) -> Iterator[RecoveryPoint]:
        for identity in ids:
            try:
                point = self._store.load_point(identity)
            except AirlockError as error:
                log.warning("%s: recovery point %s is passed over: %s", self._label, identity, error)
                continue
            ours = (self._resource.kind, self._resource.name, self._resource.driver)
            if point is not None and (point.resource.kind, point.resource.name, point.resource.driver) == ours:
                yield point
