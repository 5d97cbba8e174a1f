"""What a PostgreSQL database held before a migration, by the identities that its catalogs give: tables, columns, types,
constraints and so on. So that the way back of a migration drops nothing that was there before, whatever its SQL says
and whatever the server drops with it (a partition goes with its parent without a word).

Knows catalogs and an open session. Must not know migrations, where what was held is kept, or what follows.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from airlock.plain_text import harmless

_HELD = """
WITH ours AS (SELECT oid FROM pg_namespace
              WHERE nspname NOT IN ('airlock', 'information_schema') AND nspname !~ '^pg_'),
     relation AS (SELECT oid FROM pg_class WHERE relnamespace IN (SELECT oid FROM ours))
SELECT 'pg_namespace'::regclass::oid, oid, 0 FROM ours
UNION ALL SELECT 'pg_class'::regclass, oid, 0 FROM relation
UNION ALL SELECT 'pg_class'::regclass, attrelid, attnum FROM pg_attribute
    WHERE attrelid IN (SELECT oid FROM relation) AND attnum > 0 AND NOT attisdropped
UNION ALL SELECT 'pg_rewrite'::regclass, oid, 0 FROM pg_rewrite WHERE ev_class IN (SELECT oid FROM relation)
UNION ALL SELECT 'pg_type'::regclass, oid, 0 FROM pg_type WHERE typnamespace IN (SELECT oid FROM ours)
UNION ALL SELECT 'pg_proc'::regclass, oid, 0 FROM pg_proc WHERE pronamespace IN (SELECT oid FROM ours)
UNION ALL SELECT 'pg_constraint'::regclass, oid, 0 FROM pg_constraint WHERE connamespace IN (SELECT oid FROM ours)
UNION ALL SELECT 'pg_operator'::regclass, oid, 0 FROM pg_operator WHERE oprnamespace IN (SELECT oid FROM ours)
UNION ALL SELECT 'pg_collation'::regclass, oid, 0 FROM pg_collation WHERE collnamespace IN (SELECT oid FROM ours)
UNION ALL SELECT 'pg_statistic_ext'::regclass, oid, 0 FROM pg_statistic_ext
UNION ALL SELECT 'pg_trigger'::regclass, oid, 0 FROM pg_trigger WHERE NOT tgisinternal
UNION ALL SELECT 'pg_policy'::regclass, oid, 0 FROM pg_policy
UNION ALL SELECT 'pg_publication'::regclass, oid, 0 FROM pg_publication
UNION ALL SELECT 'pg_event_trigger'::regclass, oid, 0 FROM pg_event_trigger
UNION ALL SELECT 'pg_extension'::regclass, oid, 0 FROM pg_extension
"""
_ROWS = (
    "SELECT relid::oid, n_tup_upd + n_tup_del FROM pg_stat_xact_user_tables n "
    "WHERE schemaname <> 'airlock' AND n_tup_upd + n_tup_del > 0"
)
Held = frozenset[str]
"""What a database holds: ``catalog.object.part`` in the numbers of pg_depend."""


def held(session: Any) -> Held:
    """Return what the database holds now, without what belongs to the server itself, to sessions, or to Airlock."""
    return frozenset(f"{catalog}.{thing}.{part}" for catalog, thing, part in session.execute(_HELD))


def rows_changed(session: Any, before: Held) -> tuple[str, ...]:
    """Return the tables of *before* whose rows this transaction changed or removed until now, as PostgreSQL counts."""
    relation = session.execute("SELECT 'pg_class'::regclass::oid").fetchone()[0]
    found = [f"{relation}.{table}.0" for table, _ in session.execute(_ROWS)]
    return described(session, [one for one in found if one in before])


def described(session: Any, things: Collection[str]) -> tuple[str, ...]:
    """Return *things*, which the database holds now, in PostgreSQL's words, such as ``column a of table b``."""
    found = [session.execute("SELECT pg_describe_object(%s, %s, %s)", one.split(".")).fetchone()[0] for one in things]
    return tuple(sorted(" ".join(harmless(text).split())[:150] for text in found if text))
