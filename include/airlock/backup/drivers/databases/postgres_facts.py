"""What is measured inside a PostgreSQL database so that two can be compared: contents, sequences, grants, owners.

Knows SQL and one open connection; knows nothing of stores, places or recovery points. Hashes are computed by the
server: no row crosses the network and memory does not grow with a table.
"""

# ruff: noqa: S608, E501 - the queries are made of the constants of this module only, and read best in long lines
from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any, LiteralString

from airlock.backup.drivers.databases.postgres_schema import normal_expression
from airlock.errors import TemporaryError

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
_LOCKED_AT_ONCE = 100
_USER_SCHEMA = "n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname !~ '^pg_(toast|temp)'"
_NOT_OF_EXTENSION = (
    "NOT EXISTS (SELECT FROM pg_catalog.pg_depend d WHERE d.classid = 'pg_catalog.pg_class'::regclass "
    "AND d.objid = c.oid AND d.deptype = 'e')"
)
_NAME = "pg_catalog.format('%I.%I', n.nspname, c.relname)"
# By the hash of an enum's value a row lies in another partition after every restore: there the whole is compared.
_TABLES = (
    "WITH scattered(root) AS (SELECT DISTINCT pg_catalog.pg_partition_root(p.partrelid)::oid FROM "
    "pg_catalog.pg_partitioned_table p CROSS JOIN LATERAL unnest(p.partclass) AS k(class) JOIN pg_catalog.pg_opclass o "
    "ON o.oid = k.class WHERE p.partstrat = 'h' AND o.opcname = 'enum_ops') "
    f"SELECT {_NAME}, n.nspname, c.relname, 'ONLY ', '' FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON "
    f"n.oid = c.relnamespace WHERE c.relkind = 'r' AND {_USER_SCHEMA} AND {_NOT_OF_EXTENSION} AND NOT EXISTS (SELECT "
    "FROM scattered s WHERE s.root = pg_catalog.pg_partition_root(c.oid)) UNION ALL "
    f"SELECT {_NAME}, n.nspname, c.relname, '', '' FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid "
    "= c.relnamespace JOIN scattered s ON s.root = c.oid UNION ALL "
    # of an extension's tables, the rows that users put into what it declares as settings are dumped
    f"SELECT {_NAME}, n.nspname, c.relname, 'ONLY ', x.condition FROM pg_catalog.pg_extension e CROSS JOIN LATERAL "
    f"unnest(e.extconfig, e.extcondition) AS x(relation, condition) JOIN pg_catalog.pg_class c ON c.oid = x.relation "
    f"JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind = 'r' ORDER BY 1"
)
# A dump puts the columns of a table that inherits in an order of its own, so there the order does not count.
_INHERITED = (
    "SELECT pg_catalog.array_agg(a.attname::text ORDER BY a.attname) FROM pg_catalog.pg_attribute a JOIN "
    "pg_catalog.pg_class c ON c.oid = a.attrelid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE "
    "n.nspname = %s AND c.relname = %s AND a.attnum > 0 AND NOT a.attisdropped AND NOT c.relispartition AND EXISTS ("
    "SELECT FROM pg_catalog.pg_inherits i WHERE i.inhrelid = c.oid)"
)
_SCHEMAS = (
    f"SELECT n.nspname, pg_catalog.pg_get_userbyid(n.nspowner) FROM pg_catalog.pg_namespace n WHERE {_USER_SCHEMA}"
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
# An extension makes its tables itself; what lies in them is dumped where it says so only.
_UNDECLARED = (
    f"SELECT {_NAME}, n.nspname, c.relname, e.extname FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_extension e ON "
    "e.oid = d.refobjid AND d.refclassid = 'pg_catalog.pg_extension'::regclass JOIN pg_catalog.pg_class c ON c.oid = "
    "d.objid AND d.classid = 'pg_catalog.pg_class'::regclass JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace "
    "WHERE d.deptype = 'e' AND c.relkind = 'r' AND NOT c.oid = ANY (coalesce(e.extconfig, '{}')) ORDER BY 1"
)
_FIRST_OF_USERS = 16384
_IN_CATALOG = (
    f"SELECT {_NAME} FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname "
    f"IN ('pg_catalog', 'information_schema') AND c.relkind <> 'i' AND c.oid >= {_FIRST_OF_USERS} AND {_NOT_OF_EXTENSION} "
    "UNION ALL SELECT p.oid::regprocedure::text FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = "
    f"p.pronamespace WHERE n.nspname IN ('pg_catalog', 'information_schema') AND p.oid >= {_FIRST_OF_USERS} AND NOT "
    "EXISTS (SELECT FROM pg_catalog.pg_depend d WHERE d.classid = 'pg_catalog.pg_proc'::regclass AND d.objid = p.oid AND "
    "d.deptype = 'e') ORDER BY 1"
)
_NAMED = 20
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
    "(SELECT pg_catalog.encode(pg_catalog.sha256(pg_catalog.convert_to({}::text, "
    "pg_catalog.current_setting('server_encoding')::name)), 'hex') AS h FROM {}{} AS t {}) AS rows"
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
    f"n.oid = c.relnamespace JOIN pg_catalog.pg_sequence s ON s.seqrelid = c.oid WHERE {_USER_SCHEMA} AND ({_NOT_OF_EXTENSION} OR EXISTS "
    "(SELECT FROM pg_catalog.pg_extension e WHERE c.oid = ANY (e.extconfig))) ORDER BY 1, 2"
)
_CONSTRAINTS = (
    f"SELECT {_NAME}, k.conname, k.contype::text || CASE WHEN k.convalidated THEN '' ELSE "
    f"' not valid' END || ' ' || pg_catalog.pg_get_constraintdef(k.oid) FROM pg_catalog.pg_constraint k "
    f"JOIN pg_catalog.pg_class c ON c.oid = k.conrelid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace "
    f"WHERE {_USER_SCHEMA} AND {_NOT_OF_EXTENSION} ORDER BY 1, 2"
)
# Grants that are what an owner has anyway are none: a dump does not tell them, or tells them though nobody gave them.
_GRANTS = (
    f"SELECT what, acl::text[] FROM (SELECT 'relation ' || {_NAME}, c.relacl, pg_catalog.acldefault(CASE c.relkind WHEN "
    f"'S' THEN 's' ELSE 'r' END::\"char\", c.relowner) FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON "
    f"n.oid = c.relnamespace WHERE {_USER_SCHEMA} UNION ALL SELECT 'column ' || {_NAME} || '.' || "
    f"pg_catalog.quote_ident(a.attname), a.attacl, '{{}}' FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_class c ON "
    f"c.oid = a.attrelid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE {_USER_SCHEMA} UNION ALL "
    f"SELECT 'schema ' || n.nspname, n.nspacl, pg_catalog.acldefault('n', n.nspowner) FROM pg_catalog.pg_namespace n "
    f"WHERE {_USER_SCHEMA} UNION ALL SELECT 'function ' || p.oid::regprocedure::text, p.proacl, "
    f"pg_catalog.acldefault('f', p.proowner) FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = "
    f"p.pronamespace WHERE {_USER_SCHEMA} UNION ALL SELECT 'defaults ' || r.rolname || ' ' || coalesce(n.nspname, '*') "
    f"|| ' ' || f.defaclobjtype::text, f.defaclacl, NULL FROM pg_catalog.pg_default_acl f JOIN pg_catalog.pg_roles r ON "
    f"r.oid = f.defaclrole LEFT JOIN pg_catalog.pg_namespace n ON n.oid = f.defaclnamespace) AS grants(what, acl, usual) "
    f"WHERE acl IS NOT NULL AND (usual IS NULL OR NOT (acl @> usual AND usual @> acl)) ORDER BY 1"
)
_OWNERS = (
    f"SELECT 'relation ' || {_NAME}, r.rolname FROM pg_catalog.pg_class c JOIN "
    f"pg_catalog.pg_namespace n ON n.oid = c.relnamespace JOIN pg_catalog.pg_roles r ON r.oid = c.relowner WHERE "
    f"{_USER_SCHEMA} AND c.relkind IN ('r', 'p', 'v', 'm', 'S', 'f') ORDER BY 1"
)


@contextmanager
def _still_there(connection: Any) -> Iterator[None]:
    """What the catalogs listed a moment ago may be dropped meanwhile: then the whole is read again."""
    from psycopg.errors import UndefinedTable

    try:
        yield
    except UndefinedTable:
        raise TemporaryError(f"database {connection.info.dbname}: a table or sequence was dropped while it was read; "
                             "try again") from None  # fmt: skip


def begin(connection: Any) -> None:
    """Begin a transaction on *connection* that sees one moment, and whose tables nobody drops, empties or rewrites
    meanwhile: what such an act takes away, a snapshot does not see any more. So locks come before the snapshot."""
    from psycopg import sql

    tables = [sql.SQL("{}{}").format(sql.SQL(only), sql.Identifier(schema, name))
              for _, schema, name, only, _ in connection.execute(_TABLES).fetchall()]  # fmt: skip
    connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
    with _still_there(connection):
        for at in range(0, len(tables), _LOCKED_AT_ONCE):
            some = sql.SQL(", ").join(tables[at : at + _LOCKED_AT_ONCE])
            connection.execute(sql.SQL("LOCK TABLE {} IN ACCESS SHARE MODE").format(some))


def next_values(connection: Any) -> dict[str, int]:
    """Return the value that each sequence gives next. Sequences are outside of snapshots: others move them on."""
    from psycopg import sql

    values = {}
    for key, schema, name, increment in connection.execute(_SEQUENCES).fetchall():
        query = sql.SQL("SELECT last_value, is_called FROM {}").format(sql.Identifier(schema, name))
        with _still_there(connection):
            last, called = connection.execute(query).fetchone()
        values[key] = last + (increment if called else 0)
    return values


def read_facts(connection: Any, known: Mapping[str, Any] = MappingProxyType({})) -> dict[str, Any]:
    """Return everything but the schema's text, as seen by the transaction that is open on *connection* (psycopg).

    :param known: what is known of the content of some tables, which are then not read
    """
    from psycopg import sql

    tables = {}
    for key, schema, name, only, condition in connection.execute(_TABLES).fetchall():
        if key in known:
            tables[key] = known[key]
            continue
        (columns,) = connection.execute(_INHERITED, [schema, name]).fetchone()
        row = sql.SQL("(t.*)") if columns is None else sql.SQL("ROW({})").format(
            sql.SQL(", ").join(sql.Identifier("t", column) for column in columns))  # fmt: skip
        content = sql.SQL(_CONTENT).format(row, sql.SQL(only), sql.Identifier(schema, name), sql.SQL(condition))
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
        "schemas": dict(connection.execute(_SCHEMAS).fetchall()),
    }


def left_out(connection: Any) -> list[str]:
    """Return what of the database no dump tells and no restore brings back, in words with the names."""
    from psycopg import sql

    filled = []
    for name, schema, table, extension in connection.execute(_UNDECLARED).fetchall():
        query = sql.SQL("SELECT EXISTS (SELECT FROM ONLY {})").format(sql.Identifier(schema, table))
        with _still_there(connection):
            (rows,) = connection.execute(query).fetchone()
        if rows:
            filled.append(f"{name} ({extension})")
    strange = [name for (name,) in connection.execute(_IN_CATALOG)]
    said = (("rows of extensions' tables that are not declared as settings", filled),
            ("what was put into pg_catalog or information_schema", strange))  # fmt: skip
    return [f"{words}: {', '.join(names[:_NAMED])}{f' and {more} more' if (more := len(names) - _NAMED) > 0 else ''}"
            for words, names in said if names]  # fmt: skip


def _summed(connection: Any, query: Any) -> dict[str, Any]:
    count, high, low = connection.execute(query).fetchone()
    return {"rows": count, "content": f"{high}:{low}"}
