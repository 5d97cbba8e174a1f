"""The running PostgreSQL server that a connection leads to, as the driver ``postgres_pitr`` sees it.

Knows sessions, and how programs are told where to connect; no store, no files.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Any

from airlock.backup.drivers.databases import postgres_programs as programs
from airlock.backup.drivers.databases import postgres_schema as schema
from airlock.backup.drivers.databases.postgres_session import session
from airlock.connections import connection as airflow_connection
from airlock.connections import postgres_parameters
from airlock.errors import PermanentError, TemporaryError

log = logging.getLogger(__name__)
_LEAST = 17
_SIZE = "SELECT sum(pg_catalog.pg_database_size(oid))::bigint FROM pg_catalog.pg_database"
_NOW = (
    "SELECT pg_catalog.pg_is_in_recovery(), pg_catalog.current_setting('archive_mode'), (SELECT last_failed_time > "
    "coalesce(last_archived_time, '-infinity') FROM pg_catalog.pg_stat_archiver)"
)
_TABLESPACES = "SELECT spcname FROM pg_catalog.pg_tablespace WHERE spcname !~ '^pg_' ORDER BY 1"
_SLOTS = (
    "SELECT slot_name, wal_status, pg_catalog.pg_size_pretty(pg_catalog.pg_wal_lsn_diff("
    "pg_catalog.pg_current_wal_insert_lsn(), restart_lsn)) FROM pg_catalog.pg_replication_slots WHERE NOT active AND"
    " NOT temporary AND NOT pg_catalog.pg_is_in_recovery() ORDER BY 1"
)
_SETTINGS = ("max_prepared_transactions", "max_locks_per_transaction")
_SUPERUSER = "SELECT rolname FROM pg_catalog.pg_roles WHERE oid = 10"


class Origin:
    """One server, by the Airflow connection *connection*."""

    def __init__(self, connection: str, folder: str, label: str) -> None:
        """Remember them; *folder* is that of PostgreSQL's programs. Contacts nothing."""
        self.connection, self._folder, self._label = connection, folder, label

    @contextmanager
    def connect(self, database: str) -> Iterator[Any]:
        """Yield a session in *database*; with an empty name in that of the connection."""
        parameters = postgres_parameters(self.connection, database)
        where = (
            f"PostgreSQL at {parameters['host']}:{parameters['port']}, database {parameters['dbname']}, connection "
            f"{self.connection}"
        )
        with session(parameters, self._options, self._label, where) as opened:
            yield opened

    def dump(self, name: str, opened: Any, snapshot: str) -> Iterator[bytes]:
        """Yield the text of the schema of the database *name* at a *snapshot* of the session *opened*."""
        given = airflow_connection(self.connection)
        environment = programs.client_environment(given, name, self._options)
        return schema_text(self.program("pg_dump"), environment, opened, snapshot, self._label)

    def program(self, name: str) -> str:
        """Return the path of one of PostgreSQL's programs."""
        return programs.find_program(name, self._folder, self._label)

    def replication_environment(self) -> dict[str, str]:
        """Return the environment of programs that speak the protocol of replication."""
        return programs.client_environment(airflow_connection(self.connection), "")

    def size(self, watcher: Any) -> int:
        """Return the bytes of all databases."""
        return int(watcher.execute(_SIZE).fetchone()[0])

    def unread_slots(self, watcher: Any) -> list[str]:
        """Return the replication slots that nobody reads: each keeps the log at the server until its disk is full."""
        found = watcher.execute(_SLOTS).fetchall()
        for name, status, size in found:
            log.warning(
                "%s: nobody reads the replication slot %s, which keeps %s of the log at the server (%s); next: let "
                "its reader go on, or drop it before the disk is full",
                self._label,
                name,
                size,
                status,
            )
        return [str(name) for name, _, _ in found]

    def needed_settings(self, watcher: Any) -> dict[str, str]:
        """Return what a server must have set to recover files of this one, and who its first superuser is."""
        found = {name: str(watcher.execute(f"SHOW {name}").fetchone()[0]) for name in _SETTINGS}
        return {**found, "superuser": str(watcher.execute(_SUPERUSER).fetchone()[0])}

    def refuse_what_cannot_be_taken(self, watcher: Any) -> None:
        """Check that a backup can be taken now.

        :raises PermanentError: it is older than 17, is a standby, or has tablespaces
        :raises TemporaryError: its archiver fails, for which the end of a backup would wait
        """
        version = watcher.info.server_version // 10000
        standby, archives, failing = watcher.execute(_NOW).fetchone()
        spaces = [str(name) for (name,) in watcher.execute(_TABLESPACES)]
        why = ""
        if version < _LEAST:
            why = f"it has version {version}, and incremental backups came with {_LEAST}"
        elif standby:
            why = "it is a standby, whose log ends where the primary's goes on: name the primary in the connection"
        elif spaces:
            why = f"it has tablespaces ({', '.join(spaces[:5])}), which lie outside of its data directory"
        if why:
            raise PermanentError(
                f"{self._label}: the server cannot be backed up by this driver: {why}; next: use the "
                "driver postgres for its databases, or mend that"
            )
        if archives != "off" and failing:
            raise TemporaryError(
                f"{self._label}: archive_command or archive_library of the server fails, and a base backup "
                "ends only when its log is archived; next: look into pg_stat_archiver and the server's log"
            )

    @cached_property
    def _options(self) -> str:
        always = programs.session_options(postgres_parameters(self.connection, ""))
        return f"{always} -c idle_session_timeout=0"


def schema_text(pg_dump: str, environment: dict[str, str], opened: Any, snapshot: str, label: str) -> Iterator[bytes]:
    """Yield what ``pg_dump`` says of the schema of the database that *environment* names."""
    encoding = opened.execute("SHOW server_encoding").fetchone()[0]
    command = [pg_dump, f"--encoding={encoding}", *programs.DUMP_ARGUMENTS, *schema.ARGUMENTS, f"--snapshot={snapshot}"]
    yield from programs.read_from(command, environment, label)
