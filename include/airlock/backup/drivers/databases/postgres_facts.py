"""What is measured of a PostgreSQL database so that two can be compared: contents, sequences, roles, grants, schema.

Knows SQL and one open connection; knows nothing of stores, places or recovery points. Hashes are computed by the
server: no row crosses the network and memory does not grow with a table.
"""

# ruff: noqa: S608, E501 - the queries are made of the constants of this module only, and read best in long lines
from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable
from typing import Any, LiteralString

from airlock.errors import BackupDamaged

# How values are turned into text must not depend on the server's or a role's settings.
SETTINGS: tuple[LiteralString, ...] = (
    "SET search_path = ''",
    "SET datestyle = 'ISO, YMD'",
    "SET intervalstyle = 'iso_8601'",
    "SET timezone = 'UTC'",
    "SET extra_float_digits = 3",
    "SET bytea_output = 'hex'",
    "SET xmloption = 'content'",
    "SET statement_timeout = 0",
    "SET row_security = off",
)
_USER_SCHEMA = "n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname !~ '^pg_(toast|temp)'"
_NOT_OF_EXTENSION = (
    "NOT EXISTS (SELECT FROM pg_catalog.pg_depend d WHERE d.classid = 'pg_catalog.pg_class'::regclass "
    "AND d.objid = c.oid AND d.deptype = 'e')"
)
_TABLES = (
    f"SELECT n.nspname, c.relname FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace "
    f"WHERE c.relkind IN ('r', 'm') AND {_USER_SCHEMA} AND {_NOT_OF_EXTENSION} ORDER BY 1, 2"
)
# The sum of two 64-bit words of each row's sha256 does not depend on the order of rows, and sees repeated rows.
_CONTENT = (
    "SELECT count(*), coalesce(sum(('x' || substr(h, 1, 16))::bit(64)::bigint::numeric), 0)::text, "
    "coalesce(sum(('x' || substr(h, 17, 16))::bit(64)::bigint::numeric), 0)::text FROM (SELECT "
    "pg_catalog.encode(pg_catalog.sha256(pg_catalog.convert_to(t::text, 'UTF8')), 'hex') AS h FROM ONLY {} AS t) AS rows"
)
_SEQUENCES = (
    f"SELECT n.nspname, c.relname, s.seqincrement FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON "
    f"n.oid = c.relnamespace JOIN pg_catalog.pg_sequence s ON s.seqrelid = c.oid WHERE {_USER_SCHEMA} AND {_NOT_OF_EXTENSION} ORDER BY 1, 2"
)
_CONSTRAINTS = (
    f"SELECT n.nspname || '.' || c.relname, k.conname, k.contype::text || CASE WHEN k.convalidated THEN '' ELSE "
    f"' not valid' END || ' ' || pg_catalog.pg_get_constraintdef(k.oid) FROM pg_catalog.pg_constraint k "
    f"JOIN pg_catalog.pg_class c ON c.oid = k.conrelid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace "
    f"WHERE {_USER_SCHEMA} AND {_NOT_OF_EXTENSION} ORDER BY 1, 2"
)
_GRANTS = (
    f"SELECT what, acl FROM (SELECT 'relation ' || n.nspname || '.' || c.relname, c.relacl::text[] "
    f"FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE c.relacl IS NOT NULL "
    f"AND {_USER_SCHEMA} UNION ALL SELECT 'column ' || n.nspname || '.' || c.relname || '.' || a.attname, "
    f"a.attacl::text[] FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_class c ON c.oid = a.attrelid JOIN "
    f"pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE a.attacl IS NOT NULL AND {_USER_SCHEMA} UNION ALL "
    f"SELECT 'schema ' || n.nspname, n.nspacl::text[] FROM pg_catalog.pg_namespace n WHERE n.nspacl IS NOT NULL AND "
    f"{_USER_SCHEMA} UNION ALL SELECT 'function ' || p.oid::regprocedure::text, p.proacl::text[] FROM "
    f"pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace WHERE p.proacl IS NOT NULL AND "
    f"{_USER_SCHEMA} UNION ALL SELECT 'defaults ' || r.rolname || ' ' || coalesce(n.nspname, '*') || ' ' || "
    f"f.defaclobjtype::text, f.defaclacl::text[] FROM pg_catalog.pg_default_acl f JOIN pg_catalog.pg_roles r ON "
    f"r.oid = f.defaclrole LEFT JOIN pg_catalog.pg_namespace n ON n.oid = f.defaclnamespace UNION ALL "
    f"SELECT 'database', d.datacl::text[] FROM pg_catalog.pg_database d WHERE d.datname = current_database()"
    f") AS grants(what, acl) WHERE acl IS NOT NULL ORDER BY 1"
)
_OWNERS = (
    f"SELECT 'relation ' || n.nspname || '.' || c.relname, r.rolname FROM pg_catalog.pg_class c JOIN "
    f"pg_catalog.pg_namespace n ON n.oid = c.relnamespace JOIN pg_catalog.pg_roles r ON r.oid = c.relowner WHERE "
    f"{_USER_SCHEMA} AND c.relkind IN ('r', 'p', 'v', 'm', 'S', 'f') UNION ALL SELECT 'database', r.rolname FROM "
    f"pg_catalog.pg_database d JOIN pg_catalog.pg_roles r ON r.oid = d.datdba WHERE d.datname = current_database() "
    f"ORDER BY 1"
)
# Every role that anything in this database refers to, and every role that such a role is a member of.
_ROLES = (
    "WITH RECURSIVE used(oid) AS (SELECT refobjid FROM pg_catalog.pg_shdepend WHERE refclassid = "
    "'pg_catalog.pg_authid'::regclass AND (dbid = (SELECT oid FROM pg_catalog.pg_database WHERE datname = "
    "current_database()) OR (classid = 'pg_catalog.pg_database'::regclass AND objid = (SELECT oid FROM "
    "pg_catalog.pg_database WHERE datname = current_database()))) UNION SELECT datdba FROM pg_catalog.pg_database "
    "WHERE datname = current_database() UNION SELECT m.roleid FROM pg_catalog.pg_auth_members m JOIN used u ON "
    "u.oid = m.member) SELECT r.rolname, r.rolsuper, r.rolinherit, r.rolcreaterole, r.rolcreatedb, r.rolcanlogin, "
    "r.rolreplication, r.rolbypassrls, r.rolconnlimit, ARRAY(SELECT g.rolname::text FROM pg_catalog.pg_auth_members m "
    "JOIN pg_catalog.pg_roles g ON g.oid = m.roleid WHERE m.member = r.oid ORDER BY 1) FROM pg_catalog.pg_roles r "
    "JOIN used ON used.oid = r.oid ORDER BY 1"
)
_ATTRIBUTES = (
    "superuser",
    "inherit",
    "createrole",
    "createdb",
    "login",
    "replication",
    "bypassrls",
    "connection_limit",
    "member_of",
)
_DATABASE = (
    "SELECT pg_catalog.pg_encoding_to_char(d.encoding), d.datcollate, d.datctype, r.rolname, "
    "coalesce(d.datacl::text[], '{}'), ARRAY(SELECT unnest(s.setconfig) FROM pg_catalog.pg_db_role_setting s WHERE "
    "s.setdatabase = d.oid AND s.setrole = 0 ORDER BY 1) FROM pg_catalog.pg_database d JOIN pg_catalog.pg_roles r "
    "ON r.oid = d.datdba WHERE d.datname = current_database()"
)
GRANTS_OF_DATABASE: LiteralString = (
    "SELECT a.grantee = 0, r.rolname, a.privilege_type, a.is_grantable, d.datacl IS NULL FROM pg_catalog.pg_database d "
    "CROSS JOIN LATERAL pg_catalog.aclexplode(coalesce(d.datacl, pg_catalog.acldefault('d', d.datdba))) a LEFT JOIN "
    "pg_catalog.pg_roles r ON r.oid = a.grantee WHERE d.datname = current_database() ORDER BY 2 NULLS FIRST, 3"
)
# Everything that users made, so that a restore into the origin also removes what was made after the backup.
DROP_EVERYTHING = """SET LOCAL lock_timeout = '60s';
DO $airlock$ DECLARE statement text; BEGIN
  FOR statement IN SELECT format('DROP SCHEMA %I CASCADE', n.nspname) FROM pg_catalog.pg_namespace n
    WHERE n.nspname NOT IN ('pg_catalog', 'information_schema', 'public') AND n.nspname !~ '^pg_(toast|temp)'
    AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d WHERE d.classid = 'pg_catalog.pg_namespace'::regclass
      AND d.objid = n.oid AND d.deptype = 'e')
  LOOP EXECUTE statement; END LOOP;
  FOR statement IN SELECT format('DROP %s IF EXISTS public.%I CASCADE', CASE c.relkind WHEN 'v' THEN 'VIEW'
      WHEN 'm' THEN 'MATERIALIZED VIEW' WHEN 'S' THEN 'SEQUENCE' WHEN 'f' THEN 'FOREIGN TABLE' ELSE 'TABLE' END, c.relname)
    FROM pg_catalog.pg_class c WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
    AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d WHERE d.classid = 'pg_catalog.pg_class'::regclass
      AND d.objid = c.oid AND d.deptype IN ('e', 'i', 'a')) ORDER BY c.relkind
  LOOP EXECUTE statement; END LOOP;
  FOR statement IN SELECT format('DROP ROUTINE IF EXISTS %s CASCADE', p.oid::regprocedure) FROM pg_catalog.pg_proc p
    WHERE p.pronamespace = 'public'::regnamespace AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d
      WHERE d.classid = 'pg_catalog.pg_proc'::regclass AND d.objid = p.oid AND d.deptype IN ('e', 'i'))
  LOOP EXECUTE statement; END LOOP;
  FOR statement IN SELECT format('DROP TYPE IF EXISTS public.%I CASCADE', t.typname) FROM pg_catalog.pg_type t
    LEFT JOIN pg_catalog.pg_class c ON c.oid = t.typrelid WHERE t.typnamespace = 'public'::regnamespace
    AND (t.typtype IN ('e', 'd', 'r') OR c.relkind = 'c') AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d
      WHERE d.classid = 'pg_catalog.pg_type'::regclass AND d.objid = t.oid AND d.deptype IN ('e', 'i'))
  LOOP EXECUTE statement; END LOOP;
END $airlock$;
"""
_CAST = re.compile(r"::(?:character varying|text|bpchar)(?:\[\])?")


def normal_expression(text: str) -> str:
    """Return *text* with the casts and brackets removed that the server writes differently after a dump and restore
    (``varchar IN (...)`` becomes another, equal expression). Text without an array is left as it is."""
    return re.sub(r"[()\s]+", "", _CAST.sub("", text)) if "ARRAY[" in text else text


def grants_in(content: bytes, label: str) -> list[list[Any]]:
    """Return the rows of ``GRANTS_OF_DATABASE`` as they were stored.

    :raises BackupDamaged: they are not
    """
    try:
        rows = json.loads(content)
    except (ValueError, RecursionError):
        rows = None
    if not isinstance(rows, list) or not all(isinstance(row, list) and len(row) == 5 for row in rows):
        raise BackupDamaged(f"{label}: grants.json is no list of grants; next: take the backup again")
    return rows


def schema_digest(dump: Iterable[bytes]) -> str:
    """Return the sha256 of the text of ``pg_dump --schema-only`` without comments, blank lines, random tokens."""
    digest = hashlib.sha256()
    rest = b""
    for chunk in dump:
        *lines, rest = (rest + chunk).split(b"\n")
        _add_lines(digest, lines)
    _add_lines(digest, [rest])
    return "sha256:" + digest.hexdigest()


def _add_lines(digest: Any, lines: list[bytes]) -> None:
    for line in lines:
        if line.strip() and not line.startswith(
            (b"--", b"\\restrict", b"\\unrestrict", b"SET ", b"SELECT pg_catalog.set_config")
        ):
            digest.update(
                normal_expression(line.decode(errors="surrogateescape")).encode(errors="surrogateescape") + b"\n"
            )


def next_values(connection: Any) -> dict[str, int]:
    """Return the value that each sequence gives next. Sequences are outside of snapshots: others move them on."""
    from psycopg import sql

    values = {}
    for schema, name, increment in connection.execute(_SEQUENCES).fetchall():
        query = sql.SQL("SELECT last_value, is_called FROM {}").format(sql.Identifier(schema, name))
        last, called = connection.execute(query).fetchone()
        values[f"{schema}.{name}"] = last + (increment if called else 0)
    return values


def read_facts(connection: Any) -> dict[str, Any]:
    """Return everything but the schema's text, as seen by the transaction that is open on *connection* (psycopg)."""
    from psycopg import sql

    tables = {}
    for schema, name in connection.execute(_TABLES).fetchall():
        count, high, low = connection.execute(sql.SQL(_CONTENT).format(sql.Identifier(schema, name))).fetchone()
        tables[f"{schema}.{name}"] = {"rows": count, "content": f"{high}:{low}"}
    constraints = {f"{table} {name}": normal_expression(text) for table, name, text in connection.execute(_CONSTRAINTS)}
    encoding, collate, ctype, owner, _, settings = connection.execute(_DATABASE).fetchone()
    large_objects = connection.execute("SELECT count(*) FROM pg_catalog.pg_largeobject_metadata").fetchone()[0]
    return {
        "tables": tables,
        "sequences": next_values(connection),
        "constraints": constraints,
        "grants": {what: sorted(acl) for what, acl in connection.execute(_GRANTS)},
        "owners": dict(connection.execute(_OWNERS).fetchall()),
        "roles": {row[0]: dict(zip(_ATTRIBUTES, row[1:], strict=True)) for row in connection.execute(_ROLES)},
        "database": {"encoding": encoding, "collate": collate, "ctype": ctype, "owner": owner, "settings": settings},
        "large_objects": large_objects,
    }
