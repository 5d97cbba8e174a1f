"""The rollback-safety verdict: what it takes to go back behind the migrations of a release. Pure.

The verdict is that of the gravest statement, so it never gets milder when statements are added. Whether Airlock may
undo a migration by itself is asked apart: only if its SQL back takes away everything that its SQL forward made, and
nothing else. Must not know where migrations come from, nor what follows from a verdict.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from airlock.change.sql import tree as sql
from airlock.change.sql.kept_code import kept
from airlock.change.sql.statements import judge as judge_statement
from airlock.change.sql.tree import Thing
from airlock.models import (
    Category,
    ConcurrentIndex,
    JudgedStatement,
    Migration,
    PlannedMigration,
    Reversal,
    Rfc,
    RollbackSafety,
)

_SHOWN = 40
_MADE_BY = {"view_stmt": ("view", "view"), "create_seq_stmt": ("sequence", "sequence")}
_DROPPED_BY = {"TABLE": "table", "INDEX": "index", "VIEW": "view", "SEQUENCE": "sequence", "TYPE": "type"}
_NAMES_OTHERWISE = ("rename_stmt", "alter_object_schema_stmt", "drop_stmt")
"""Behind them a name that was new may be that of an old thing."""
_CHANGES_ROWS = ("InsertStmt", "UpdateStmt", "DeleteStmt", "MergeStmt")

class _Judged(NamedTuple):
    planned: PlannedMigration
    statements: tuple[JudgedStatement, ...]
    warnings: tuple[str, ...]


def judge(pending: Sequence[Migration], ahead: Sequence[str] = ()) -> RollbackSafety:
    """Return the verdict on carrying out *pending*, in this order.

    :param ahead: migrations that were applied to the database although this version does not know them
    """
    judged = [_judge(migration) for migration in pending]
    found = [statement for one in judged for statement in one.statements]
    found.sort(key=lambda statement: -statement.verdict.rank)
    warnings = [f"the database has migration {name}, which this version does not know: was it made for it?"
                for name in ahead] + [warning for one in judged for warning in one.warnings]
    verdict = gravest(one.planned.verdict for one in judged)
    migrations = tuple(one.planned for one in judged)
    return RollbackSafety(verdict=verdict, reason=_reason(verdict, migrations, found), migrations=migrations,
                   statements=tuple(found[:_SHOWN]), warnings=tuple(warnings[:_SHOWN]))


def refuses(rfc: Rfc, safety: RollbackSafety) -> str:
    """Return why *rfc* may not carry these migrations; empty if it may. A request that calls itself something milder
    would be scored as that, and what was approved beforehand is what can be taken back."""
    if not safety.migrations:
        return ""
    if rfc.change_type == "rollback":
        return (f"{rfc.version} carries database migrations that the database lacks ({safety.migrations[0].name}), and "
                "a return to the version before changes no data; ask for it as a normal change")
    if rfc.category is not Category.DATABASE_SCHEMA:
        return (f"the request says that it touches {rfc.category.replace('_', ' ')}, but {rfc.version} carries "
                f"database migrations ({safety.migrations[0].name}); ask with the category database_schema")
    if rfc.change_type == "standard" and safety.verdict is not Reversal.REVERSIBLE:
        return (f"a standard change is approved beforehand, but the way back of {rfc.version} is "
                f"{safety.verdict.replace('_', ' ')}: {safety.reason}; ask for a normal change")
    return ""


def gravest(verdicts: Iterable[Reversal]) -> Reversal:
    """Return the gravest of *verdicts*; of none, the mildest."""
    return max(verdicts, key=lambda verdict: verdict.rank, default=Reversal.REVERSIBLE)


def concurrent_index(text: str) -> ConcurrentIndex | None:
    """Return the index that *text* makes or drops without a lock, if it does nothing else."""
    trees, _ = sql.parsed(text)
    if len(trees) != 1:
        return None
    kind = trees[0].WhichOneof("node")
    if kind == "index_stmt" and trees[0].index_stmt.concurrent and trees[0].index_stmt.idxname:
        tree = trees[0].index_stmt
        return ConcurrentIndex(makes=True, schema_name=tree.relation.schemaname, name=tree.idxname,
                               table=tree.relation.relname, tolerant=tree.if_not_exists)
    if kind == "drop_stmt" and trees[0].drop_stmt.concurrent and len(trees[0].drop_stmt.objects) == 1:
        parts = [part.string.sval for part in trees[0].drop_stmt.objects[0].list.items]
        return ConcurrentIndex(makes=False, schema_name=parts[0] if len(parts) == 2 else "", name=parts[-1],
                               tolerant=trees[0].drop_stmt.missing_ok)
    return None


def _judge(migration: Migration) -> _Judged:
    trees, fault = sql.parsed(migration.up)
    found, warnings, new = [], [], set[Thing]()
    code: dict[str, frozenset[str]] = {}
    if fault:
        found.append(JudgedStatement(migration=migration.name, statement=1, does="cannot be read",
                                     verdict=Reversal.NEEDS_RESTORE, why=fault))
    for number, tree in enumerate(trees, start=1):
        for one in judge_statement(tree, frozenset(new), code):
            found.append(JudgedStatement(migration=migration.name, statement=number, does=one.does,
                                         verdict=one.verdict, why=one.why))
            if one.warning:
                warnings.append(f"{migration.name}, statement {number}: {one.warning}")
        if tree.WhichOneof("node") in _NAMES_OTHERWISE:
            new.clear()
        made = {"table": sql.made_table(tree), "type": sql.made_type(tree)}
        new |= {(word, *name) for word, name in made.items() if name}
        for name, functions in kept(tree, code).items():
            code[name] = code.get(name, frozenset()) | functions
    verdict = gravest(one.verdict for one in found)
    undo = verdict is Reversal.REVERSIBLE and migration.down is not None and _undoes(trees, migration.down)
    if migration.down is not None and verdict is Reversal.REVERSIBLE and not undo:
        warnings.append(f"{migration.name}: Airlock does not run its SQL back, because that does not take away exactly "
                        "what was made")
    planned = PlannedMigration(
        name=migration.name, up_digest=migration.up_digest, down_digest=migration.down_digest, verdict=verdict,
        undo=undo, up_index=concurrent_index(migration.up),
        down_index=None if migration.down is None else concurrent_index(migration.down),
    )
    return _Judged(planned, tuple(found), tuple(warnings))


def _reason(verdict: Reversal, migrations: Sequence[PlannedMigration], found: Sequence[JudgedStatement]) -> str:
    if not migrations:
        return "the database has every migration that this version carries"
    names = ", ".join(one.name for one in migrations[:5]) + (" ..." if len(migrations) > 5 else "")
    if verdict is Reversal.REVERSIBLE:
        undone = "can" if all(one.undo for one in migrations) else "cannot"
        return f"{names}: only adds, so the version before can live with it; Airlock {undone} undo all of it"
    grave = [one for one in found if one.verdict is verdict]
    more = f" (and {len(grave) - 1} more of this sort)" if len(grave) > 1 else ""
    return f"{grave[0].migration} {grave[0].does}: {grave[0].why}{more}"


# --- whether SQL back undoes SQL forward ------------------------------------------------------------------------------


def _undoes(forward: Sequence[Any], down: str) -> bool:
    back, fault = sql.parsed(down)
    if fault or not back:
        return False
    made, removed = set[Thing](), set[Thing]()
    for tree in forward:
        things = _made(tree, made)
        if things is None:
            return False
        made |= things
    for tree in back:
        things = _removed(tree)
        if things is None:
            return False
        removed |= things
    tables = {thing[1:] for thing in removed if thing[0] == "table"}
    # What belongs to a table that goes, goes with it.
    parts = {thing for thing in made if thing[0] in ("column", "constraint") and thing[1:3] in tables}
    indexes = {thing for thing in made if thing[0] == "index"}
    named = {thing[:3] for thing in indexes if thing[3:] not in tables}
    return removed == (made - parts - indexes) | named


def _made(tree: Any, before: set[Thing]) -> set[Thing] | None:
    """Return what a statement makes; ``None`` if it does anything that SQL back could not surely take away."""
    kind = tree.WhichOneof("node")
    inner: Any = getattr(tree, kind or "", None)
    if any(type(node).__name__ in _CHANGES_ROWS for node in sql.nodes(inner) if node is not inner):
        return None
    if kind == "vacuum_stmt":
        return set()
    if kind == "comment_stmt":
        return set() if _goes_with_what_was_made(inner, before) else None
    if kind == "create_stmt":
        name = sql.made_table(tree)
        return {("table", *name)} if name else None
    if kind == "index_stmt":
        return _made_index(tree.index_stmt)
    if kind == "alter_table_stmt":
        return _made_parts(tree.alter_table_stmt, before)
    if kind in _MADE_BY:
        word, field = _MADE_BY[kind]
        relation = getattr(inner, field)
        sure = sql.lasts(relation) and not (getattr(inner, "replace", False) or getattr(inner, "if_not_exists", False))
        return {(word, *sql.identity(relation))} if sure else None
    if made := sql.made_type(tree):
        return {("type", *made)}
    if kind == "grant_stmt" and inner.is_grant:
        granted = {("table", *sql.identity(item.range_var)) for item in inner.objects}
        return set() if granted <= before else None
    if kind == "insert_stmt":
        return set() if ("table", *sql.identity(inner.relation)) in before else None
    return None


def _goes_with_what_was_made(comment: Any, before: set[Thing]) -> bool:
    """Return whether COMMENT speaks of what this migration made *before*: that of an old thing would be lost."""
    word = sql.object_word(comment.objtype)
    parts = list(comment.object.list.items or comment.object.type_name.names)
    if word in ("COLUMN", "TABCONSTRAINT"):
        owner, part = sql.identity_of_parts(parts[:-1]), "column" if word == "COLUMN" else "constraint"
        return bool(before & {("table", *owner), ("view", *owner), (part, *owner, parts[-1].string.sval)})
    known = {thing[:3] if thing[0] == "index" else thing for thing in before}
    return (_DROPPED_BY.get(word, ""), *sql.identity_of_parts(parts)) in known


def _made_index(tree: Any) -> set[Thing] | None:
    if tree.if_not_exists or not tree.idxname:
        return None
    return {("index", tree.relation.schemaname, tree.idxname, *sql.identity(tree.relation))}


def _made_parts(tree: Any, before: set[Thing]) -> set[Thing] | None:
    table, made = sql.identity(tree.relation), set[Thing]()
    is_new = ("table", *table) in before
    for part, name, sure in _table_parts(tree, "AddColumn", "AddConstraint"):
        if is_new:
            continue
        if not name or not sure:
            return None
        made.add((part, *table, name))
    return made


def _removed(tree: Any) -> set[Thing] | None:
    """Return what a statement of SQL back takes away; ``None`` if it does anything else."""
    kind = tree.WhichOneof("node")
    if kind == "drop_stmt":
        word = _DROPPED_BY.get(sql.object_word(tree.drop_stmt.remove_type))
        if word is None or sql.is_cascade(tree.drop_stmt):
            return None
        return {(word, *name) for name in sql.dropped_identities(tree.drop_stmt)}
    if kind == "alter_table_stmt":
        table = sql.identity(tree.alter_table_stmt.relation)
        parts = list(_table_parts(tree.alter_table_stmt, "DropColumn", "DropConstraint"))
        everywhere = tree.alter_table_stmt.relation.inh  # without ONLY, which leaves the column in every child
        sure = everywhere and all(sure for *_, sure in parts)
        return {(part, *table, name) for part, name, _ in parts} if sure else None
    return None


def _table_parts(tree: Any, column: str, constraint: str) -> Iterator[tuple[str, str, bool]]:
    """Yield what kind of part, its name, and whether the command surely does just that, for each command."""
    from postgast.pg_query_pb2 import AlterTableType

    for item in tree.cmds:
        command = item.alter_table_cmd
        word = str(AlterTableType.Name(command.subtype)).removeprefix("AT_")
        definition = getattr(command, "def")
        inner = getattr(definition, definition.WhichOneof("node")) if definition.WhichOneof("node") else None
        given = getattr(inner, "colname", "") or getattr(inner, "conname", "") or command.name
        making = word.startswith("Add")
        sure = word in (column, constraint) and not sql.is_cascade(command) and not (making and command.missing_ok)
        yield ("column" if word == column else "constraint"), given, sure
