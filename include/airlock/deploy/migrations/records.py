"""What a database keeps of the migrations that were applied to it (table ``airlock.migrations``): which, by which
release, what was there before, and what the migration did to that. Knows an open session; carries out nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from airlock.deploy.migrations.schema_inventory import Held, Traces
from airlock.models import Migration

_COLUMNS = ("SELECT array_agg(attname::text) FROM pg_attribute "
            "WHERE attrelid = to_regclass('airlock.migrations') AND attnum > 0 AND NOT attisdropped")
_TABLE = """
CREATE SCHEMA IF NOT EXISTS airlock;
CREATE TABLE IF NOT EXISTS airlock.migrations (
    name text PRIMARY KEY,
    digest text NOT NULL,
    release text NOT NULL,
    finished boolean NOT NULL,
    at timestamptz NOT NULL DEFAULT clock_timestamp()
);
ALTER TABLE airlock.migrations ADD COLUMN IF NOT EXISTS held text[], ADD COLUMN IF NOT EXISTS changed text[],
    ADD COLUMN IF NOT EXISTS made text[], ADD COLUMN IF NOT EXISTS altered text[]
"""
_NEEDED = frozenset({"name", "digest", "release", "finished", "at", "held", "changed", "made", "altered"})


@dataclass(frozen=True)
class Applied:
    """One migration that was applied, by which release. ``finished`` is false for an index that may be half made."""

    name: str
    digest: str
    release: str
    finished: bool


@dataclass(frozen=True)
class Before:
    """What was there before one migration, and what the migration did to it."""

    held: frozenset[str]
    traces: Traces = field(default_factory=Traces)


def make_ready(session: Any) -> None:
    """Make the table, unless it is there: who may write into it needs no right to make or alter it."""
    found = session.execute(_COLUMNS).fetchone()[0]
    if not set(found or ()) >= _NEEDED:
        session.execute(_TABLE.encode())


def rows(session: Any) -> dict[str, Applied]:
    """Return what was applied, by name, in order. A database that was never migrated has none."""
    if session.execute(_COLUMNS).fetchone()[0] is None:
        return {}
    found = session.execute("SELECT name, digest, release, finished FROM airlock.migrations ORDER BY name")
    return {row[0]: Applied(*row) for row in found}


def keep(session: Any, migration: Migration, release: str, before: Held, traces: Traces, *, finished: bool) -> None:
    """Keep that *release* applied *migration*, what the database held *before*, and what it did to that."""
    session.execute(
        "INSERT INTO airlock.migrations (name, digest, release, finished, held, changed, made, altered) "
        "VALUES (%s, %s, %s, %s, %s, %s, %s, %s)",
        [migration.name, migration.up_digest, release, finished, sorted(before), list(traces.rows),
         sorted(traces.made), sorted(f"{thing} {said}" for thing, said in traces.altered.items())],
    )


def finish(session: Any, name: str) -> None:
    """Keep that migration *name* is finished."""
    session.execute("UPDATE airlock.migrations SET finished = true WHERE name = %s", [name])


def forget(session: Any, name: str) -> None:
    """Keep no more that migration *name* was applied."""
    session.execute("DELETE FROM airlock.migrations WHERE name = %s", [name])


def before(session: Any, name: str) -> Before | None:
    """Return what was there before migration *name*; ``None`` if that is not on record."""
    query = "SELECT held, changed, made, altered FROM airlock.migrations WHERE name = %s"
    there, changed, made, altered = session.execute(query, [name]).fetchone()
    if there is None or made is None or altered is None:
        return None
    digests = dict(one.split(" ", 1) for one in altered)
    return Before(frozenset(there), Traces(tuple(changed or ()), frozenset(made), digests))
