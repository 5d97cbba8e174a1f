"""What is compared of a whole PostgreSQL server: every database as the driver ``postgres`` compares one, at one
position of the log.

Rows are read in snapshots, recovery ends at a position: the two are of one moment only if nothing was written while the
snapshots were taken. Such a moment is waited for. Knows connections; no files, stores or recovery points.
"""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from typing import Any

from airlock.backup.drivers.databases import postgres_database as whole
from airlock.backup.drivers.databases import postgres_facts as measure
from airlock.backup.drivers.databases import postgres_schema as schema
from airlock.backup.drivers.databases.postgres_session import explained
from airlock.errors import TemporaryError
from airlock.models import Check

log = logging.getLogger(__name__)
Connect = Callable[[str], AbstractContextManager[Any]]
Dump = Callable[[str, Any, str], Iterator[bytes]]
"""Yield the text of the schema of the named database; given its open connection, and the argument of its snapshot."""
PARTS = (
    "tables",
    "materialized views",
    "large_objects",
    "constraints",
    "storage",
    "extensions",
    "grants",
    "owners",
    "schemas",
    "database",
    "settings",
    "standing",
)
_COMPARED = (*PARTS, "roles", "schema", "databases")
_DATABASES = "SELECT datname FROM pg_catalog.pg_database WHERE datallowconn AND datconnlimit <> -2 ORDER BY 1"
_INSERT = "SELECT pg_catalog.pg_current_wal_insert_lsn()::text"
_SNAPSHOT = "SELECT pg_catalog.pg_export_snapshot()"
# Each transaction that has a number holds a lock on it until others see its end. Snapshots do not tell the newest ones.
_AT_WORK = (
    "SELECT transactionid::text FROM pg_catalog.pg_locks WHERE locktype = 'transactionid' AND mode = 'ExclusiveLock' "
    "AND granted"
)
_UNLOGGED = (
    "SELECT pg_catalog.format('%I.%I', n.nspname, c.relname) FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n "
    "ON n.oid = c.relnamespace WHERE c.relpersistence = 'u' AND c.relkind IN ('r', 'S') ORDER BY 1"
)
# The log tells a sequence up to 32 values ahead, and what a session holds ready in its cache: a recovered one may have
# moved on by as much.
_AHEAD = (
    "SELECT pg_catalog.format('%I.%I', n.nspname, c.relname), s.seqincrement * (32 + 2 * s.seqcache), s.seqcycle, "
    "s.seqmin, s.seqmax FROM pg_catalog.pg_sequence s JOIN pg_catalog.pg_class c ON c.oid = s.seqrelid JOIN "
    "pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
)
_QUIET_SECONDS, _LOOK_SECONDS = 60.0, 0.2


_FILES = (
    "SELECT pg_catalog.format('%I.%I', n.nspname, c.relname), d.oid::int8, "
    "pg_catalog.pg_relation_filenode(c.oid)::int8, "
    "pg_catalog.pg_relation_filenode(nullif(c.reltoastrelid, 0))::int8 FROM pg_catalog.pg_class c JOIN "
    "pg_catalog.pg_namespace n ON n.oid = c.relnamespace JOIN pg_catalog.pg_database d ON d.datname = "
    "pg_catalog.current_database() WHERE c.relkind = 'r'"
)


@dataclass(frozen=True)
class Earlier:
    """What a recovery point states, and the files (database, number) to which nobody wrote since, or that are *empty*.

    A table need not be read again when nobody wrote to its files, when no transaction was open then that could have
    ended since, and when what turns its rows into text is the same. The restored server is read whole all the same: a
    mistake here fails a proof, and never passes one.
    """

    facts: Mapping[str, Any]
    unchanged: frozenset[tuple[int, int]]
    empty: frozenset[tuple[int, int]]

    def tables(self, database: str, schema_text: str, version: str, session: Any) -> dict[str, Any]:
        """Return the content of the tables of *database* that is known to be what it was."""
        before = self.facts
        if (before["settled"], before["schema"].get(database), before["version"]) != (True, schema_text, version):
            return {}
        still = self.unchanged | self.empty
        return {
            name: before["tables"][f"{database} {name}"]
            for name, number, heap, toast in session.execute(_FILES)
            if (number, heap) in self.unchanged
            and (toast is None or (number, toast) in still)
            and f"{database} {name}" in before["tables"]
        }


@dataclass(frozen=True)
class Opened:
    """One database under comparison: its connection, and the snapshot that its transaction has."""

    name: str
    session: Any
    snapshot: str
    values: Mapping[str, int]


class Cluster:
    """Sessions in every database of one server."""

    def __init__(self, connect: Connect, dump: Dump, only: Sequence[str], label: str) -> None:
        self._connect, self._dump, self._only, self._label = connect, dump, only, label
        self._open: list[Opened] = []
        self._settled = False

    def databases(self, watcher: Any) -> list[str]:
        """Return the names of the databases whose content is compared."""
        found = [str(name) for (name,) in watcher.execute(_DATABASES)]
        missing = sorted(set(self._only) - set(found))
        if missing:
            raise TemporaryError(
                f"{self._label}: the server has no database {', '.join(missing)} that can be connected "
                "to; check the option 'databases'"
            )
        return list(self._only) or found

    def look(self, stack: ExitStack, watcher: Any, *, at_rest: bool) -> str:
        """Open a snapshot in each database, which *stack* closes. Return the position of the log that they are of.

        :param at_rest: nobody writes here: no moment is waited for
        :raises TemporaryError: no moment came in which nothing was written
        """
        names = self.databases(watcher)
        sessions = [(name, stack.enter_context(self._connect(name))) for name in names]
        deadline, tries = time.monotonic() + _QUIET_SECONDS, 0
        while True:
            values = [measure.next_values(session) for _, session in sessions]
            for _, session in sessions:
                measure.begin(session)
            before = "" if at_rest else watcher.execute(_INSERT).fetchone()[0]
            seen = [session.execute(_SNAPSHOT).fetchone() for _, session in sessions]
            at_work = {str(number) for (number,) in watcher.execute(_AT_WORK)}
            after = "" if at_rest else watcher.execute(_INSERT).fetchone()[0]
            if at_rest or (before == after and not _ended_meanwhile(watcher, at_work)):
                break
            for _, session in sessions:
                session.execute("ROLLBACK")
            tries += 1
            if time.monotonic() > deadline:
                raise TemporaryError(
                    f"{self._label}: in {_QUIET_SECONDS:.0f} s there was no moment in which nothing was written, so "
                    "that rows and log could not be read at one position; next: try again when less is written"
                )
            time.sleep(min(0.5, 0.01 * tries))
        self._settled = not at_work
        self._open = [
            Opened(name, session, exported, one)
            for (name, session), (exported,), one in zip(sessions, seen, values, strict=True)
        ]
        log.debug("%s: rows of %d database(s) are read at %s, after %d tries", self._label, len(names), before, tries)
        return str(before)

    def read_facts(self, watcher: Any, key: str, *, ranges: bool, earlier: Earlier | None = None) -> dict[str, Any]:
        """Return what is compared, as the snapshots see it; the secret parts as digests made with *key*.

        :param ranges: whether to return of a sequence between which values it must be when it was recovered
        :param earlier: what need not be read again
        """
        version = str(watcher.execute("SHOW server_version").fetchone()[0])
        found: dict[str, Any] = {part: {} for part in (*PARTS, "sequences", "roles", "schema")}
        left_out: list[str] = []
        for one in self._open:
            with explained(self._label, f"PostgreSQL, database {one.name}"):
                left_out += self._add(found, one, self._facts_of(one, watcher, key, earlier, version), ranges=ranges)
        found["databases"] = {
            str(name): {} for (name,) in watcher.execute("SELECT datname FROM pg_catalog.pg_database")
        }
        return {**found, "left_out": left_out, "settled": self._settled, "version": version}

    def _facts_of(self, one: Opened, watcher: Any, key: str, earlier: Earlier | None, version: str) -> dict[str, Any]:
        text = schema.schema_digest(self._dump(one.name, one.session, one.snapshot))
        known = {} if earlier is None else earlier.tables(one.name, text, version, one.session)
        log.debug("%s: database %s: %d table(s) need not be read again", self._label, one.name, len(known))
        facts = measure.read_facts(one.session, known) | whole.read_facts(watcher, one.name, key)
        return {**facts, "schema": text}

    @staticmethod
    def _add(found: dict[str, Any], one: Opened, facts: Mapping[str, Any], *, ranges: bool) -> list[str]:
        """Add the *facts* of one database to *found*; return what of it is left out."""
        unlogged = [str(name) for (name,) in one.session.execute(_UNLOGGED)]
        for part in PARTS:
            found[part] |= {
                f"{one.name} {name}": value
                for name, value in facts[part].items()
                if part != "tables" or name not in unlogged
            }
        found["roles"] |= facts["roles"]
        found["schema"][one.name] = facts["schema"]
        reach = {row[0]: row[1:] for row in one.session.execute(_AHEAD)}
        found["sequences"] |= {
            f"{one.name} {name}": _range(one.values.get(name, value), value, *reach[name]) if ranges else value
            for name, value in facts["sequences"].items()
            if name not in unlogged
        }
        return [f"rows of unlogged tables of database {one.name}: {', '.join(unlogged[:20])}"] if unlogged else []


def checks(facts: Mapping[str, Any], found: Mapping[str, Any]) -> Iterator[Check]:
    """Yield every comparison of what a server was (*facts*, with ranges of sequences) with what another one is."""
    ranges, names = facts["sequences"], sorted(found["sequences"])
    yield Check(name="names of sequences", expected=sorted(ranges), found=names, ok=sorted(ranges) == names)
    for name, (least, most) in sorted(ranges.items()):
        value = found["sequences"].get(name)
        ok = value is not None and least <= value <= most
        yield Check(name=f"sequences {name}", expected={"least": least, "most": most}, found=value, ok=ok)
    for part in _COMPARED:
        expected, now = facts[part], found[part]
        same = sorted(expected) == sorted(now)
        yield Check(name=f"names of {part}", expected=sorted(expected), found=sorted(now), ok=same)
        for name, value in sorted(expected.items()):
            yield Check(name=f"{part} {name}", expected=value, found=now.get(name), ok=now.get(name) == value)


def _range(before: int, now: int, ahead: int, cycle: bool, least: int, most: int) -> list[int]:
    """Return between which values a recovered sequence must be that was read as *before*, and later as *now*."""
    if cycle:
        return [least, most + abs(ahead)]
    ends = (before, now, now + ahead)
    return [min(ends), max(ends)]


def _ended_meanwhile(watcher: Any, at_work: set[str]) -> bool:
    """Return whether a transaction that was *at_work*, and that the snapshots do not see, may have been about to end:
    the log may hold its end already. One that is still at work a moment later was not."""
    if not at_work:
        return False
    time.sleep(_LOOK_SECONDS)
    return not at_work <= {str(number) for (number,) in watcher.execute(_AT_WORK)}


def new_key() -> str:
    """Return a key for the digests of one recovery point."""
    return secrets.token_hex(32)
