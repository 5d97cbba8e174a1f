"""Back up a whole PostgreSQL server, 17 or newer, as files that change little: ``pg_basebackup --incremental``, and the
log from there to one recorded position. Prove it by a scratch server that recovers the files to that position.

Everything goes through the store, as streams: an incremental backup is what changed since the recovery point before, so
each is encrypted, in both places, and small. What a recovery point builds on, it names by digest.

Knows the driver contract and the order of things; origin, log, chain, facts and files are in the modules beside this.
"""

from __future__ import annotations

import json
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any, ClassVar, Self

from pydantic import Field, model_validator

from airlock.backup.driver import Capabilities, Place, StreamDriver, Write
from airlock.backup.drivers.databases import postgres_pitr_needs
from airlock.backup.drivers.databases import postgres_streaming as streaming
from airlock.backup.drivers.databases.postgres_chain import Chains, server_of
from airlock.backup.drivers.databases.postgres_cluster import Cluster, checks, new_key
from airlock.backup.drivers.databases.postgres_origin import Origin
from airlock.backup.drivers.databases.postgres_restored import BASE, KEY, LOG, Restored, stream_of
from airlock.backup.drivers.databases.postgres_scratch_server import Account, account, owner_of
from airlock.backup.drivers.databases.postgres_taking import Taking
from airlock.backup.drivers.databases.postgres_wal import written
from airlock.backup.drivers.databases.postgres_way_back import LocalServer, by_hand
from airlock.backup.files import discard_folder, scratch_folder
from airlock.connections import ConnectionId
from airlock.errors import AirlockError, BackupDamaged, InvalidInput, StillNeeded
from airlock.identity import server_identity
from airlock.models import Check, Inspection, Kind, RecoveryPoint, canonical_json, digest_of
from airlock.options import Options as DriverOptions

_ANSWER_SECONDS = 120


class PostgresPitrOptions(DriverOptions):
    """Options of the driver ``postgres_pitr``."""

    connection: ConnectionId = Field(
        description="Airflow connection of a role that may replicate and read everything, at the primary"
    )
    programs: str = Field("", description="folder of PostgreSQL's programs, those of the server too; empty: PATH")
    databases: tuple[str, ...] = Field(
        (), description="whose content the proof compares; empty: that of all. All are backed up"
    )
    longest_chain: int = Field(6, ge=0, le=50, description="how many incremental backups follow a full one")
    run_as: str = Field(
        "", description="user who runs scratch servers where this runs as root; empty: postgres, else nobody"
    )
    libraries: str = Field(
        "", description="shared_preload_libraries of scratch servers, where data cannot be read without"
    )
    data_directory: str = Field(
        "", description="the server's data directory on this machine; empty: no way back from here"
    )
    stop: tuple[str, ...] = Field((), description="command that stops that server, word by word")
    start: tuple[str, ...] = Field((), description="command that starts it")

    @model_validator(mode="after")
    def _all_or_none(self) -> Self:
        if len({bool(self.data_directory), bool(self.stop), bool(self.start)}) > 1:
            raise ValueError("data_directory, stop and start belong together: give all of them, or none")
        return self

    def identities(self) -> tuple[str, ...]:
        return (server_identity("postgresql", self.connection, 5432),)


class PostgresPitrDriver(StreamDriver):
    """All of a PostgreSQL server, at one position of its log."""

    kind: ClassVar[Kind] = Kind.DATABASES
    Options = PostgresPitrOptions
    options: PostgresPitrOptions
    capabilities: ClassVar[Capabilities] = Capabilities(
        consistent="one position of the log, at which nothing was being written. The way back needs the server's own "
        "machine: the server is stopped, its data directory replaced, and all of its databases go back",
        leaves_out=(
            "rows of unlogged tables, which no log tells",
            "replication slots; standbys are made anew after a way back",
            "tablespaces: a server that has some is refused",
            "settings in files outside of the data directory",
        ),
    )
    needs = postgres_pitr_needs.NEEDS

    def inspect(self) -> Inspection:
        """Look at size and content. The server reads every table to hash it; no row leaves the server."""
        with self._origin.connect("") as watcher, ExitStack() as stack:
            cluster = self._cluster()
            cluster.look(stack, watcher, at_rest=True)
            facts = cluster.read_facts(watcher, "", ranges=False)
            detail = {
                "databases": len(facts["databases"]),
                "left_out": facts["left_out"],
                "server_version": watcher.execute("SHOW server_version").fetchone()[0],
                "unread_slots": self._origin.unread_slots(watcher),
            }
            return Inspection(
                present=True,
                size_bytes=self._origin.size(watcher),
                fingerprint=digest_of(facts | {"sequences": sorted(facts["sequences"])}),
                detail=detail,
            )

    def plan(self) -> dict[str, Any]:
        with self._origin.connect("") as watcher:
            choice = self._chains.choose(watcher, self.options.longest_chain)
            return {
                "resource": self.label,
                "driver": self.resource.driver,
                "present": True,
                "size_bytes": self._origin.size(watcher),
                "store": self.store.location,
                "takes": str(choice),
                "leaves_out": list(self.capabilities.leaves_out),
            }

    def take(self, write: Write) -> dict[str, Any]:
        key = new_key()
        with self._origin.connect("") as watcher, streaming.working_folder(self.label) as folder, ExitStack() as stack:
            self._origin.refuse_what_cannot_be_taken(watcher)
            self._origin.unread_slots(watcher)
            choice = self._chains.choose(watcher, self.options.longest_chain)
            program, environment = self._origin.program("pg_receivewal"), self._origin.replication_environment()
            follower = streaming.LogFollower(watcher, program, environment, folder, self.label)
            stack.callback(follower.close)
            taking = Taking(self._origin, self.store, follower, folder, write, self.label)
            files = taking.files(choice)
            cluster = self._cluster()
            position = cluster.look(stack, watcher, at_rest=False)
            needed = taking.log_until_now(files.manifest.start)
            write(KEY, [canonical_json({"digest_key": key})])
            return {
                **cluster.read_facts(watcher, key, ranges=True, earlier=taking.earlier(files, needed)),
                "position": position,
                "server": server_of(watcher),
                "needed": self._origin.needed_settings(watcher),
                "taken": str(files.choice),
                "chain": self._chains.links(files.choice.parent),
                "compared": list(self.options.databases),
                "log": {
                    "timeline": needed.timeline,
                    "start": written(needed.start),
                    "end": written(needed.end),
                    "segment_bytes": needed.segment_bytes,
                },
            }

    def restore(self, point: RecoveryPoint, place: Place) -> None:
        if not place.origin:
            self._fill(point, self._restored(place), lasting=False)
            return
        local = self._local(point)
        with local.room() as room:
            owner = owner_of(local.data, self.label)
            restored = Restored(room, self.options.programs, owner, self.options.libraries, self.label)
            self._fill(point, restored, lasting=True)
            local.exchange(restored.data, self._answers)

    def _fill(self, point: RecoveryPoint, restored: Restored, *, lasting: bool) -> None:
        self._key(point)
        restored.fill(self.store, (*self._chains.before(point), point), lasting=lasting)

    def prove(self, point: RecoveryPoint, place: Place) -> tuple[Check, ...]:
        key, compared = self._key(point), tuple(point.facts["compared"])
        if place.origin:
            with self._origin.connect("") as watcher, ExitStack() as stack:
                cluster = Cluster(self._origin.connect, self._origin.dump, compared, self.label)
                cluster.look(stack, watcher, at_rest=True)
                return tuple(checks(point.facts, cluster.read_facts(watcher, key, ranges=False)))
        for one in self._chains.before(point):
            self.store.confirm_replica(one)
        restored = self._restored(place)
        recorded = point.facts["position"]
        at = Check(name="position", expected=recorded, found=restored.position, ok=restored.position == recorded)
        with restored.compared(point, compared) as (cluster, watcher), ExitStack() as stack:
            cluster.look(stack, watcher, at_rest=True)
            return (at, *checks(point.facts, cluster.read_facts(watcher, key, ranges=False)))

    def discard(self, place: Place) -> None:
        if place.origin:
            raise InvalidInput(f"{self.label}: the origin is no scratch place and is never discarded")
        Restored(Path(place.folder), "", Account(), "", self.label).stop()
        discard_folder(place, self.label)

    def expire(self, point: RecoveryPoint) -> None:
        later = self._chains.built_on(point)
        if later:
            raise StillNeeded(
                f"{self.label}: recovery point {point.id} stays: {len(later)} later one(s) build on it, such as "
                f"{later[0]}"
            )
        super().expire(point)

    # --- parts --------------------------------------------------------------------------------------------------------

    @property
    def _origin(self) -> Origin:
        return Origin(self.options.connection, self.options.programs, self.label)

    @property
    def _chains(self) -> Chains:
        return Chains(self.store, self.resource, self.label)

    def _cluster(self) -> Cluster:
        origin = self._origin
        return Cluster(origin.connect, origin.dump, self.options.databases, self.label)

    def _restored(self, place: Place) -> Restored:
        user = account(self.options.run_as, self.label)
        return Restored(
            scratch_folder(place, self.label), self.options.programs, user, self.options.libraries, self.label
        )

    def _key(self, point: RecoveryPoint) -> str:
        try:
            return str(json.loads(b"".join(self.store.read(stream_of(point, KEY, self.label))))["digest_key"])
        except (ValueError, LookupError, TypeError, RecursionError):
            raise BackupDamaged(
                f"{self.label}: {KEY} of recovery point {point.id} holds no key of its digests; next: take "
                "the backup again"
            ) from None

    def _local(self, point: RecoveryPoint) -> LocalServer:
        given = self.options
        if not given.data_directory:
            raise by_hand(point, (BASE, LOG), self.label)
        return LocalServer(Path(given.data_directory), given.stop, given.start, self.label)

    def _answers(self) -> bool:
        deadline = time.monotonic() + _ANSWER_SECONDS
        while time.monotonic() < deadline:
            try:
                with self._origin.connect("") as watcher:
                    if not watcher.execute("SELECT pg_catalog.pg_is_in_recovery()").fetchone()[0]:
                        return True
            except AirlockError:
                pass
            time.sleep(0.2)
        return False
