"""The migrations that an artifact carries, and which of them a database still lacks. Changes nothing; runs no SQL.

An artifact carries ``NNNN_name.up.sql`` and, for the way back, ``NNNN_name.down.sql``; its source brings these files.
What is in them is a stranger's: all of it is checked before anything is done with it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from airlock.change.sql import tree as sql
from airlock.change.way_back import concurrent_index
from airlock.errors import InvalidInput
from airlock.models import CarriedFile, Migration

_FILE = re.compile(r"([0-9]{4}_[a-z0-9][a-z0-9_]{0,99})\.(up|down)\.sql")
_MOST_PENDING_BYTES = 1 << 20
_OWN = "airlock"
_NEVER_IN_A_TRANSACTION = frozenset({
    "createdb_stmt", "dropdb_stmt", "alter_system_stmt", "create_table_space_stmt", "drop_table_space_stmt",
    "create_subscription_stmt", "drop_subscription_stmt", "check_point_stmt",
})  # fmt: skip


def read_migrations(files: Sequence[CarriedFile], what: str) -> tuple[Migration, ...]:
    """Return the migrations that *files*, which the artifact *what* carries for it, are; in their order.

    :raises InvalidInput: a file is wrong; all faults are named
    """
    texts, faults = _texts(files)
    names = sorted({name for name, _ in texts})
    faults += [f"{name}: has SQL back but no SQL forward" for name in names if (name, "up") not in texts]
    numbers = [name[:4] for name in names]
    faults += [f"{name}: its number is used twice" for name in names if numbers.count(name[:4]) > 1]
    if faults:
        raise InvalidInput(f"migrations in {what}: {'; '.join(faults[:10])}; correct the artifact")
    return tuple(Migration(name=name, up=texts[name, "up"], down=texts.get((name, "down"))) for name in names)


def _texts(files: Sequence[CarriedFile]) -> tuple[dict[tuple[str, str], str], list[str]]:
    texts: dict[tuple[str, str], str] = {}
    faults: list[str] = []
    for file in files:
        match = _FILE.fullmatch(file.name)
        label = sql.shown(file.name, 120)
        if match is None:
            faults.append(f"{label}: is no name such as 0001_add_note.up.sql or 0001_add_note.down.sql")
        elif (match[1], match[2]) in texts:
            faults.append(f"{label}: is there twice")
        elif len(file.content) > sql.LARGEST_SQL:
            faults.append(f"{label}: is longer than {sql.LARGEST_SQL // 1024} KiB")
        else:
            text = file.content.decode(errors="replace")
            if b"\0" in file.content or text.encode() != file.content:
                faults.append(f"{label}: is no UTF-8 text without NUL characters")
            texts[match[1], match[2]] = text
    return texts, faults


def pending(carried: Sequence[Migration], applied: Mapping[str, str]) -> tuple[tuple[Migration, ...], tuple[str, ...]]:
    """Return what of *carried* the database lacks, and what it has that the artifact does not know.

    :param applied: name -> digest of the SQL forward, of each migration that was applied
    :raises InvalidInput: a migration was changed after it was applied, would be applied after a later one, or cannot be
        run by Airlock; all faults are named
    """
    names = {migration.name for migration in carried}
    lacking = tuple(migration for migration in carried if migration.name not in applied)
    newest = max(applied, default="")
    faults = [f"{one.name}: was changed after it was applied ({applied[one.name][:19]} then, {one.up_digest[:19]} now);"
              " write a new migration instead"
              for one in carried if applied.get(one.name, one.up_digest) != one.up_digest]
    faults += [f"{one.name}: comes before {newest}, which is applied already; give it a higher number"
               for one in lacking if one.name < newest]
    if sum(len(one.up) + len(one.down or "") for one in lacking) > _MOST_PENDING_BYTES:
        faults.append("all pending migrations together are longer than 1 MiB; release fewer at once")
    for one in lacking:
        faults += [f"{one.name}.up.sql: {fault}" for fault in _not_to_be_run(one.up)]
        faults += [f"{one.name}.down.sql: {fault}" for fault in _not_to_be_run(one.down or "")]
    if faults:
        raise InvalidInput("migrations: " + "; ".join(faults[:10]))
    return lacking, tuple(sorted(name for name in applied if name not in names))


def _not_to_be_run(text: str) -> Iterator[str]:
    """Yield why Airlock would not run *text*. What cannot be parsed is for the verdict to say, and for the database."""
    trees, _ = sql.parsed(text)
    alone = concurrent_index(text) is not None
    for number, tree in enumerate(trees, start=1):
        kind = tree.WhichOneof("node") or ""
        inner = getattr(tree, kind)
        if kind == "transaction_stmt":
            yield f"statement {number} begins or ends a transaction; Airlock runs each migration in one"
        if kind in _NEVER_IN_A_TRANSACTION or (kind == "vacuum_stmt" and inner.is_vacuumcmd):
            yield f"statement {number} cannot be run in a transaction; do it outside the release"
        if not alone and _concurrent(kind, inner):
            yield (f"statement {number} is CONCURRENTLY, which no transaction may hold; put it into a migration of its "
                   "own, with a name for the index")
        if any(_is_own(node) for node in sql.nodes(inner)):
            yield f"statement {number} names the schema {_OWN!r}, in which Airlock keeps what was applied; use another"
        if any(node.defname == "password" for node in sql.nodes(inner) if type(node).__name__ == "DefElem"):
            yield f"statement {number} holds a password, which the evidence would keep; set it outside the release"


def _is_own(node: Any) -> bool:
    """Return whether *node* names a thing of Airlock's own schema, or that schema itself."""
    if type(node).__name__ == "RangeVar":
        return bool(node.schemaname == _OWN)
    if type(node).__name__ == "CreateSchemaStmt":
        return bool(node.schemaname == _OWN)
    return type(node).__name__ == "DropStmt" and any(
        (name[0] or name[1] if sql.object_word(node.remove_type) == "SCHEMA" else name[0]) == _OWN
        for name in sql.dropped_identities(node)
    )


def _concurrent(kind: str, tree: Any) -> bool:
    if kind in ("index_stmt", "drop_stmt"):
        return bool(tree.concurrent)
    if kind == "reindex_stmt":
        return any(option.def_elem.defname == "concurrently" for option in tree.params)
    return kind == "alter_table_stmt" and any(
        command.alter_table_cmd.HasField("def") and getattr(command.alter_table_cmd, "def").partition_cmd.concurrent
        for command in tree.cmds
    )
