"""What it takes to go back behind one SQL statement: rules over the tree that PostgreSQL's own grammar makes of it.

A rule errs to the grave side: whatever no rule knows, cannot be read, or runs code that is not in the statement itself,
needs a restore. Nothing here is decided by how a statement is written. Knows no migration and no database; what depends
on the state of one (how large a table is, what type a column has) counts as the worst that it could be.

Which statement takes which lock is from PostgreSQL's documentation: "Explicit Locking", and the notes on ALTER TABLE.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from airlock.change.sql.expressions import unknown_functions
from airlock.change.sql.judgement import (
    BREAKS,
    FIX_FORWARD,
    GONE,
    LIVES_WITH,
    NEEDS_RESTORE,
    REVERSIBLE,
    UNKNOWN,
    Judgement,
    held_rows,
)
from airlock.change.sql.kept_code import NOT_CARRIED_OUT, Kept, run_by
from airlock.change.sql.table_changes import judge_alter_table
from airlock.change.sql.tree import Thing, dropped, identity, is_cascade, is_part, name_of, nodes, object_word, shown
from airlock.models import Reversal


def judge(statement: Any, new: frozenset[Thing], kept: Kept) -> tuple[Judgement, ...]:
    """Return every effect of one statement, at least one.

    :param new: tables and types that this migration made before: no lock on them keeps anybody waiting
    :param kept: the code that things of this migration keep, and run when they are used
    """
    kind = statement.WhichOneof("node") or "nothing"
    tree = getattr(statement, kind, None)
    rule = _RULES.get(kind)
    if rule is None or tree is None:
        return (Judgement(NEEDS_RESTORE, f"{kind.removesuffix('_stmt').replace('_', ' ')} statement", UNKNOWN),)
    found = tuple(rule(tree, new)) or (Judgement(NEEDS_RESTORE, "a statement without a known effect", UNKNOWN),)
    if kind in NOT_CARRIED_OUT:
        return found
    called = sorted({*unknown_functions(tree), *run_by(statement, kept)})
    return (*found, *_hidden(tree, new), *(Judgement(NEEDS_RESTORE, f"calls {name}()", UNKNOWN) for name in called))


def _hidden(tree: Any, new: frozenset[Thing]) -> Iterator[Judgement]:
    """What the statements do that are inside a statement: those in WITH."""
    for node in nodes(tree):
        word = type(node).__name__
        if node is tree or word not in _INSIDE:
            continue
        if word == "InsertStmt":
            yield from _insert(node, new)
        else:
            yield Judgement(NEEDS_RESTORE, "changes or removes rows inside another statement", GONE)


_INSIDE = ("InsertStmt", "DeleteStmt", "UpdateStmt", "MergeStmt", "ExecuteStmt", "CallStmt")
Rule = Callable[[Any, frozenset[Thing]], Iterable[Judgement]]


def _always(verdict: Reversal, does: str, why: str, warning: str = "") -> Rule:
    return lambda *_: (Judgement(verdict, does, why, warning),)


def _create_table(tree: Any, new: frozenset[Thing]) -> Iterator[Judgement]:
    name = name_of(tree.relation)
    if is_part(tree):
        yield Judgement(FIX_FORWARD, f"makes table {name} a part of another one", BREAKS,
                        f"{name} is made under a lock on the table it is a part of, which keeps everyone out")
        return
    sure = "" if not tree.if_not_exists else " unless there is one already, of whatever form"
    kept = [held_rows(node, name, new) for node in nodes(tree) if type(node).__name__ == "Constraint"]
    yield Judgement(REVERSIBLE, f"makes table {name}{sure}", LIVES_WITH, "; ".join(filter(None, kept)))


def _schema(tree: Any, new: frozenset[Thing]) -> Iterator[Judgement]:
    yield Judgement(REVERSIBLE, f"makes schema {shown(tree.schemaname)}", LIVES_WITH)
    for part in tree.schema_elts:
        yield from judge(part, new, {})


def _index(tree: Any, new: frozenset[Thing]) -> Iterator[Judgement]:
    table, name = name_of(tree.relation), shown(tree.idxname)
    is_new = ("table", *identity(tree.relation)) in new
    if tree.concurrent or is_new:
        strict = tree.unique and not is_new
        yield Judgement(FIX_FORWARD if strict else REVERSIBLE, f"makes index {name} on {table}",
                        "rows of the version before that are not unique are refused" if strict else LIVES_WITH)
        return
    yield Judgement(FIX_FORWARD, f"makes index {name} on {table} under a lock",
                    "nobody can write to the table meanwhile; CREATE INDEX CONCURRENTLY, in a migration of its own, "
                    "does without",
                    f"CREATE INDEX without CONCURRENTLY: nobody can write to {table} until it is built")


_DROPS_DATA = frozenset({"TABLE", "SCHEMA", "SEQUENCE", "TYPE", "DOMAIN", "FOREIGN_TABLE", "EXTENSION"})
_DROPS_NONE = frozenset({
    "INDEX", "VIEW", "MATVIEW", "FUNCTION", "PROCEDURE", "ROUTINE", "AGGREGATE", "TRIGGER", "POLICY", "RULE", "CAST",
    "COLLATION", "STATISTIC_EXT", "OPERATOR",
})  # fmt: skip


def _drop(tree: Any, _: frozenset[Thing]) -> Iterator[Judgement]:
    word = object_word(tree.remove_type)
    what = f"drops {word.lower().replace('_', ' ')} {', '.join(dropped(tree))[:200]}"
    if is_cascade(tree):
        yield Judgement(NEEDS_RESTORE, f"{what} and whatever depends on it", "what else goes with it cannot be told")
    elif word in _DROPS_DATA:
        yield Judgement(NEEDS_RESTORE, what, GONE)
    elif word in _DROPS_NONE:
        waits = word == "INDEX" and not tree.concurrent
        yield Judgement(FIX_FORWARD, what, "the version before may need it",
                        "DROP INDEX without CONCURRENTLY: nobody can use the table until it is done" if waits else "")
    else:
        yield Judgement(NEEDS_RESTORE, what, UNKNOWN)


def _insert(tree: Any, _: frozenset[Thing]) -> Iterator[Judgement]:
    from postgast.pg_query_pb2 import ONCONFLICT_UPDATE

    name = name_of(tree.relation)
    if tree.on_conflict_clause.action == ONCONFLICT_UPDATE:
        yield Judgement(NEEDS_RESTORE, f"overwrites rows of {name}", GONE)
    else:
        yield Judgement(REVERSIBLE, f"adds rows to {name}", LIVES_WITH)


def _rows(does: str) -> Rule:
    return lambda tree, _: (Judgement(NEEDS_RESTORE, f"{does} {name_of(tree.relation)}", GONE),)


def _truncate(tree: Any, _: frozenset[Thing]) -> Iterator[Judgement]:
    for item in tree.relations:
        yield Judgement(NEEDS_RESTORE, f"empties table {name_of(item.range_var)}", GONE)


def _grant(tree: Any, _: frozenset[Thing]) -> Iterator[Judgement]:
    if tree.is_grant:
        yield Judgement(REVERSIBLE, "grants rights", LIVES_WITH)
    else:
        yield Judgement(FIX_FORWARD, "takes rights away", "the version before may need them")


def _view(tree: Any, _: frozenset[Thing]) -> Iterator[Judgement]:
    name = name_of(tree.view)
    if tree.replace:
        yield Judgement(FIX_FORWARD, f"replaces view {name}", "the version before may read it as it was")
    else:
        yield Judgement(REVERSIBLE, f"makes view {name}", LIVES_WITH)


def _select(tree: Any, _: frozenset[Thing]) -> Iterator[Judgement]:
    made = tree.into_clause.rel
    yield Judgement(REVERSIBLE, f"makes table {name_of(made)}" if made.relname else "reads", LIVES_WITH)


def _made_from_query(tree: Any, _: frozenset[Thing]) -> Iterator[Judgement]:
    yield Judgement(REVERSIBLE, f"makes table {name_of(tree.into.rel)} from a query", LIVES_WITH)


def _refresh(tree: Any, _: frozenset[Thing]) -> Iterator[Judgement]:
    name = name_of(tree.relation)
    if tree.concurrent:
        yield Judgement(FIX_FORWARD, f"computes materialized view {name} anew", "what it showed before is gone")
    else:
        yield Judgement(FIX_FORWARD, f"computes materialized view {name} anew under a lock",
                        "nobody can read it meanwhile",
                        f"REFRESH without CONCURRENTLY: nobody can read {name} until it is done")


def _lock(tree: Any, _: frozenset[Thing]) -> Iterator[Judgement]:
    names = ", ".join(name_of(item.range_var) for item in tree.relations)
    yield Judgement(FIX_FORWARD, f"locks {names[:200]}", "others wait until the migration ends",
                    f"LOCK TABLE keeps others from {names[:200]} until the migration ends")


def _analyze(tree: Any, _: frozenset[Thing]) -> Iterator[Judgement]:
    if tree.is_vacuumcmd:
        yield Judgement(NEEDS_RESTORE, "vacuums", UNKNOWN)
    else:
        yield Judgement(REVERSIBLE, "gathers statistics", LIVES_WITH)


_ENUM = "the value stays for good, and rows that hold it are unknown to the version before"
_RULES: dict[str, Rule] = {
    "create_stmt": _create_table,
    "create_schema_stmt": _schema,
    "create_seq_stmt": _always(REVERSIBLE, "makes a sequence", LIVES_WITH),
    "create_enum_stmt": _always(REVERSIBLE, "makes an enum type", LIVES_WITH),
    "composite_type_stmt": _always(REVERSIBLE, "makes a type", LIVES_WITH),
    "create_domain_stmt": _always(REVERSIBLE, "makes a domain", LIVES_WITH),
    "create_stats_stmt": _always(REVERSIBLE, "makes extended statistics", LIVES_WITH),
    "comment_stmt": _always(REVERSIBLE, "writes a comment", LIVES_WITH),
    "alter_enum_stmt": _always(FIX_FORWARD, "adds or renames a value of an enum type", _ENUM),
    "index_stmt": _index,
    "alter_table_stmt": judge_alter_table,
    "drop_stmt": _drop,
    "rename_stmt": _always(FIX_FORWARD, "renames something", "the version before asks for the old name"),
    "alter_object_schema_stmt": _always(FIX_FORWARD, "moves something to another schema", BREAKS),
    "alter_owner_stmt": _always(FIX_FORWARD, "gives something another owner", BREAKS),
    "insert_stmt": _insert,
    "update_stmt": _rows("overwrites rows of"),
    "delete_stmt": _rows("removes rows of"),
    "merge_stmt": _rows("merges rows into"),
    "truncate_stmt": _truncate,
    "grant_stmt": _grant,
    "view_stmt": _view,
    "select_stmt": _select,
    "create_table_as_stmt": _made_from_query,
    "refresh_mat_view_stmt": _refresh,
    "vacuum_stmt": _analyze,
    "lock_stmt": _lock,
    "create_policy_stmt": _always(FIX_FORWARD, "makes a row policy", "the version before may see fewer rows"),
}
"""By the name that PostgreSQL's grammar gives a statement. What is not here needs a restore: DO and CALL, functions and
triggers, COPY, SET, extensions, roles, and whatever PostgreSQL will have next."""
