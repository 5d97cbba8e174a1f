"""Asks a PostgreSQL server what the connection's role is and may do, by its own has_*_privilege functions. Reads
catalogs only, in a session that cannot write."""

# ruff: noqa: E501 - queries read best in long lines
from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from airlock.connections import postgres_parameters
from airlock.doctor.finding import Finding, Gravity, Subject
from airlock.doctor.measures import clock, version_in
from airlock.doctor.probes.programs import said_version
from airlock.errors import PermanentError, TemporaryError
from airlock.models import utc_now
from airlock.models.needs import Permission, Program

_ROLE = "SELECT rolname, rolsuper, rolcreatedb, rolreplication FROM pg_catalog.pg_roles WHERE rolname = current_user"
_UNREADABLE = (
    "SELECT c.oid::regclass::text FROM pg_catalog.pg_class c WHERE c.relkind IN ('r', 'm', 'p', 'S') AND c.relnamespace "
    "NOT IN ('pg_catalog'::regnamespace, 'information_schema'::regnamespace) AND NOT CASE c.relkind WHEN 'S' THEN "
    "pg_catalog.has_sequence_privilege(c.oid, 'SELECT') ELSE pg_catalog.has_table_privilege(c.oid, 'SELECT') END "
    "AND c.relpersistence <> 't' ORDER BY 1"
)
_OWNERS = (
    "SELECT DISTINCT pg_catalog.pg_get_userbyid(o) FROM (SELECT relowner FROM pg_catalog.pg_class UNION SELECT nspowner "
    "FROM pg_catalog.pg_namespace WHERE nspname !~ '^pg_' UNION SELECT datdba FROM pg_catalog.pg_database WHERE datname "
    "= pg_catalog.current_database()) AS all_of(o) WHERE NOT pg_catalog.pg_has_role(o, 'MEMBER') AND o <> 10 AND pg_catalog.pg_get_userbyid(o) !~ '^pg_' ORDER BY 1"
)
_OWNER = (
    "SELECT pg_catalog.pg_has_role(datdba, 'MEMBER') FROM pg_catalog.pg_database WHERE datname = "
    "pg_catalog.current_database()"
)
_SIGNAL = "SELECT pg_catalog.pg_has_role('pg_signal_backend', 'MEMBER')"
_SUMMARIZES = "SELECT coalesce(pg_catalog.current_setting('summarize_wal', true), 'off')"
_SLOTS = (
    "SELECT slot_name, pg_catalog.pg_size_pretty(pg_catalog.pg_wal_lsn_diff(pg_catalog.pg_current_wal_insert_lsn(), "
    "restart_lsn)), coalesce(wal_status, 'lost') FROM pg_catalog.pg_replication_slots WHERE NOT active AND NOT temporary "
    "AND NOT pg_catalog.pg_is_in_recovery() ORDER BY 1"
)
_SHOWN = 5


def ask(
    subject: Subject, connection: str, database: str, permissions: Sequence[Permission], programs: Sequence[Program]
) -> Iterator[Finding]:
    """Ask the server of *connection* for each right on *database*, its version and its clock."""
    import psycopg

    actions = {action: permission for permission in permissions for action in permission.actions}
    try:
        with _session(connection, database) as session:
            yield subject.fine(f"the database {database} can be connected to")
            yield from _clock(subject, session)
            yield from _versions(subject, session, programs)
            yield from _rights(subject, session, actions)
            if "replication" in actions:
                yield from _log(subject, session)
    except psycopg.Error as error:
        # only the first line: the rest may quote what was asked for
        said = (str(error).splitlines() or [type(error).__name__])[0][:300]
        kind = TemporaryError if isinstance(error, psycopg.OperationalError) else PermanentError
        raise kind(f"connection {connection}: {said}; check address, log-in and pg_hba.conf of the server") from None


def _session(connection: str, database: str) -> Any:
    import psycopg

    return psycopg.connect(**{**postgres_parameters(connection, database), "connect_timeout": 5}, autocommit=True,
                           options="-c default_transaction_read_only=on -c statement_timeout=10000")  # fmt: skip


def _clock(subject: Subject, session: Any) -> Iterator[Finding]:
    before = utc_now()
    told = session.execute("SELECT pg_catalog.clock_timestamp()").fetchone()[0]
    yield clock(subject, told, before, utc_now())


def _versions(subject: Subject, session: Any, programs: Sequence[Program]) -> Iterator[Finding]:
    import shutil

    number = session.info.server_version // 10000
    for program in programs:
        found = shutil.which(program.name, path=program.folder or None)
        version = version_in(said_version(found)) if found else ()
        if version and version[0] < number:
            yield subject.fault(f"{found} has version {version[0]}, and the server has version {number}",
                                "it refuses a server that is newer than itself",
                                f"install the client programs of PostgreSQL {number}")  # fmt: skip


def _log(subject: Subject, session: Any) -> Iterator[Finding]:
    """Ask how the server keeps its log: for whom, and whether it tells what changed."""
    if session.execute(_SUMMARIZES).fetchone()[0] == "off":
        yield subject.found(Gravity.WARNING, "the server keeps no summaries of its log (summarize_wal)",
                            "every backup of it is a full one", "ALTER SYSTEM SET summarize_wal = on; it needs no restart")
    for name, size, status in session.execute(_SLOTS).fetchall():
        yield subject.found(Gravity.WARNING, f"nobody reads the replication slot {name}, which keeps {size} of the log "
                            f"({status})", "the log is kept until the server's disk is full",
                            "let its reader go on, or drop it; max_slot_wal_keep_size is a limit")  # fmt: skip


def _rights(subject: Subject, session: Any, actions: dict[str, Permission]) -> Iterator[Finding]:
    name, superuser, createdb, replication = session.execute(_ROLE).fetchone()
    if superuser:
        yield subject.fine(f"the role {name} is a superuser, which may do all that is needed")
        return
    lacking: dict[str, tuple[str, str]] = {}
    if not createdb:
        lacking["createdb"] = (f"the role {name} may not create databases", f"ALTER ROLE {name} CREATEDB")
    if not replication:
        lacking["replication"] = (f"the role {name} may not replicate", f"ALTER ROLE {name} REPLICATION")
    if unreadable := _names(session, _UNREADABLE):
        lacking["read every table"] = (f"the role {name} may not read {unreadable}",
                                       f"GRANT pg_read_all_data TO {name}")  # fmt: skip
    if owners := _names(session, _OWNERS):
        lacking["be every owner"] = (f"the role {name} is no member of {owners}", f"GRANT <owner> TO {name}")
    if not session.execute(_OWNER).fetchone()[0]:
        lacking["own"] = (f"the role {name} does not own the database", f"GRANT its owner TO {name}")
    if not session.execute(_SIGNAL).fetchone()[0]:
        lacking["end sessions"] = (f"the role {name} may not end sessions of others",
                                   f"GRANT pg_signal_backend TO {name}")  # fmt: skip
    for action, (what, mend) in lacking.items():
        if action in actions:
            needed = actions[action]
            yield subject.fault(what, f"it is needed for {', '.join(needed.stages)}"
                                f"{f': {needed.why}' if needed.why else ''}", mend)  # fmt: skip
    if not lacking.keys() & actions.keys():
        yield subject.fine(f"the role {name} may do all that is needed")


def _names(session: Any, query: str) -> str:
    found = [str(row[0]) for row in session.execute(query).fetchall()]
    more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    return ", ".join(found[:_SHOWN]) + more


def connects(subject: Subject, connection: str) -> Iterator[Finding]:
    """Ask whether *connection* can be connected to at all; Gravity of what fails is that of a release's failure."""
    import psycopg

    try:
        with _session(connection, "") as session:
            session.execute("SELECT 1")
    except psycopg.Error as error:
        said = (str(error).splitlines() or [type(error).__name__])[0][:300]
        yield subject.found(Gravity.FAULT, f"connection {connection}: {said}", "it is needed for a release",
                            "check address, log-in and pg_hba.conf of the server")  # fmt: skip
        return
    yield subject.fine(f"connection {connection} leads to a database")
