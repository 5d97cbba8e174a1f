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
from collections.abc import Collection, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import Any

from airlock.deploy.migrations import concurrent_index
from airlock.deploy.migrations import records as migration_records
from airlock.deploy.migrations import schema_inventory as held
from airlock.deploy.migrations.records import Applied, Before
from airlock.deploy.migrations.schema_inventory import Traces
from airlock.deploy.postgres_session import Work, milliseconds, open_session
from airlock.errors import PermanentError, TemporaryError
from airlock.models import ConcurrentIndex, Migration, Resource
from airlock.service.model import Migrations

log = logging.getLogger(__name__)
_LOCK = int.from_bytes(hashlib.sha256(b"airlock.migrations").digest()[:8], "big", signed=True)


def database_of(setting: Migrations, resources: Sequence[Resource]) -> MigrationDatabase:
    """Return the database that the migrations of a service environment belong to: one of its *resources*."""
    resource = next(one for one in resources if one.name == setting.resource)
    return MigrationDatabase(setting.connection, str(resource.options["database"]), setting.lock_timeout_seconds,
                             setting.statement_timeout_seconds)


class MigrationDatabase:
    """The database *name* behind the Airflow connection *connection*. Every call opens and closes its own session."""

    def __init__(
        self, connection: str, name: str, lock_timeout_seconds: float, statement_timeout_seconds: float
    ) -> None:
        self.connection = connection
        self.name = name
        self._settings = {
            "lock_timeout": milliseconds(lock_timeout_seconds),
            "statement_timeout": milliseconds(statement_timeout_seconds),
            "standard_conforming_strings": "on",
            "client_encoding": "UTF8",
        }

    def _session(self, what: str, connection: str = "") -> AbstractContextManager[Any]:
        """Return a session, through *connection* if it is given; see ``session``."""
        work = Work(what, mend="correct the migration", limit="statement_timeout_seconds")
        return open_session(connection or self.connection, self.name, self._settings, work)

    def applied(self) -> dict[str, Applied]:
        """Return what was applied, by name, in order. A database that was never migrated has none.

        :raises TemporaryError: the database cannot be asked now
        :raises PermanentError: it will not be answered, for example without the right to look
        """
        with self._session("reading what was applied") as session:
            return migration_records.rows(session)

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
        with self._session(f"migration {migration.name}") as session, self._alone(session):
            migration_records.make_ready(session)
            there = migration_records.rows(session).get(migration.name)
            if there is not None and there.digest != migration.up_digest:
                raise PermanentError(
                    f"migration {migration.name} was applied to {self.name} as {there.digest} by {there.release}, and "
                    f"is {migration.up_digest} now: it was changed after it was applied; write a new one instead"
                )
            if there is not None and there.finished:
                return False
            if index is None:
                self._apply_in_transaction(session, migration, release)
                return True
            if there is None:
                self._not_there(session, index, migration.name)
                migration_records.keep(session, migration, release, held.held(session), Traces(), finished=False)
            self._index(session, index, migration.up, migration.name)
            migration_records.finish(session, migration.name)
            return True

    def undo(self, migration: Migration, release: str, index: ConcurrentIndex | None = None) -> bool:
        """Carry out the SQL back of *migration*, which *release* applied; return whether it was done now. Idempotent.

        :param index: the one index that its SQL back makes or drops CONCURRENTLY, if that is what it does
        :raises TemporaryError: as ``apply``
        :raises PermanentError: there is no SQL back, a statement of it failed, it would drop what was there before the
            migration, or the migration changed rows that were there before; nothing was changed
        """
        if migration.down is None:
            raise PermanentError(f"migration {migration.name} has no SQL back; restore {self.name}, or fix forward")
        with self._session(f"the way back of {migration.name}") as session, self._alone(session):
            there = migration_records.rows(session).get(migration.name)
            if there is None or there.release != release:
                return False
            migration_records.make_ready(session)
            before, then = self._before(session, migration.name), held.held(session)
            if index is None:
                with self._transaction(session, migration.down, migration.name):
                    self._refuse_other(session, migration.name, before, then)
                    migration_records.forget(session, migration.name)
            else:
                gone = before.held & concurrent_index.goes_with(session, index)
                self._refuse(session, migration.name, "would drop what {where} held before it: {what}", gone)
                self._index(session, index, migration.down, migration.name)
                migration_records.forget(session, migration.name)
            return True

    # --- parts --------------------------------------------------------------------------------------------------------

    def _apply_in_transaction(self, session: Any, migration: Migration, release: str) -> None:
        before = held.held(session)
        with self._transaction(session, migration.up, migration.name):
            done = held.traces(session, before)
            migration_records.keep(session, migration, release, before, done, finished=True)
            if done.rows:
                log.warning("%s: migration %s adds, changes or removes rows of %s: its SQL back would not undo that",
                            self.name, migration.name, ", ".join(done.rows)[:300])
            if done.altered:
                log.debug("%s: migration %s alters or drops %d things that were there before it", self.name,
                          migration.name, len(done.altered))

    def _before(self, session: Any, name: str) -> Before:
        """Return what the database held before migration *name*.

        :raises PermanentError: that is not on record, or the migration changed rows that were there before
        """
        before = migration_records.before(session, name)
        if before is None:
            raise PermanentError(
                f"what {self.name} held before migration {name} is not on record, so its SQL back might drop more than "
                "was made; nothing was changed; next: look at its SQL back, and restore or fix forward by hand"
            )
        if before.traces.rows:
            raise PermanentError(
                f"migration {name} added, changed or removed rows of {', '.join(before.traces.rows)[:300]} in "
                f"{self.name}, which its SQL back would not undo; nothing was changed; next: restore, or fix forward "
                "by hand"
            )
        return before

    def _refuse_other(self, session: Any, name: str, before: Before, then: held.Held) -> None:
        """Check that what was there before migration *name* is as it was, and nothing else; else take back what was
        just done.

        :raises PermanentError: it is not
        """
        rows = held.rows_changed(session, before.held)
        found = held.wrong(before.held, before.traces, then, held.held(session))
        if rows:
            session.rollback()
            raise PermanentError(f"the SQL back of migration {name} adds, changes or removes rows of "
                                 f"{', '.join(rows)[:300]} in {self.name}; nothing was changed; next: restore, or fix "
                                 "forward by hand")
        self._refuse(session, name, "would drop what {where} held before it: {what}", found.dropped)
        self._refuse(session, name, "does not bring back, as {where} held it before: {what}", found.otherwise)
        self._refuse(session, name, "would leave in {where} what the migration made: {what}", found.left)

    def _refuse(self, session: Any, name: str, how: str, things: Collection[str]) -> None:
        """Take back what was just done, if there are *things* to which it does what *how* says.

        :raises PermanentError: there are
        """
        if not things:
            return
        session.rollback()
        words = held.described(session, sorted(things)[:10]) or ("what the migration itself dropped",)
        more = f" and {len(things) - 10} more" if len(things) > 10 else ""
        said = how.format(where=self.name, what=", ".join(words) + more)
        raise PermanentError(f"the SQL back of migration {name} {said}; nothing was changed; next: fix forward, or "
                             "restore by hand")

    @contextmanager
    def _alone(self, session: Any) -> Iterator[None]:
        """Keep others out while the block runs: until then only, as the server ends a session some time after it was
        closed, and the next migration begins at once.

        :raises TemporaryError: another session is in
        """
        import psycopg

        if not session.execute("SELECT pg_try_advisory_lock(%s)", [_LOCK]).fetchone()[0]:
            raise TemporaryError(
                f"another session migrates {self.name} now, perhaps that of a task that was killed, which the server "
                "ends soon; this is tried again"
            )
        try:
            yield
        finally:
            with suppress(psycopg.Error):  # of a session that is lost the server lets go by itself
                session.rollback()
                session.execute("SELECT pg_advisory_unlock(%s)", [_LOCK])

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
        log.debug("%s: SQL of migration %s is committed after %.1f s", self.name, name, time.monotonic() - begun)

    def _index(self, session: Any, index: ConcurrentIndex, text: str, name: str) -> None:
        """Make or drop *index*, unless a try before did. What a try left half made is dropped and made anew."""
        import psycopg

        begun = time.monotonic()
        valid = concurrent_index.is_valid(session, index)
        if valid is (True if index.makes else None):
            log.info("%s: index %s is as migration %s wants it already", self.name, index.name, name)
            return
        if index.makes and valid is False:
            log.warning("%s: index %s is half made: it is dropped and made anew", self.name, index.name)
            concurrent_index.drop(session, index)
        try:
            session.execute(text.encode())
        except psycopg.Error:
            if index.makes and not session.broken:
                if concurrent_index.is_valid(session, index) is False:
                    concurrent_index.drop(session, index)
                migration_records.forget(session, name)
            raise
        seconds = time.monotonic() - begun
        log.debug("%s: SQL of migration %s is done, without a transaction, after %.1f s", self.name, name, seconds)

    def _not_there(self, session: Any, index: ConcurrentIndex, name: str) -> None:
        """Check that the index that a migration is to make is not somebody else's."""
        if index.makes and not index.tolerant and concurrent_index.is_valid(session, index) is not None:
            raise PermanentError(
                f"{self.name}: index {index.name} is there already, and no migration of Airlock made it, so migration "
                f"{name} cannot: drop it, or write IF NOT EXISTS"
            )
