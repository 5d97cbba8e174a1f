"""Back up one PostgreSQL database with ``pg_dump``, and prove it by restoring it into a scratch database beside it.

A restore always fills a new database made for it. A restore test ends there; a way back then puts it in the origin's
place. So what was tested is what will be used, and until the last moment the origin is as it was.

The dump and the facts that a proof compares with see the same moment: both use one exported snapshot. Knows PostgreSQL
and the driver contract; programs, catalogs, databases as wholes and errors live in the modules beside this one.
"""

from __future__ import annotations

import hashlib
import logging
import secrets
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cached_property
from typing import Any, ClassVar

from pydantic import Field

from airlock.backup.driver import Capabilities, Place, StreamDriver, Write
from airlock.backup.drivers.databases import postgres_database as whole
from airlock.backup.drivers.databases import postgres_errors as errors
from airlock.backup.drivers.databases import postgres_facts as measure
from airlock.backup.drivers.databases import postgres_needs
from airlock.backup.drivers.databases import postgres_programs as programs
from airlock.backup.drivers.databases import postgres_schema as schema
from airlock.backup.drivers.databases.postgres_session import session
from airlock.connections import ConnectionId, postgres_parameters
from airlock.connections import connection as airflow_connection
from airlock.errors import AirlockError, InvalidInput, PermanentError
from airlock.identity import server_identity
from airlock.models import Check, Inspection, Kind, RecoveryPoint, canonical_json, digest_of
from airlock.options import Options as DriverOptions

log = logging.getLogger(__name__)
_COMPARED = ("tables", "materialized views", "large_objects", "constraints", "storage", "extensions", "grants",
             "owners", "roles", "database", "settings", "schemas")  # fmt: skip


class PostgresOptions(DriverOptions):
    """Options of the driver ``postgres``."""

    connection: ConnectionId = Field(
        description="Airflow connection of a role that may create databases and read everything")
    database: str = Field(min_length=1, max_length=63, description="the database to back up")
    programs: str = Field("", description="folder of pg_dump, pg_restore, pg_dumpall and psql; empty: the ones on PATH")

    def identities(self) -> tuple[str, ...]:
        return (server_identity("postgresql", self.connection, 5432, self.database),)


class PostgresDriver(StreamDriver):
    """One database of a PostgreSQL server, version 13 or later: all that it holds, and what is set on it."""

    kind: ClassVar[Kind] = Kind.DATABASES
    Options = PostgresOptions
    options: PostgresOptions
    capabilities: ClassVar[Capabilities] = Capabilities(
        consistent="one snapshot of the whole database; sequences (never part of a snapshot) during the dump. "
        "Tables that inherit have the columns of their parents first; the way back ends all sessions in the database",
        leaves_out=(
            "rows of materialized views, which are computed anew, and what the planner knows of tables",
            "logical replication slots; subscriptions come back disabled",
            "passwords of roles; roles and tablespaces are looked for and never made",
            "what was changed in what an extension made, but for the rows of tables that it declares as settings",
            "what somebody put into pg_catalog or information_schema",
        ),
    )
    needs = postgres_needs.NEEDS

    def inspect(self) -> Inspection:
        """Look at size and content. The server reads every table to hash it; no row leaves the server."""
        found = self._size()
        if found is None:
            return Inspection(present=False, detail={"database": self.options.database})
        with self._connect(self.options.database) as database:
            measure.begin(database)
            facts = measure.read_facts(database)
            version = database.execute("SHOW server_version").fetchone()[0]
            left_out = measure.left_out(database)
        with self._connect("") as server:
            facts |= whole.read_facts(server, self.options.database, "")
        detail = {"database": self.options.database, "tables": len(facts["tables"]), "server_version": version,
                  "left_out": left_out}  # fmt: skip
        return Inspection(present=True, size_bytes=found, fingerprint=digest_of(facts), detail=detail)

    def plan(self) -> dict[str, Any]:
        found, left_out = self._size(), list[str]()  # without a look at the content: cheap for any size
        if found is not None:
            with self._connect(self.options.database) as database:
                left_out = measure.left_out(database)
        return {"resource": self.label, "driver": self.resource.driver, "present": found is not None,
                "size_bytes": found, "store": self.store.location,
                "leaves_out": [*self.capabilities.leaves_out, *left_out]}  # fmt: skip

    def _size(self) -> int | None:
        query = "SELECT pg_catalog.pg_database_size(oid) FROM pg_catalog.pg_database WHERE datname = %s"
        with self._connect("") as server:
            row = server.execute(query, [self.options.database]).fetchone()
        return None if row is None else int(row[0])

    def take(self, write: Write) -> dict[str, Any]:
        name, key = self.options.database, secrets.token_hex(32)
        with self._connect("") as server:
            if not whole.exists(server, name):
                raise InvalidInput(f"{self.label}: the server has no database {name}; check the driver's options")
            sealed = whole.sealed_properties(server, name, key)
        with self._connect(name) as database:
            snapshot = self._snapshot(database)
            begun = time.monotonic()
            before = measure.next_values(database)
            # first: once the last program has its locks, whoever waits for ours holds nothing up
            text = self._schema(name, database, snapshot)
            dump = self._dump(database, name, "--format=custom", "--compress=none", snapshot)
            stored = write("database.dump", dump)
            log.info("%s: database %s dumped (%s): %d bytes, %.1f s", self.label, name, snapshot.lstrip("-"),
                     stored.plain_bytes, time.monotonic() - begun)  # fmt: skip
            facts = self._facts(database, name, key) | {"schema": text}
            # the dump read each sequence at a moment between these two
            facts["sequences"] = {
                sequence: sorted((before.get(sequence, value), value)) for sequence, value in facts["sequences"].items()
            }
            moment = database.execute(
                "SELECT pg_catalog.pg_is_in_recovery(), current_setting('server_version')"
            ).fetchone()
            position = "pg_catalog.pg_last_wal_replay_lsn()" if moment[0] else "pg_catalog.pg_current_wal_lsn()"
            facts |= {"server_version": moment[1], "left_out": measure.left_out(database),
                      "wal_position": str(database.execute(f"SELECT {position}").fetchone()[0])}  # fmt: skip
        write(
            "roles.sql",
            programs.read_from([self._program("pg_dumpall"), "--roles-only", "--no-role-passwords", "--no-password"],
                               self._environment(name), self.label),
        )  # fmt: skip
        write("database.json", [canonical_json(sealed)])
        return facts

    def restore(self, point: RecoveryPoint, place: Place) -> None:
        objects = {stored.name: stored for stored in point.objects}
        if "database.json" not in objects:
            raise PermanentError(f"{self.label}: recovery point {point.id} was taken by an earlier version of this "
                                 "driver; next: restore it with that version, or take the backup again")  # fmt: skip
        for _ in self.store.read(objects["roles.sql"]):
            pass  # the way back of last resort for people: a backup without it is not whole
        sealed = whole.read_properties(b"".join(self.store.read(objects["database.json"])), self.label)
        self._refuse_missing_roles(point)
        begun = time.monotonic()
        name = self._database_of(place)
        with self._filling(place) as target:
            with self._connect("") as server:
                whole.create(server, target, point.facts)
            with self._connect(target) as inside:
                whole.strip(inside, point.facts)
            programs.ScriptRun(
                [self._program("pg_restore"), "--file=-", "--exit-on-error"],
                [self._program("psql"), "--no-psqlrc", "--quiet", "--no-password", "--set=ON_ERROR_STOP=1",
                 "--set=VERBOSITY=verbose", "--set=SHOW_CONTEXT=never", "--file=-"],
                self._environment(target),
                self.label,
            ).run(self.store.read(objects["database.dump"]), errors.known_names(point.facts))  # fmt: skip
            with self._connect("") as server:
                whole.apply_properties(server, target, point.facts["database"]["owner"], sealed)
                if place.origin:
                    names = (target, name, self._beside("old"))
                    whole.take_the_place(server, self._connect, names, point.facts["standing"], self.label)
        log.info("%s: recovery point %s restored into database %s, %.1f s", self.label, point.id, name,
                 time.monotonic() - begun)  # fmt: skip

    def prove(self, point: RecoveryPoint, place: Place) -> tuple[Check, ...]:
        name = self._database_of(place)
        sealed = {stored.name: stored for stored in point.objects}["database.json"]
        key = whole.read_properties(b"".join(self.store.read(sealed)), self.label)["digest_key"]
        with self._connect(name) as database:
            text = self._schema(name, database, self._snapshot(database))
            found = self._facts(database, name, key) | {"schema": text}
        ranges: Mapping[str, list[int]] = point.facts["sequences"]
        checks = [self._check("schema", point.facts["schema"], found["schema"]),
                  self._check("names of sequences", sorted(ranges), sorted(found["sequences"]))]  # fmt: skip
        for sequence, (least, most) in sorted(ranges.items()):
            value = found["sequences"].get(sequence)
            ok = value is not None and least <= value <= most
            bounds = {"least": least, "most": most}
            checks.append(Check(name=f"sequences {sequence}", expected=bounds, found=value, ok=ok))
        for part in (*_COMPARED, *(("standing",) if place.origin else ())):
            expected: Mapping[str, Any] = point.facts.get(part, found[part])  # "schemas" is younger than old points
            checks.append(self._check(f"names of {part}", sorted(expected), sorted(found[part])))
            checks.extend(
                self._check(f"{part} {key}", value, found[part].get(key)) for key, value in sorted(expected.items())
            )
        return tuple(checks)

    def discard(self, place: Place) -> None:
        if place.origin:
            raise InvalidInput(f"{self.label}: the origin is no scratch place and is never discarded")
        name = self._database_of(place)
        with self._connect("") as server:
            whole.drop(server, self._connect, name, self.label)
        log.info("%s: scratch database %s dropped", self.label, name)

    # --- parts --------------------------------------------------------------------------------------------------------

    @staticmethod
    def _check(name: str, expected: Any, found: Any) -> Check:
        return Check(name=name, expected=expected, found=found, ok=expected == found)

    def _database_of(self, place: Place) -> str:
        if not place.origin and not place.name:
            raise InvalidInput(f"{self.label}: a scratch place needs a name")
        return self.options.database if place.origin else f"airlock_{place.name}"

    def _program(self, name: str) -> str:
        return programs.find_program(name, self.options.programs, self.label)

    def _beside(self, part: str) -> str:
        """Return the name of the database that is filled (``new``), or was put away (``old``), by a way back."""
        return f"airlock_{part}_{hashlib.sha256(self.options.database.encode()).hexdigest()[:20]}"

    @contextmanager
    def _filling(self, place: Place) -> Iterator[str]:
        """Yield the name of the database to make and fill; what a try before left of it is gone."""
        target = self._beside("new") if place.origin else self._database_of(place)
        with self._connect("") as server:
            for left in (target, self._beside("old")) if place.origin else (target,):
                whole.drop(server, self._connect, left, self.label)
        try:
            yield target
        except BaseException:
            if place.origin:  # a scratch place is discarded by who asked for it
                with suppress(AirlockError), self._connect("") as server:
                    whole.drop(server, self._connect, target, self.label)
            raise

    def _environment(self, database: str) -> dict[str, str]:
        given = airflow_connection(self.options.connection)
        return programs.client_environment(given, database, self._session_options)

    def _dump(self, database: Any, name: str, *arguments: str) -> Iterator[bytes]:
        # in the database's own encoding: whatever it holds passes unchanged
        encoding = database.execute("SHOW server_encoding").fetchone()[0]
        command = [self._program("pg_dump"), f"--encoding={encoding}", *programs.DUMP_ARGUMENTS, *arguments]
        return programs.read_from(command, self._environment(name), self.label)

    @staticmethod
    def _snapshot(database: Any) -> str:
        """Begin a transaction and return the argument by which ``pg_dump`` sees the same moment."""
        measure.begin(database)
        return f"--snapshot={database.execute('SELECT pg_catalog.pg_export_snapshot()').fetchone()[0]}"

    def _schema(self, name: str, database: Any, snapshot: str) -> str:
        return schema.schema_digest(self._dump(database, name, *schema.ARGUMENTS, snapshot))

    def _facts(self, database: Any, name: str, key: str) -> dict[str, Any]:
        with self._connect("") as server:
            return measure.read_facts(database) | whole.read_facts(server, name, key)

    @cached_property
    def _session_options(self) -> str:
        return programs.session_options(self._parameters(""))

    def _parameters(self, database: str) -> dict[str, Any]:
        found = postgres_parameters(self.options.connection, database)
        if not database and found["dbname"] == self.options.database:
            # a database can neither be renamed nor dropped from within
            found["dbname"] = "postgres" if self.options.database != "postgres" else "template1"
        return found | {"client_encoding": "utf8"}

    @contextmanager
    def _connect(self, database: str) -> Iterator[Any]:
        """Yield a psycopg connection in autocommit mode (an empty name: to a database beside the origin); the errors
        of its body are put in our words."""
        parameters = self._parameters(database)
        where = (f"PostgreSQL at {parameters['host']}:{parameters['port']}, database {parameters['dbname']}, "
                 f"connection {self.options.connection}")  # fmt: skip
        with session(parameters, self._session_options, self.label, where) as opened:
            yield opened

    def _refuse_missing_roles(self, point: RecoveryPoint) -> None:
        with self._connect("") as server:
            there = {row[0] for row in server.execute("SELECT rolname FROM pg_catalog.pg_roles")}
        missing = sorted(set(point.facts["roles"]) - there)
        if missing:
            raise PermanentError(
                f"{self.label}: the server has no role {', '.join(missing)}, which recovery point {point.id} "
                f"needs; create it (its definition is in roles.sql of the recovery point), then restore again"
            )
