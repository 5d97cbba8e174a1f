"""A PostgreSQL database whose schema releases change: what was applied to it, and applying and undoing one migration.

What was applied is kept in the database itself (table ``airlock.migrations``), in the transaction of the migration, so
that a process may be killed at any moment: either both are there or neither. An index that is made or dropped
CONCURRENTLY cannot be part of a transaction; its row is written before, and the catalog is asked what became of it.
Well-kept migration tools want a folder, their own files or their own history; Airlock's migrations come out of an
approved artifact, so this runner is its own. Knows no plan, no permit and no rule.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from airlock.connections import postgres_parameters
from airlock.errors import PermanentError, TemporaryError
from airlock.models import ConcurrentIndex, Migration, Resource
from airlock.plain_text import harmless
from airlock.service_model import Migrations

log = logging.getLogger(__name__)
_LOCK = int.from_bytes(hashlib.sha256(b"airlock.migrations").digest()[:8], "big", signed=True)
_IS_THERE = "SELECT to_regclass('airlock.migrations')"
_TABLE = """
CREATE SCHEMA IF NOT EXISTS airlock;
CREATE TABLE IF NOT EXISTS airlock.migrations (
    name text PRIMARY KEY,
    digest text NOT NULL,
    release text NOT NULL,
    finished boolean NOT NULL,
    at timestamptz NOT NULL DEFAULT clock_timestamp()
)"""
_FOR_GOOD = ("authentication", "password", "does not exist")
_HINTS = {
    "57014": "raise statement_timeout_seconds, or do less at once",
    "42501": "give the role of the connection the right to do that",
}
# Classes and states of SQLSTATE that pass: connection, resources, deadlock, serialization, lock timeout, shutdown.
_PASSES = ("08", "53", "40001", "40P01", "55P03", "57P01", "57P02", "57P03")


def database_of(setting: Migrations, resources: Sequence[Resource]) -> MigrationDatabase:
    """Return the database that the migrations of a service environment belong to: one of its *resources*."""
    resource = next(one for one in resources if one.name == setting.resource)
    return MigrationDatabase(setting.connection, str(resource.options["database"]), setting.lock_timeout_seconds,
                             setting.statement_timeout_seconds)


@dataclass(frozen=True)
class Applied:
    """One migration that was applied, by which release. ``finished`` is false for an index that may be half made."""

    name: str
    digest: str
    release: str
    finished: bool


class MigrationDatabase:
    """The database *name* behind the Airflow connection *connection*. Every call opens and closes its own session."""

    def __init__(
        self, connection: str, name: str, lock_timeout_seconds: float, statement_timeout_seconds: float
    ) -> None:
        self.connection = connection
        self.name = name
        self._settings = {
            "lock_timeout": f"{lock_timeout_seconds * 1000:.0f}ms",
            "statement_timeout": f"{statement_timeout_seconds * 1000:.0f}ms",
            "standard_conforming_strings": "on",
        }

    def applied(self) -> dict[str, Applied]:
        """Return what was applied, by name, in order. A database that was never migrated has none.

        :raises TemporaryError: the database cannot be asked now
        :raises PermanentError: it will not be answered, for example without the right to look
        """
        with self._session("reading what was applied") as session:
            return self._rows(session)

    def check_same(self, connection: str) -> None:
        """Check that *connection*, by which the database is backed up, leads to the very same database.

        :raises PermanentError: it leads to another one, so what is migrated would not be what is backed up
        """
        query = ("SELECT (SELECT system_identifier FROM pg_control_system()), "
                 "(SELECT oid FROM pg_database WHERE datname = current_database())")
        found = []
        for one in (self.connection, connection):
            with self._session("asking which database it is", one) as session:
                found.append(session.execute(query).fetchone())
        if found[0] != found[1]:
            raise PermanentError(
                f"{self.name}: the connection {self.connection}, which migrates, leads to another database than "
                f"{connection}, which backs up: correct 'migrations' or the resource in the service file"
            )

    def apply(self, migration: Migration, release: str, index: ConcurrentIndex | None = None) -> bool:
        """Carry out *migration* and keep that; return whether it was done now. Idempotent, also after a kill.

        :param index: the one index that its SQL makes or drops CONCURRENTLY, if that is what it does
        :raises TemporaryError: a lock could not be had in time, another session migrates, or the database is away
        :raises PermanentError: a statement failed, or the migration was applied with other content; nothing was changed
        """
        with self._session(f"migration {migration.name}") as session:
            self._alone(session)
            if session.execute(_IS_THERE).fetchone()[0] is None:
                session.execute(_TABLE.encode())
            there = self._rows(session).get(migration.name)
            if there is not None and there.digest != migration.up_digest:
                raise PermanentError(
                    f"migration {migration.name} was applied to {self.name} as {there.digest} by {there.release}, and "
                    f"is {migration.up_digest} now: it was changed after it was applied; write a new one instead"
                )
            if there is not None and there.finished:
                return False
            if index is None:
                with self._transaction(session, migration.up, migration.name):
                    self._keep(session, migration, release, finished=True)
                return True
            if there is None:
                self._not_there(session, index, migration.name)
                self._keep(session, migration, release, finished=False)
            self._index(session, index, migration.up, migration.name)
            session.execute("UPDATE airlock.migrations SET finished = true WHERE name = %s", [migration.name])
            return True

    def undo(self, migration: Migration, release: str, index: ConcurrentIndex | None = None) -> bool:
        """Carry out the SQL back of *migration*, which *release* applied; return whether it was done now. Idempotent.

        :param index: the one index that its SQL back makes or drops CONCURRENTLY, if that is what it does
        :raises TemporaryError: as ``apply``
        :raises PermanentError: there is no SQL back, or a statement of it failed; nothing was changed
        """
        if migration.down is None:
            raise PermanentError(f"migration {migration.name} has no SQL back; restore {self.name}, or fix forward")
        with self._session(f"the way back of {migration.name}") as session:
            self._alone(session)
            there = self._rows(session).get(migration.name)
            if there is None or there.release != release:
                return False
            forget = ("DELETE FROM airlock.migrations WHERE name = %s", [migration.name])
            if index is None:
                with self._transaction(session, migration.down, migration.name):
                    session.execute(*forget)
            else:
                self._index(session, index, migration.down, migration.name)
                session.execute(*forget)
            return True

    # --- parts --------------------------------------------------------------------------------------------------------

    @staticmethod
    def _rows(session: Any) -> dict[str, Applied]:
        if session.execute(_IS_THERE).fetchone()[0] is None:
            return {}
        rows = session.execute("SELECT name, digest, release, finished FROM airlock.migrations ORDER BY name")
        return {row[0]: Applied(*row) for row in rows}

    @staticmethod
    def _keep(session: Any, migration: Migration, release: str, finished: bool) -> None:
        session.execute(
            "INSERT INTO airlock.migrations (name, digest, release, finished) VALUES (%s, %s, %s, %s)",
            [migration.name, migration.up_digest, release, finished],
        )

    def _alone(self, session: Any) -> None:
        if not session.execute("SELECT pg_try_advisory_lock(%s)", [_LOCK]).fetchone()[0]:
            raise TemporaryError(
                f"another session migrates {self.name} now, perhaps that of a task that was killed, which the server "
                "ends soon; this is tried again"
            )

    @contextmanager
    def _transaction(self, session: Any, text: str, name: str) -> Iterator[None]:
        """Carry out *text* and the block, all or nothing."""
        begun = time.monotonic()
        session.autocommit = False
        own = session.execute("SELECT pg_current_xact_id()::text").fetchone()
        session.execute(text.encode())  # as a whole and without parameters: the server takes several statements so
        if session.execute("SELECT pg_current_xact_id()::text").fetchone() != own:
            raise PermanentError(
                f"migration {name} ended its own transaction, so a part of it may have been kept: look at {self.name} "
                "and correct the migration"
            )
        yield
        session.commit()
        session.autocommit = True
        log.info("%s: migration %s committed after %.1f s", self.name, name, time.monotonic() - begun)

    def _index(self, session: Any, index: ConcurrentIndex, text: str, name: str) -> None:
        """Make or drop *index*, unless a try before did. What a try left half made is dropped and made anew."""
        import psycopg

        begun = time.monotonic()
        valid = self._is_valid(session, index)
        if valid is (True if index.makes else None):
            log.info("%s: index %s is as migration %s wants it already", self.name, index.name, name)
            return
        if index.makes and valid is False:
            log.warning("%s: index %s is half made: it is dropped and made anew", self.name, index.name)
            self._drop(session, index)
        try:
            session.execute(text.encode())
        except psycopg.Error:
            if index.makes and not session.broken:
                if self._is_valid(session, index) is False:
                    self._drop(session, index)
                session.execute("DELETE FROM airlock.migrations WHERE name = %s", [name])
            raise
        seconds = time.monotonic() - begun
        log.info("%s: migration %s done, without a transaction, after %.1f s", self.name, name, seconds)

    def _not_there(self, session: Any, index: ConcurrentIndex, name: str) -> None:
        """Check that the index that a migration is to make is not somebody else's."""
        if index.makes and not index.tolerant and self._is_valid(session, index) is not None:
            raise PermanentError(
                f"{self.name}: index {index.name} is there already, and no migration of Airlock made it, so migration "
                f"{name} cannot: drop it, or write IF NOT EXISTS"
            )

    def _is_valid(self, session: Any, index: ConcurrentIndex) -> bool | None:
        """Return whether the index can be used; ``None`` if it is not there."""
        beside = index.table or index.name
        row = session.execute(
            "SELECT i.indisvalid FROM pg_class c JOIN pg_index i ON i.indexrelid = c.oid WHERE c.relname = %s AND "
            "c.relnamespace = (SELECT relnamespace FROM pg_class WHERE oid = to_regclass(%s))",
            [index.name, _quoted(index.schema_name, beside)],
        ).fetchone()
        return None if row is None else bool(row[0])

    def _drop(self, session: Any, index: ConcurrentIndex) -> None:
        from psycopg import sql

        schema = session.execute(
            "SELECT n.nspname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
            "WHERE c.oid = to_regclass(%s)",
            [_quoted(index.schema_name, index.table)],
        ).fetchone()[0]
        session.execute(sql.SQL("DROP INDEX CONCURRENTLY IF EXISTS {}").format(sql.Identifier(schema, index.name)))

    @contextmanager
    def _session(self, what: str, connection: str = "") -> Iterator[Any]:
        """Yield a session in autocommit mode, through *connection* if it is given; its errors are put in our words."""
        import psycopg

        parameters = postgres_parameters(connection or self.connection, self.name)
        try:
            with psycopg.connect(**parameters, autocommit=True) as session:
                for key, value in self._settings.items():
                    session.execute("SELECT set_config(%s, %s, false)", [key, value])
                self._notice_a_dead_client(session)
                yield session
        except psycopg.Error as error:
            raise self._failure(what, error) from error

    @staticmethod
    def _notice_a_dead_client(session: Any) -> None:
        """Let the server end what a killed process began. (PostgreSQL 14; not on every system.)"""
        import psycopg

        try:
            session.execute("SELECT set_config(name, '2s', false) FROM pg_settings "
                            "WHERE name = 'client_connection_check_interval'")
        except psycopg.DatabaseError:
            log.debug("the server cannot look whether its client is there; a killed task's statement runs to its end")

    def _failure(self, what: str, error: Any) -> TemporaryError | PermanentError:
        """Return the error for what the server said: its first line only, because the rest may show rows."""
        import psycopg

        state = error.sqlstate or ""
        said = " ".join(harmless(error.diag.message_primary or str(error)).split())[:300] or type(error).__name__
        where = f"{self.name}, connection {self.connection}: {what}"
        away = isinstance(error, psycopg.OperationalError) and not state and not any(sign in said for sign in _FOR_GOOD)
        if state.startswith(_PASSES) or away:
            return TemporaryError(f"{where}: {said}; nothing was changed by this try, it is made again")
        hint = _HINTS.get(state, "correct the migration")
        return PermanentError(f"{where} failed: {said} (SQLSTATE {state or 'none'}); nothing was changed; {hint}")


def _quoted(*parts: str) -> str:
    return ".".join('"' + part.replace('"', '""') + '"' for part in parts if part)
