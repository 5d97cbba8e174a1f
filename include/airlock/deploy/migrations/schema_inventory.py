"""What a PostgreSQL database held before a migration, by the identities that its catalogs give: tables, columns, types,
constraints and so on, each with a digest of how it is defined. So that the way back of a migration drops nothing that
was there before and leaves nothing of it otherwise than it was, whatever its SQL says and whatever the server does with
it (a partition goes with its parent without a word, a trigger or a default may do anything).

Knows catalogs and an open session. Must not know migrations, where what was held is kept, or what follows.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from airlock.plain_text import harmless

Held = Mapping[str, str]
"""What a database holds: ``catalog.object.part`` in the numbers of pg_depend -> digest of its definition."""

_PASSING = (
    "relpages reltuples relallvisible relallfrozen relfrozenxid relminmxid relhasindex relhasrules relhastriggers "
    "relhassubclass relnatts reltoastrelid relchecks indcheckxmin"
)
"""What the server keeps for itself, or does not take back when its reason is gone. The number of a table's file is not
among it: it changes when a table is emptied or written anew."""
_HELD = """
WITH ours AS (SELECT oid FROM pg_namespace
              WHERE nspname NOT IN ('airlock', 'information_schema') AND nspname !~ '^pg_'),
     relation AS (SELECT oid FROM pg_class WHERE relnamespace IN (SELECT oid FROM ours)),
     part (catalog, thing, part, said) AS (
-- things that belong to a schema
SELECT 'pg_class'::regclass::oid, oid, 0, to_jsonb(t) FROM pg_class t WHERE relnamespace IN (SELECT oid FROM ours)
UNION ALL SELECT 'pg_type'::regclass, oid, 0, to_jsonb(t) FROM pg_type t WHERE typnamespace IN (SELECT oid FROM ours)
UNION ALL SELECT 'pg_proc'::regclass, oid, 0, to_jsonb(t) FROM pg_proc t WHERE pronamespace IN (SELECT oid FROM ours)
UNION ALL SELECT 'pg_constraint'::regclass, oid, 0, to_jsonb(t) FROM pg_constraint t
    WHERE connamespace IN (SELECT oid FROM ours)
UNION ALL SELECT 'pg_operator'::regclass, oid, 0, to_jsonb(t) FROM pg_operator t
    WHERE oprnamespace IN (SELECT oid FROM ours)
UNION ALL SELECT 'pg_opclass'::regclass, oid, 0, to_jsonb(t) FROM pg_opclass t
    WHERE opcnamespace IN (SELECT oid FROM ours)
UNION ALL SELECT 'pg_collation'::regclass, oid, 0, to_jsonb(t) FROM pg_collation t
    WHERE collnamespace IN (SELECT oid FROM ours)
UNION ALL SELECT 'pg_statistic_ext'::regclass, oid, 0, to_jsonb(t) FROM pg_statistic_ext t
UNION ALL SELECT 'pg_ts_config'::regclass, oid, 0, to_jsonb(t) FROM pg_ts_config t
    WHERE cfgnamespace IN (SELECT oid FROM ours)
UNION ALL SELECT 'pg_ts_dict'::regclass, oid, 0, to_jsonb(t) FROM pg_ts_dict t
    WHERE dictnamespace IN (SELECT oid FROM ours)
-- other things
UNION ALL SELECT 'pg_namespace'::regclass, oid, 0, to_jsonb(t) FROM pg_namespace t WHERE oid IN (SELECT oid FROM ours)
UNION ALL SELECT 'pg_rewrite'::regclass, oid, 0, to_jsonb(t) FROM pg_rewrite t
    WHERE ev_class IN (SELECT oid FROM relation)
UNION ALL SELECT 'pg_trigger'::regclass, oid, 0, to_jsonb(t) FROM pg_trigger t WHERE NOT tgisinternal
UNION ALL SELECT 'pg_policy'::regclass, oid, 0, to_jsonb(t) FROM pg_policy t
UNION ALL SELECT 'pg_publication'::regclass, oid, 0, to_jsonb(t) FROM pg_publication t
UNION ALL SELECT 'pg_event_trigger'::regclass, oid, 0, to_jsonb(t) FROM pg_event_trigger t
UNION ALL SELECT 'pg_extension'::regclass, oid, 0, to_jsonb(t) FROM pg_extension t
UNION ALL SELECT 'pg_foreign_server'::regclass, oid, 0, to_jsonb(t) FROM pg_foreign_server t
UNION ALL SELECT 'pg_default_acl'::regclass, oid, 0, to_jsonb(t) FROM pg_default_acl t
UNION ALL SELECT 'pg_cast'::regclass, oid, 0, to_jsonb(t) FROM pg_cast t WHERE oid >= 16384
-- parts of relations and of types
UNION ALL SELECT 'pg_class'::regclass, attrelid, attnum, to_jsonb(t) FROM pg_attribute t
    WHERE attrelid IN (SELECT oid FROM relation) AND attnum > 0 AND NOT attisdropped
UNION ALL SELECT 'pg_class'::regclass, adrelid, adnum, to_jsonb(t) FROM pg_attrdef t
    WHERE adrelid IN (SELECT oid FROM relation)
UNION ALL SELECT 'pg_class'::regclass, indexrelid, 0, to_jsonb(t) FROM pg_index t
    WHERE indexrelid IN (SELECT oid FROM relation)
UNION ALL SELECT 'pg_class'::regclass, inhrelid, 0, to_jsonb(t) FROM pg_inherits t
    WHERE inhrelid IN (SELECT oid FROM relation)
UNION ALL SELECT 'pg_class'::regclass, partrelid, 0, to_jsonb(t) FROM pg_partitioned_table t
    WHERE partrelid IN (SELECT oid FROM relation)
UNION ALL SELECT 'pg_class'::regclass, ftrelid, 0, to_jsonb(t) FROM pg_foreign_table t
    WHERE ftrelid IN (SELECT oid FROM relation)
UNION ALL SELECT 'pg_class'::regclass, seqrelid, 0, to_jsonb(t) FROM pg_sequence t
    WHERE seqrelid IN (SELECT oid FROM relation)
UNION ALL SELECT 'pg_class'::regclass, objid, 0, to_jsonb(t) FROM pg_depend t  -- what a sequence is owned by
    WHERE deptype = 'a' AND classid = 'pg_class'::regclass AND objid IN (SELECT oid FROM relation)
UNION ALL SELECT 'pg_class'::regclass, prrelid, 0, to_jsonb(t) FROM pg_publication_rel t
    WHERE prrelid IN (SELECT oid FROM relation)
UNION ALL SELECT 'pg_type'::regclass, enumtypid, 0, to_jsonb(t) FROM pg_enum t
-- what is said of things
UNION ALL SELECT classoid, objoid, objsubid, to_jsonb(t) FROM pg_description t
    WHERE objoid >= 16384 OR classoid = 'pg_namespace'::regclass
UNION ALL SELECT classoid, objoid, objsubid, to_jsonb(t) FROM pg_seclabel t
), shown AS (SELECT catalog, thing, part, (said - %s::text[])::text AS said FROM part)
SELECT catalog, thing, part, md5(string_agg(said, ' ' ORDER BY said)) FROM shown GROUP BY 1, 2, 3
"""
_ROWS = (
    "SELECT relid::oid, n_tup_ins + n_tup_upd + n_tup_del FROM pg_stat_xact_all_tables "
    "WHERE n_tup_ins + n_tup_upd + n_tup_del > 0"
)
_LARGE_OBJECTS = "pg_largeobject"


@dataclass(frozen=True)
class Traces:
    """What was done to a database: tables whose ``rows`` are others, in words; what was ``made``; and what was there
    and was ``altered`` or dropped, with the digests that it had."""

    rows: tuple[str, ...] = ()
    made: frozenset[str] = frozenset()
    altered: Mapping[str, str] = field(default_factory=dict)


class Wrong(NamedTuple):
    """How a way back fails: what was there is dropped or is otherwise, or what was made is still there."""

    dropped: frozenset[str]
    otherwise: frozenset[str]
    left: frozenset[str]


def traces(session: Any, before: Held) -> Traces:
    """Return what this transaction did until now to what the database held *before* it."""
    rows, now = rows_changed(session, before), held(session)
    altered = {thing: said for thing, said in before.items() if now.get(thing) != said}
    return Traces(rows, frozenset(now.keys() - before.keys()), altered)


def wrong(before: Collection[str], done: Traces, then: Held, now: Held) -> Wrong:
    """Return what a way back from *then* to *now* leaves otherwise than it was *before* a migration.

    :param before: what was there
    :param done: what the migration did to it; all else is to stay as it was *then*, because others may alter it too
    """
    wanted = {one: done.altered.get(one) or then[one] for one in before if one in then or one in done.altered}
    return Wrong(
        dropped=frozenset(wanted.keys() - now.keys()),
        otherwise=frozenset(one for one, said in wanted.items() if now.get(one, said) != said),
        left=done.made & now.keys(),
    )


def held(session: Any) -> Held:
    """Return what the database holds now, without what belongs to the server itself, to sessions, or to Airlock."""
    found = session.execute(_HELD, [_PASSING.split()])
    return {f"{catalog}.{thing}.{part}": said for catalog, thing, part, said in found}


def rows_changed(session: Any, before: Collection[str]) -> tuple[str, ...]:
    """Return the tables of *before* to which this transaction added rows until now, or whose rows it changed or
    removed, as PostgreSQL counts; what a table lost that was emptied as a whole is seen in ``held``."""
    if session.execute("SHOW track_counts").fetchone()[0] != "on":
        return ("tables, which this server does not count (track_counts is off)",)
    session.execute("SET CONSTRAINTS ALL IMMEDIATE")  # triggers that wait for the end do what they do now
    relation, large = session.execute("SELECT 'pg_class'::regclass::oid, %s::regclass::oid",
                                      [_LARGE_OBJECTS]).fetchone()
    changed = [table for table, _ in session.execute(_ROWS)]
    tables = [f"{relation}.{table}.0" for table in changed]
    found = described(session, [one for one in tables if one in before])
    return (*found, "large objects") if large in changed else found


def described(session: Any, things: Collection[str]) -> tuple[str, ...]:
    """Return *things*, which the database holds now, in PostgreSQL's words, such as ``column a of table b``."""
    found = [session.execute("SELECT pg_describe_object(%s, %s, %s)", one.split(".")).fetchone()[0] for one in things]
    return tuple(sorted(" ".join(harmless(text).split())[:150] for text in found if text))
