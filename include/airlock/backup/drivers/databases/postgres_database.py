"""One database as a whole, as the server sees it from beside: how it is made, what is set on it, who stands in its
place. What lies inside is none of this module's business, nor are stores and recovery points.

Every function takes a connection to *another* database of the same server (``server``): none of this can be done from
within. What such a database says may be secret (a setting may hold a key), so facts hold keyed digests of it.
"""

# ruff: noqa: E501 - queries read best in long lines
from __future__ import annotations

import hashlib
import hmac
import json
import logging
import re
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from typing import Any, LiteralString

from airlock.errors import BackupDamaged
from airlock.models import canonical_json

log = logging.getLogger(__name__)
Connect = Callable[[str], AbstractContextManager[Any]]
"""Open a connection to the named database; an empty name means one beside the origin."""
_SESSIONS_SECONDS = 60
_OWN = (
    "SELECT pg_catalog.to_jsonb(d), pg_catalog.pg_encoding_to_char(d.encoding), pg_catalog.pg_get_userbyid(d.datdba), "
    "t.spcname, pg_catalog.shobj_description(d.oid, 'pg_database'), d.datacl::text[] FROM pg_catalog.pg_database d "
    "JOIN pg_catalog.pg_tablespace t ON t.oid = d.dattablespace WHERE d.datname = %s"
)
_USUAL_TABLESPACE = (
    "SELECT t.spcname FROM pg_catalog.pg_database d JOIN pg_catalog.pg_tablespace t ON t.oid = d.dattablespace WHERE "
    "d.datname = 'template0'"
)
_SET = (
    "SELECT coalesce(r.rolname, ''), c.setting FROM pg_catalog.pg_db_role_setting s JOIN pg_catalog.pg_database d ON "
    "d.oid = s.setdatabase CROSS JOIN LATERAL unnest(s.setconfig) AS c(setting) LEFT JOIN pg_catalog.pg_roles r ON "
    "r.oid = s.setrole WHERE d.datname = %s ORDER BY 1, 2"
)
_GRANTS = (
    "SELECT a.grantee = 0, g.rolname, a.privilege_type, a.is_grantable, pg_catalog.pg_get_userbyid(a.grantor) FROM "
    "pg_catalog.pg_database d CROSS JOIN LATERAL pg_catalog.aclexplode(d.datacl) a LEFT JOIN pg_catalog.pg_roles g ON "
    "g.oid = a.grantee WHERE d.datname = %s ORDER BY a.grantor <> d.datdba, 2 NULLS FIRST, 3"
)
_LABELS = (
    "SELECT l.provider, l.label FROM pg_catalog.pg_shseclabel l JOIN pg_catalog.pg_database d ON d.oid = l.objoid "
    "WHERE l.classoid = 'pg_catalog.pg_database'::regclass AND d.datname = %s ORDER BY 1"
)
# Every role that anything in the database refers to, and every role that such a role is a member of.
_ROLES = (
    "WITH RECURSIVE this AS (SELECT oid, datdba FROM pg_catalog.pg_database WHERE datname = %s), used(oid) AS ("
    "SELECT refobjid FROM pg_catalog.pg_shdepend, this WHERE refclassid = 'pg_catalog.pg_authid'::regclass AND (dbid = "
    "this.oid OR (classid = 'pg_catalog.pg_database'::regclass AND objid = this.oid)) UNION SELECT datdba FROM this "
    "UNION SELECT setrole FROM pg_catalog.pg_db_role_setting, this WHERE setdatabase = this.oid UNION SELECT m.roleid "
    "FROM pg_catalog.pg_auth_members m JOIN used u ON u.oid = m.member) SELECT r.rolname, r.rolsuper, r.rolinherit, "
    "r.rolcreaterole, r.rolcreatedb, r.rolcanlogin, r.rolreplication, r.rolbypassrls, r.rolconnlimit, ARRAY(SELECT "
    "g.rolname::text FROM pg_catalog.pg_auth_members m JOIN pg_catalog.pg_roles g ON g.oid = m.roleid WHERE m.member = "
    "r.oid ORDER BY 1) FROM pg_catalog.pg_roles r JOIN used ON used.oid = r.oid ORDER BY 1"
)
_ATTRIBUTES = ("superuser", "inherit", "createrole", "createdb", "login", "replication", "bypassrls",
               "connection_limit", "member_of")  # fmt: skip
_END_SESSIONS = (
    "SELECT count(pg_catalog.pg_terminate_backend(pid)) FROM pg_catalog.pg_stat_activity WHERE datname = %s "
    "AND pid <> pg_catalog.pg_backend_pid()"
)
_SLOTS = (
    "SELECT slot_name FROM pg_catalog.pg_replication_slots WHERE database = %s AND NOT temporary ORDER BY 1"
)
_SUBSCRIPTIONS = (
    "SELECT s.subname, s.subenabled FROM pg_catalog.pg_subscription s JOIN pg_catalog.pg_database d ON "
    "d.oid = s.subdbid WHERE d.datname = %s ORDER BY 1"
)
# Settings that are lists: the server keeps them as text that is quoted already.
_LISTS = frozenset({"search_path", "temp_tablespaces", "local_preload_libraries", "session_preload_libraries",
                    "shared_preload_libraries", "unix_socket_directories"})  # fmt: skip
_ITEM = re.compile(r'"((?:[^"]|"")*)"|([^",\s]+)')


def sealed_properties(server: Any, name: str, key: str) -> dict[str, Any]:
    """Return what is set on the database *name* and is not in its dump, with the *key* of the digests in the facts.
    It goes into the encrypted store only."""
    _, _, _, _, comment, acl = server.execute(_OWN, [name]).fetchone()
    return {
        "digest_key": key,
        "comment": comment,
        "settings": [list(row) for row in server.execute(_SET, [name])],
        "labels": [list(row) for row in server.execute(_LABELS, [name])],
        "grants": None if acl is None else [list(row) for row in server.execute(_GRANTS, [name])],
    }


def read_properties(content: bytes, label: str) -> dict[str, Any]:
    """Return what ``sealed_properties`` returned, as it was stored.

    :raises BackupDamaged: it is not that
    """
    try:
        found = json.loads(content)
        rows = [*found["settings"], *found["labels"], *(found["grants"] or [])]
        whole = isinstance(found["digest_key"], str) and all(isinstance(row, list) for row in rows)
    except (ValueError, RecursionError, LookupError, TypeError):
        whole = False
    if not whole:
        raise BackupDamaged(f"{label}: database.json holds no properties of a database; next: take the backup again")
    return dict(found)


def read_facts(server: Any, name: str, key: str) -> dict[str, Any]:
    """Return what a proof compares of the database *name* as a whole; secret parts as digests made with *key*."""
    own, encoding, owner, tablespace, comment, acl = server.execute(_OWN, [name]).fetchone()
    sealed = sealed_properties(server, name, key)
    settings = {" ".join(filter(None, (role, text.partition("=")[0]))): _digest(key, text)
                for role, text in sealed["settings"]}  # fmt: skip
    return {
        "database": {
            "encoding": encoding,
            "collate": own["datcollate"],
            "ctype": own["datctype"],
            "provider": own.get("datlocprovider", "c"),
            "locale": own.get("datlocale") or own.get("daticulocale"),
            "rules": own.get("daticurules"),
            "owner": owner,
            "tablespace": tablespace,
            "comment": _digest(key, comment),
            "labels": _digest(key, sealed["labels"]),
            "grants": None if acl is None else sorted(acl),
        },
        "settings": settings,
        "roles": {row[0]: dict(zip(_ATTRIBUTES, row[1:], strict=True)) for row in server.execute(_ROLES, [name])},
        # a scratch database must stay reachable and removable, so these two are set, and compared, at the origin only
        "standing": {"connection_limit": own["datconnlimit"], "is_template": own["datistemplate"]},
    }


def _digest(key: str, value: Any) -> str:
    return "hmac-sha256:" + hmac.new(key.encode(), canonical_json(value), hashlib.sha256).hexdigest()


def create(server: Any, name: str, facts: Mapping[str, Any]) -> None:
    """Make the empty database *name* as ``facts["database"]`` of a recovery point says."""
    from psycopg import sql

    given = facts["database"]
    parts: list[tuple[LiteralString, Any]] = [
        ("ENCODING", given["encoding"]), ("LC_COLLATE", given["collate"]), ("LC_CTYPE", given["ctype"]),
    ]  # fmt: skip
    provider = {"i": ("icu", "ICU_LOCALE"), "b": ("builtin", "BUILTIN_LOCALE")}.get(given.get("provider", "c"))
    if provider is not None:
        parts += [("LOCALE_PROVIDER", provider[0]), (provider[1], given["locale"])]
    if given.get("rules"):
        parts.append(("ICU_RULES", given["rules"]))
    (usual,) = server.execute(_USUAL_TABLESPACE).fetchone()
    # to name the usual one takes a right that whoever may create databases need not have
    elsewhere = sql.SQL("") if given["tablespace"] == usual else sql.SQL("TABLESPACE {} ").format(
        sql.Identifier(given["tablespace"]))  # fmt: skip
    server.execute(
        sql.SQL("CREATE DATABASE {} OWNER {} {}TEMPLATE template0 {}").format(
            sql.Identifier(name), sql.Identifier(given["owner"]), elsewhere,
            sql.SQL(" ").join(sql.SQL(word) + sql.SQL(" ") + sql.Literal(value) for word, value in parts),
        )
    )  # fmt: skip


def strip(inside: Any, facts: Mapping[str, Any]) -> None:
    """Drop what a new database (connection *inside*) comes with and that of ``facts`` did not have any more: a dump
    tells what is there, not what is missing."""
    from psycopg import sql

    for (extension,) in inside.execute("SELECT extname FROM pg_catalog.pg_extension").fetchall():
        if extension not in facts["extensions"]:
            inside.execute(sql.SQL("DROP EXTENSION {}").format(sql.Identifier(extension)))
    if "public" not in facts.get("schemas", {"public": ""}):
        inside.execute("DROP SCHEMA public")


def apply_properties(server: Any, name: str, owner: str, sealed: Mapping[str, Any]) -> None:
    """Set on the database *name* what ``sealed_properties`` read."""
    from psycopg import sql

    database = sql.Identifier(name)
    server.execute(sql.SQL("COMMENT ON DATABASE {} IS {}").format(database, sql.Literal(sealed["comment"])))
    for provider, text in sealed["labels"]:
        server.execute(sql.SQL("SECURITY LABEL FOR {} ON DATABASE {} IS {}").format(
            sql.Identifier(provider), database, sql.Literal(text)))  # fmt: skip
    for role, setting in sealed["settings"]:
        key, _, value = setting.partition("=")
        items = [quoted.replace('""', '"') or plain for quoted, plain in _ITEM.findall(value)]
        text = sql.SQL(", ").join(map(sql.Literal, items or [""])) if key.lower() in _LISTS else sql.Literal(value)
        whose = sql.SQL("ROLE {} IN ").format(sql.Identifier(role)) if role else sql.SQL("")
        server.execute(sql.SQL("ALTER {}DATABASE {} SET {} TO {}").format(whose, database, sql.Identifier(key), text))
    if sealed["grants"] is None:
        return
    server.execute(sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC, {}").format(database, sql.Identifier(owner)))
    for public, role, privilege, grantable, grantor in sealed["grants"]:
        grantee = sql.SQL("PUBLIC") if public else sql.Identifier(role)
        option = sql.SQL(" WITH GRANT OPTION" if grantable else "")
        with server.transaction():
            if grantor != owner:
                server.execute(sql.SQL("SET LOCAL ROLE {}").format(sql.Identifier(grantor)))
            server.execute(
                sql.SQL("GRANT {} ON DATABASE {} TO {}{}").format(sql.SQL(privilege), database, grantee, option)
            )


def exists(server: Any, name: str) -> bool:
    """Return whether the server has the database *name*."""
    return server.execute("SELECT 1 FROM pg_catalog.pg_database WHERE datname = %s", [name]).fetchone() is not None


def drop(server: Any, connect: Connect, name: str, label: str) -> None:
    """Drop the database *name*, whoever is connected and whatever it holds. Succeeds when it is not there.

    What a subscription or a slot holds at *other* servers is left as it is: it belongs to them.
    """
    from psycopg import sql

    if not exists(server, name):
        return
    subscriptions = server.execute(_SUBSCRIPTIONS, [name]).fetchall()
    if subscriptions:
        with connect(name) as inside:
            for subscription, _ in subscriptions:
                ours = sql.Identifier(subscription)
                inside.execute(sql.SQL("ALTER SUBSCRIPTION {} DISABLE").format(ours))
                inside.execute(sql.SQL("ALTER SUBSCRIPTION {} SET (slot_name = NONE)").format(ours))
                inside.execute(sql.SQL("DROP SUBSCRIPTION {}").format(ours))
    for (slot,) in server.execute(_SLOTS, [name]).fetchall():
        server.execute(_END_SESSIONS, [name])
        server.execute("SELECT pg_catalog.pg_drop_replication_slot(%s)", [slot])
        log.warning("%s: logical replication slot %s is dropped: its consumer has seen what is undone now; next: let it "
                    "take a new copy", label, slot)  # fmt: skip
    server.execute(sql.SQL("ALTER DATABASE {} IS_TEMPLATE false").format(sql.Identifier(name)))
    server.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))


def take_the_place(server: Any, connect: Connect, names: tuple[str, str, str], standing: Mapping[str, Any],
                   label: str) -> None:  # fmt: skip
    """Put the database *new* where *origin* is, in one transaction; *origin* is dropped afterwards as *old*.

    ``names`` are (new, origin, old). Sessions in the origin are ended: they would go on in what is undone. Whoever
    connects meanwhile waits, and is then told to connect again.
    """
    from psycopg import sql

    new, origin, old = (sql.Identifier(name) for name in names)
    swap = [
        sql.SQL("ALTER DATABASE {} RENAME TO {}").format(new, origin),
        sql.SQL("ALTER DATABASE {} CONNECTION LIMIT {}").format(origin, sql.Literal(standing["connection_limit"])),
        sql.SQL("ALTER DATABASE {} IS_TEMPLATE {}").format(origin, sql.Literal(standing["is_template"])),
    ]
    if not exists(server, names[1]):
        with server.transaction():
            for statement in swap:
                server.execute(statement)
        return
    _roll_back_prepared(server, connect, names[1], label)
    swap.insert(0, sql.SQL("ALTER DATABASE {} RENAME TO {}").format(origin, old))
    # the first statement waits for sessions to leave while it keeps new ones out: another connection ends them
    with connect("") as second, ThreadPoolExecutor(1) as pool:
        deadline = time.monotonic() + _SESSIONS_SECONDS
        while True:
            second.execute(_END_SESSIONS, [names[1]])
            renaming = pool.submit(_in_one, server, swap)
            while not renaming.done():
                second.execute(_END_SESSIONS, [names[1]])
                time.sleep(0.05)
            error = renaming.exception()
            if error is None:
                break
            if getattr(error, "sqlstate", "") != "55006" or time.monotonic() > deadline:
                raise error
    drop(server, connect, names[2], label)


def _in_one(server: Any, statements: list[Any]) -> None:
    with server.transaction():
        for statement in statements:
            server.execute(statement)


def _roll_back_prepared(server: Any, connect: Connect, name: str, label: str) -> None:
    """Roll back the prepared transactions in *name*: like all that came after the backup, they are undone."""
    from psycopg import sql

    held = server.execute("SELECT gid FROM pg_catalog.pg_prepared_xacts WHERE database = %s", [name]).fetchall()
    if held:
        with connect(name) as inside:
            for (gid,) in held:
                inside.execute(sql.SQL("ROLLBACK PREPARED {}").format(sql.Literal(gid)))
        log.warning("%s: %d prepared transaction(s) in database %s rolled back; next: tell their coordinator", label,
                    len(held), name)  # fmt: skip
