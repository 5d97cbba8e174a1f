"""What is measured inside a PostgreSQL database so that two can be compared: contents, sequences, grants, owners.

Knows SQL and one open connection; knows nothing of stores, places or recovery points. Hashes are computed by the
server: no row crosses the network and memory does not grow with a table.
"""

# ruff: noqa: S608, E501 - the queries are made of the constants of this module only, and read best in long lines
from __future__ import annotations

from typing import Any, LiteralString

from airlock.backup.drivers.databases.postgres_schema import normal_expression

# How values are turned into text must not depend on the server's or a role's settings.
SETTINGS: tuple[LiteralString, ...] = (
    "SET search_path = ''",
    "SET datestyle = 'ISO, YMD'",
    "SET intervalstyle = 'iso_8601'",
    "SET timezone = 'UTC'",
    "SET extra_float_digits = 3",
    "SET bytea_output = 'hex'",
    "SET xmloption = 'content'",
    "SET lc_monetary = 'C'",
    "SET quote_all_identifiers = off",
    "SET statement_timeout = 0",
    "SET lock_timeout = 0",
    "SET idle_in_transaction_session_timeout = 0",
    "SELECT pg_catalog.set_config(name, '0', false) FROM pg_catalog.pg_settings WHERE name = 'transaction_timeout'",
    "SET row_security = off",
)
_USER_SCHEMA = "n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname !~ '^pg_(toast|temp)'"
_NOT_OF_EXTENSION = (
    "NOT EXISTS (SELECT FROM pg_catalog.pg_depend d WHERE d.classid = 'pg_catalog.pg_class'::regclass "
    "AND d.objid = c.oid AND d.deptype = 'e')"
)
_NAME = "pg_catalog.format('%I.%I', n.nspname, c.relname)"
_TABLES = (
    f"SELECT {_NAME}, n.nspname, c.relname, '' FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = "
    f"c.relnamespace WHERE c.relkind = 'r' AND {_USER_SCHEMA} AND {_NOT_OF_EXTENSION} UNION ALL "
    # of an extension's tables, the rows that users put into what it declares as settings are dumped
    f"SELECT {_NAME}, n.nspname, c.relname, x.condition FROM pg_catalog.pg_extension e CROSS JOIN LATERAL "
    f"unnest(e.extconfig, e.extcondition) AS x(relation, condition) JOIN pg_catalog.pg_class c ON c.oid = x.relation "
    f"JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind = 'r' ORDER BY 1"
)
# The rows of a materialized view are computed anew by every restore, so that a stale one differs by its nature.
_VIEWS = (
    f"SELECT {_NAME}, c.relispopulated FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = "
    f"c.relnamespace WHERE c.relkind = 'm' AND {_USER_SCHEMA} AND {_NOT_OF_EXTENSION}"
)
_STORAGE = (
    f"SELECT {_NAME}, pg_catalog.concat_ws(' ', coalesce(t.spcname, 'default'), m.amname) FROM pg_catalog.pg_class c "
    f"JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace LEFT JOIN pg_catalog.pg_tablespace t ON t.oid = "
    f"c.reltablespace LEFT JOIN pg_catalog.pg_am m ON m.oid = c.relam WHERE (t.oid IS NOT NULL OR m.amname NOT IN "
    f"('heap', 'btree')) AND {_USER_SCHEMA} AND {_NOT_OF_EXTENSION}"
)
_EXTENSIONS = (
    "SELECT e.extname, e.extversion, n.nspname FROM pg_catalog.pg_extension e JOIN pg_catalog.pg_namespace n ON "
    "n.oid = e.extnamespace"
)
_SUM = (
    "SELECT count(*), coalesce(sum(('x' || substr(h, 1, 16))::bit(64)::bigint::numeric), 0)::text, "
    "coalesce(sum(('x' || substr(h, 17, 16))::bit(64)::bigint::numeric), 0)::text FROM "
)
# The sum of two 64-bit words of each row's sha256 does not depend on the order of rows, and sees repeated rows.
# The text stays in the database's own encoding: not every text can be turned into another one.
_CONTENT = _SUM + (
    "(SELECT pg_catalog.encode(pg_catalog.sha256(pg_catalog.convert_to((t.*)::text, "
    "pg_catalog.current_setting('server_encoding')::name)), 'hex') AS h FROM ONLY {} AS t {}) AS rows"
)
# Large objects are read in pieces of 1 MiB, as a program would read them: holes are zeros, and no piece is kept.
_LARGE_OBJECTS = (
    "WITH RECURSIVE piece(loid, number, size, digest) AS (SELECT l.oid, 0::bigint, length(d.data), "
    "pg_catalog.sha256(d.data) FROM pg_catalog.pg_largeobject_metadata l CROSS JOIN LATERAL (SELECT "
    "pg_catalog.lo_get(l.oid, 0, 1048576) AS data OFFSET 0) d UNION ALL SELECT p.loid, p.number + 1, length(d.data), "
    "pg_catalog.sha256(d.data) FROM piece p CROSS JOIN LATERAL (SELECT pg_catalog.lo_get(p.loid, (p.number + 1) * "
    "1048576, 1048576) AS data OFFSET 0) d WHERE p.size = 1048576) "
    + _SUM
    + "(SELECT pg_catalog.encode(pg_catalog.sha256(pg_catalog.convert_to(pg_catalog.concat_ws('|', loid, number, size, "
    "digest), 'SQL_ASCII')), 'hex') AS h FROM piece) AS pieces"
)
_LARGE_OBJECTS_KEPT = _SUM + (
    "(SELECT pg_catalog.encode(pg_catalog.sha256(pg_catalog.convert_to(pg_catalog.concat_ws('|', l.oid, "
    "pg_catalog.pg_get_userbyid(l.lomowner), (SELECT pg_catalog.string_agg(a::text, ',' ORDER BY a::text) FROM unnest("
    "l.lomacl) a), pg_catalog.obj_description(l.oid, 'pg_largeobject')), "
    "pg_catalog.current_setting('server_encoding')::name)), 'hex') AS h FROM pg_catalog.pg_largeobject_metadata l) AS kept"
)
_SEQUENCES = (
    f"SELECT {_NAME}, n.nspname, c.relname, s.seqincrement FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON "
    f"n.oid = c.relnamespace JOIN pg_catalog.pg_sequence s ON s.seqrelid = c.oid WHERE {_USER_SCHEMA} AND {_NOT_OF_EXTENSION} ORDER BY 1, 2"
)
_CONSTRAINTS = (
    f"SELECT {_NAME}, k.conname, k.contype::text || CASE WHEN k.convalidated THEN '' ELSE "
    f"' not valid' END || ' ' || pg_catalog.pg_get_constraintdef(k.oid) FROM pg_catalog.pg_constraint k "
    f"JOIN pg_catalog.pg_class c ON c.oid = k.conrelid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace "
    f"WHERE {_USER_SCHEMA} AND {_NOT_OF_EXTENSION} ORDER BY 1, 2"
)
_GRANTS = (
    f"SELECT what, acl FROM (SELECT 'relation ' || {_NAME}, c.relacl::text[] "
    f"FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE c.relacl IS NOT NULL "
    f"AND {_USER_SCHEMA} UNION ALL SELECT 'column ' || {_NAME} || '.' || pg_catalog.quote_ident(a.attname), "
    f"a.attacl::text[] FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_class c ON c.oid = a.attrelid JOIN "
    f"pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE a.attacl IS NOT NULL AND {_USER_SCHEMA} UNION ALL "
    f"SELECT 'schema ' || n.nspname, n.nspacl::text[] FROM pg_catalog.pg_namespace n WHERE n.nspacl IS NOT NULL AND "
    f"{_USER_SCHEMA} UNION ALL SELECT 'function ' || p.oid::regprocedure::text, p.proacl::text[] FROM "
    f"pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace WHERE p.proacl IS NOT NULL AND "
    f"{_USER_SCHEMA} UNION ALL SELECT 'defaults ' || r.rolname || ' ' || coalesce(n.nspname, '*') || ' ' || "
    f"f.defaclobjtype::text, f.defaclacl::text[] FROM pg_catalog.pg_default_acl f JOIN pg_catalog.pg_roles r ON "
    f"r.oid = f.defaclrole LEFT JOIN pg_catalog.pg_namespace n ON n.oid = f.defaclnamespace) AS grants(what, acl) WHERE acl IS NOT NULL ORDER BY 1"
)
_OWNERS = (
    f"SELECT 'relation ' || {_NAME}, r.rolname FROM pg_catalog.pg_class c JOIN "
    f"pg_catalog.pg_namespace n ON n.oid = c.relnamespace JOIN pg_catalog.pg_roles r ON r.oid = c.relowner WHERE "
    f"{_USER_SCHEMA} AND c.relkind IN ('r', 'p', 'v', 'm', 'S', 'f') ORDER BY 1"
)


def next_values(connection: Any) -> dict[str, int]:
    """Return the value that each sequence gives next. Sequences are outside of snapshots: others move them on."""
    from psycopg import sql

    values = {}
    for key, schema, name, increment in connection.execute(_SEQUENCES).fetchall():
        query = sql.SQL("SELECT last_value, is_called FROM {}").format(sql.Identifier(schema, name))
        last, called = connection.execute(query).fetchone()
        values[key] = last + (increment if called else 0)
    return values


def read_facts(connection: Any) -> dict[str, Any]:
    """Return everything but the schema's text, as seen by the transaction that is open on *connection* (psycopg)."""
    from psycopg import sql

    tables = {}
    for key, schema, name, condition in connection.execute(_TABLES).fetchall():
        content = sql.SQL(_CONTENT).format(sql.Identifier(schema, name), sql.SQL(condition))
        tables[key] = _summed(connection, content)
    constraints = {f"{table} {name}": normal_expression(text) for table, name, text in connection.execute(_CONSTRAINTS)}
    large_objects = _summed(connection, _LARGE_OBJECTS_KEPT)
    large_objects = {"objects": large_objects["rows"], "owners, grants and comments": large_objects["content"],
                     "content": _summed(connection, _LARGE_OBJECTS)["content"]}  # fmt: skip
    extensions = {name: {"version": version, "schema": schema}
                  for name, version, schema in connection.execute(_EXTENSIONS)}  # fmt: skip
    return {
        "tables": tables,
        "materialized views": {name: {"populated": filled} for name, filled in connection.execute(_VIEWS)},
        "sequences": next_values(connection),
        "constraints": constraints,
        "storage": dict(connection.execute(_STORAGE).fetchall()),
        "extensions": extensions,
        "grants": {what: sorted(acl) for what, acl in connection.execute(_GRANTS)},
        "owners": dict(connection.execute(_OWNERS).fetchall()),
        "large_objects": large_objects,
    }


def _summed(connection: Any, query: Any) -> dict[str, Any]:
    count, high, low = connection.execute(query).fetchone()
    return {"rows": count, "content": f"{high}:{low}"}
