"""Back up one PostgreSQL database with ``pg_dump``, and prove it by restoring it into a scratch database beside it.

The dump and the facts that a proof compares with see the same moment: both use one exported snapshot. Knows PostgreSQL
and the driver contract; the programs' processes and the catalog's queries live in the two modules beside this one.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, ClassVar

from pydantic import Field

from airlock.backup.driver import Capabilities, Place, StreamDriver, Write
from airlock.backup.drivers.databases import postgres_facts as measure
from airlock.backup.drivers.databases import postgres_programs as programs
from airlock.connections import connection as airflow_connection
from airlock.connections import postgres_parameters
from airlock.errors import InvalidInput, PermanentError
from airlock.identity import server_identity
from airlock.models import Check, Inspection, Kind, RecoveryPoint, StoredObject, canonical_json, digest_of
from airlock.options import Options as DriverOptions

log = logging.getLogger(__name__)
_COMPARED = ("tables", "constraints", "grants", "owners", "roles", "database")
# Settings that are lists: the server keeps them as quoted text already.
_LISTS = frozenset({"search_path", "temp_tablespaces", "local_preload_libraries", "session_preload_libraries"})


class PostgresOptions(DriverOptions):
    """Options of the driver ``postgres``."""

    connection: str = Field(description="Airflow connection of a role that may create databases and read everything")
    database: str = Field(min_length=1, max_length=63, description="the database to back up")
    programs: str = Field("", description="folder of pg_dump, pg_restore, pg_dumpall and psql; empty: the ones on PATH")

    def identities(self) -> tuple[str, ...]:
        return (server_identity("postgresql", self.connection, 5432, self.database),)


class PostgresDriver(StreamDriver):
    """One database of a PostgreSQL server, version 12 or later."""

    kind: ClassVar[Kind] = Kind.DATABASES
    Options = PostgresOptions
    options: PostgresOptions
    capabilities: ClassVar[Capabilities] = Capabilities(
        consistent="one snapshot of the whole database; sequences (never part of a snapshot) during the dump",
        needs_programs=("pg_dump", "pg_restore", "pg_dumpall", "psql"),
    )

    def inspect(self) -> Inspection:
        """Look at size and content. The server reads every table to hash it; no row leaves the server."""
        found = self._size()
        if found is None:
            return Inspection(present=False, detail={"database": self.options.database})
        with self._connect(self.options.database) as database:
            database.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            facts = measure.read_facts(database)
            version = database.execute("SHOW server_version").fetchone()[0]
        detail = {"database": self.options.database, "tables": len(facts["tables"]), "server_version": version}
        return Inspection(present=True, size_bytes=found, fingerprint=digest_of(facts), detail=detail)

    def plan(self) -> dict[str, Any]:
        found = self._size()  # without a look at the content, so that a plan is cheap for any size
        return {"resource": self.label, "driver": self.resource.driver, "present": found is not None,
                "size_bytes": found, "store": self.store.location}  # fmt: skip

    def _size(self) -> int | None:
        query = "SELECT pg_catalog.pg_database_size(oid) FROM pg_catalog.pg_database WHERE datname = %s"
        with self._connect("") as server:
            row = server.execute(query, [self.options.database]).fetchone()
        return None if row is None else int(row[0])

    def take(self, write: Write) -> dict[str, Any]:
        with self._connect(self.options.database) as database:
            database.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            snapshot = database.execute("SELECT pg_catalog.pg_export_snapshot()").fetchone()[0]
            begun = time.monotonic()
            before = measure.next_values(database)
            dump = self._dump(self.options.database, "--format=custom", "--compress=none", f"--snapshot={snapshot}")
            stored = write("database.dump", dump)
            log.info(
                "%s: database %s dumped at snapshot %s: %d bytes, %.1f s",
                self.label,
                self.options.database,
                snapshot,
                stored.plain_bytes,
                time.monotonic() - begun,
            )
            facts = self._facts(database, self.options.database, f"--snapshot={snapshot}")
            # the dump read each sequence at a moment between these two
            facts["sequences"] = {
                name: sorted((before.get(name, value), value)) for name, value in facts["sequences"].items()
            }
            moment = database.execute(
                "SELECT pg_catalog.pg_is_in_recovery(), current_setting('server_version')"
            ).fetchone()
            position = "pg_catalog.pg_last_wal_replay_lsn()" if moment[0] else "pg_catalog.pg_current_wal_lsn()"
            facts["wal_position"] = str(database.execute(f"SELECT {position}").fetchone()[0])
            facts["server_version"] = moment[1]
            grants = [list(row) for row in database.execute(measure.GRANTS_OF_DATABASE)]
        write(
            "roles.sql",
            programs.read_from(
                [self._program("pg_dumpall"), "--roles-only", "--no-role-passwords", "--no-password"],
                self._environment(self.options.database),
                self.label,
            ),
        )
        write("grants.json", [canonical_json(grants)])
        return facts

    def restore(self, point: RecoveryPoint, place: Place) -> None:
        name = self._database_of(place)
        database_facts = point.facts["database"]
        objects = {stored.name: stored for stored in point.objects}
        for _ in self.store.read(objects["roles.sql"]):
            pass  # the way back of last resort for people: a backup without it is not whole
        self._refuse_missing_roles(point)
        if not place.origin:
            self._create(name, database_facts)
        begun = time.monotonic()
        run = programs.ScriptRun(
            [
                self._program("pg_restore"),
                "--file=-",
                "--exit-on-error",
                *(("--clean", "--if-exists") if place.origin else ()),
            ],
            [self._program("psql"), "--no-psqlrc", "--quiet", "--no-password", "--set=ON_ERROR_STOP=1", "--file=-"],
            self._environment(name),
            self.label,
        )
        # PostgreSQL itself rolls back everything when a statement fails or the stream turns out to be damaged
        run.run(
            measure.DROP_EVERYTHING if place.origin else "",
            self.store.read(objects["database.dump"]),
            self._closing(name, database_facts, objects["grants.json"]),
        )
        log.info(
            "%s: recovery point %s restored into database %s, %.1f s",
            self.label,
            point.id,
            name,
            time.monotonic() - begun,
        )

    def prove(self, point: RecoveryPoint, place: Place) -> tuple[Check, ...]:
        name = self._database_of(place)
        with self._connect(name) as database:
            database.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            snapshot = database.execute("SELECT pg_catalog.pg_export_snapshot()").fetchone()[0]
            found = self._facts(database, name, f"--snapshot={snapshot}")
        checks = [
            self._check("schema", point.facts["schema"], found["schema"]),
            self._check("large objects", point.facts["large_objects"], found["large_objects"]),
        ]
        ranges: Mapping[str, list[int]] = point.facts["sequences"]
        checks.append(self._check("names of sequences", sorted(ranges), sorted(found["sequences"])))
        for key, (least, most) in sorted(ranges.items()):
            value = found["sequences"].get(key)
            checks.append(
                Check(
                    name=f"sequences {key}",
                    expected={"least": least, "most": most},
                    found=value,
                    ok=value is not None and least <= value <= most,
                )
            )
        for part in _COMPARED:
            expected: Mapping[str, Any] = point.facts[part]
            checks.append(self._check(f"names of {part}", sorted(expected), sorted(found[part])))
            checks.extend(
                self._check(f"{part} {key}", value, found[part].get(key)) for key, value in sorted(expected.items())
            )
        return tuple(checks)

    def discard(self, place: Place) -> None:
        from psycopg import sql

        if place.origin:
            raise InvalidInput(f"{self.label}: the origin is no scratch place and is never discarded")
        name = self._database_of(place)
        with self._connect("") as server:
            server.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))
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

    def _environment(self, database: str) -> dict[str, str]:
        return programs.client_environment(airflow_connection(self.options.connection), database)

    def _dump(self, database: str, *arguments: str) -> Iterator[bytes]:
        return programs.read_from(
            [self._program("pg_dump"), "--no-password", *arguments], self._environment(database), self.label
        )

    def _facts(self, database: Any, name: str, snapshot: str) -> dict[str, Any]:
        facts = measure.read_facts(database)
        facts["schema"] = measure.schema_digest(self._dump(name, "--schema-only", snapshot))
        return facts

    @contextmanager
    def _connect(self, database: str) -> Iterator[Any]:
        """Yield a psycopg connection in autocommit mode; the errors of its body are put in our words."""
        import psycopg

        parameters = postgres_parameters(self.options.connection, database)
        try:
            with psycopg.connect(**parameters, autocommit=True) as opened:
                for setting in measure.SETTINGS:
                    opened.execute(setting)
                yield opened
        except psycopg.Error as error:
            raise programs.failure(
                self.label,
                f"PostgreSQL at {parameters['host']}:{parameters['port']}, database {parameters['dbname']}, "
                f"connection {self.options.connection}",
                str(error),
            ) from error

    def _refuse_missing_roles(self, point: RecoveryPoint) -> None:
        wanted = sorted(point.facts["roles"])
        with self._connect("") as server:
            there = {
                row[0]
                for row in server.execute("SELECT rolname FROM pg_catalog.pg_roles WHERE rolname = ANY(%s)", [wanted])
            }
        missing = [role for role in wanted if role not in there]
        if missing:
            raise PermanentError(
                f"{self.label}: the server has no role {', '.join(missing)}, which recovery point {point.id} "
                f"needs; create it (its definition is in roles.sql of the recovery point), then restore again"
            )

    def _create(self, name: str, facts: Mapping[str, Any]) -> None:
        from psycopg import sql

        create = sql.SQL("CREATE DATABASE {} OWNER {} TEMPLATE template0 ENCODING {} LC_COLLATE {} LC_CTYPE {}").format(
            sql.Identifier(name),
            sql.Identifier(facts["owner"]),
            sql.Literal(facts["encoding"]),
            sql.Literal(facts["collate"]),
            sql.Literal(facts["ctype"]),
        )
        with self._connect("") as server:
            # a place half filled by a try before is worth nothing; the same call must succeed again
            server.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))
            server.execute(create)
        log.info("%s: scratch database %s created", self.label, name)

    def _closing(self, name: str, facts: Mapping[str, Any], stored: StoredObject) -> str:
        """Return the SQL for what belongs to the database itself and is not in its dump: settings and grants."""
        from psycopg import sql

        database = sql.Identifier(name)
        # the dump's header leaves an empty search_path; nothing below depends on it
        lines = [sql.SQL("ALTER DATABASE {} RESET ALL;").format(database)]
        for setting in facts["settings"]:
            key, _, value = setting.partition("=")
            text = sql.SQL(value) if key in _LISTS else sql.Literal(value)
            lines.append(sql.SQL("ALTER DATABASE {} SET {} TO {};").format(database, sql.SQL(key), text))
        rows = measure.grants_in(b"".join(self.store.read(stored)), self.label)
        if rows and not rows[0][4]:
            lines.append(
                sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC, {};").format(database, sql.Identifier(facts["owner"]))
            )
            for public, role, privilege, grantable, _ in rows:
                grantee = sql.SQL("PUBLIC") if public else sql.Identifier(role)
                lines.append(
                    sql.SQL("GRANT {} ON DATABASE {} TO {}{};").format(
                        sql.SQL(privilege), database, grantee, sql.SQL(" WITH GRANT OPTION" if grantable else "")
                    )
                )
        return "\n".join(line.as_string(None) for line in lines)
