"""The one index that a migration makes or drops CONCURRENTLY, as a database has it. No transaction may hold that, so
the catalog is asked what became of it. Knows no migration."""

from __future__ import annotations

from typing import Any

from airlock.models import ConcurrentIndex


def is_valid(session: Any, index: ConcurrentIndex) -> bool | None:
    """Return whether the index can be used; ``None`` if it is not there."""
    beside = index.table or index.name
    row = session.execute(
        "SELECT i.indisvalid FROM pg_class c JOIN pg_index i ON i.indexrelid = c.oid WHERE c.relname = %s AND "
        "c.relnamespace = (SELECT relnamespace FROM pg_class WHERE oid = to_regclass(%s))",
        [index.name, _quoted(index.schema_name, beside)],
    ).fetchone()
    return None if row is None else bool(row[0])


def drop(session: Any, index: ConcurrentIndex) -> None:
    """Drop the index that was to be made, if it is there."""
    from psycopg import sql

    schema = session.execute(
        "SELECT n.nspname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
        "WHERE c.oid = to_regclass(%s)",
        [_quoted(index.schema_name, index.table)],
    ).fetchone()[0]
    session.execute(sql.SQL("DROP INDEX CONCURRENTLY IF EXISTS {}").format(sql.Identifier(schema, index.name)))


def goes_with(session: Any, index: ConcurrentIndex) -> frozenset[str]:
    """Return what the database loses when SQL that makes or drops *index* is carried out."""
    catalog, found = session.execute("SELECT 'pg_class'::regclass::oid, to_regclass(%s)::oid",
                                     [_quoted(index.schema_name, index.name)]).fetchone()
    return frozenset() if index.makes or found is None else frozenset({f"{catalog}.{found}.0"})


def _quoted(*parts: str) -> str:
    return ".".join('"' + part.replace('"', '""') + '"' for part in parts if part)
