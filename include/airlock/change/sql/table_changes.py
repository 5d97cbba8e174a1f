"""What it takes to go back behind ALTER TABLE: one judgement for each of its commands. As ``statements``, whose part it
is: whatever is not known here needs a restore."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from airlock.change.sql.expressions import BUILT_IN_TYPES, STEADY, functions_in, is_null, surely_a_value
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
from airlock.change.sql.tree import Thing, identity, identity_of_parts, is_cascade, name_of, object_word, shown

_MORE = "what else goes with it cannot be told"
_GUARD = "once a row is written that it would have refused, it cannot be put back"
_SERIAL = frozenset({"serial", "bigserial", "smallserial", "serial2", "serial4", "serial8"})


def judge_alter_table(tree: Any, new: frozenset[Thing]) -> Iterator[Judgement]:
    """Yield a judgement for each command of an ALTER TABLE, or of an ALTER of another thing that has its grammar.

    :param new: tables and types that this migration made before
    """
    from postgast.pg_query_pb2 import AlterTableType

    table, sort = name_of(tree.relation), object_word(tree.objtype)
    is_new = sort == "TABLE" and ("table", *identity(tree.relation)) in new
    for item in tree.cmds:
        command = item.alter_table_cmd
        word = str(AlterTableType.Name(command.subtype)).removeprefix("AT_")
        rule = _COMMANDS.get(word)
        if rule is None:
            yield Judgement(NEEDS_RESTORE, f"changes {table} in an unknown way", UNKNOWN)
        elif is_new:
            yield _on_new_table(word, rule(command, table, new), command, new)
        else:
            yield _of_its_sort(sort, word, rule(command, table, new))


def _on_new_table(word: str, found: Judgement, command: Any, new: frozenset[Thing]) -> Judgement:
    """A table that nobody uses yet makes nobody wait and breaks nobody; what else a command reaches may be old."""
    definition = getattr(command, "def")
    if word in ("AttachPartition", "DetachPartition"):
        part = definition.partition_cmd.name
        if ("table", *identity(part)) not in new:
            return Judgement(FIX_FORWARD, f"{found.does}, which was there before: {name_of(part)}",
                             f"who drops the new table drops {name_of(part)} and all of its rows", found.warning)
    if found.verdict is not FIX_FORWARD:
        return found
    kept = held_rows(definition.constraint, "the new table", new) if word == "AddConstraint" else ""
    return Judgement(REVERSIBLE, found.does, "the table is new", kept)


def _of_its_sort(sort: str, word: str, found: Judgement) -> Judgement:
    """The judgement of a command on another *sort* of thing than a table that was there before: what is mild for a
    table's storage or for its next rows is not mild for a view, a type or a table of another server."""
    if found.verdict is not REVERSIBLE or sort in _STORED or (sort == "INDEX" and word in _HOW_STORED):
        return found
    return Judgement(FIX_FORWARD, f"{found.does} ({sort.lower().replace('_', ' ')})", _WHO_READS.get(sort, BREAKS))


_STORED = frozenset({"TABLE", "MATVIEW"})
_HOW_STORED = frozenset({"SetRelOptions", "ResetRelOptions", "SetStatistics", "SetOptions", "ResetOptions"})
_WHO_READS = {
    "VIEW": "who may read through it, and which rows, may be others than before",
    "FOREIGN_TABLE": "the other server may not have it",
    "TYPE": "every table and function that uses the type is changed",
}
Command = Callable[[Any, str, frozenset[Thing]], Judgement]


def _fixed(verdict: Any, does: str, why: str, warning: str = "") -> Command:
    return lambda command, table, _: Judgement(
        verdict, does.format(table=table, name=shown(command.name)), why, warning.format(table=table)
    )


def _add_column(command: Any, table: str, new: frozenset[Thing]) -> Judgement:
    column = getattr(command, "def").column_def
    does = f"adds column {table}.{shown(column.colname)}"
    kinds, default = _constraints(column)
    kind = identity_of_parts(column.type_name.names)
    if column.type_name.names and column.type_name.names[-1].string.sval in _SERIAL:
        return _rewrites(does, table)
    if default is not None and not set(functions_in(default)) <= STEADY:
        return _rewrites(does, table)
    if kinds - {"NULL", "NOTNULL", "DEFAULT"}:
        if kinds & {"IDENTITY", "GENERATED"}:
            return _rewrites(does, table)
        return Judgement(FIX_FORWARD, f"{does} with a constraint",
                         "rows are checked under a lock, and rows of the version before may be refused",
                         f"ADD COLUMN with a constraint: nobody can use {table} while every row is checked")
    if "NOTNULL" in kinds and default is None:
        return Judgement(FIX_FORWARD, f"{does} that must have a value and has no default",
                         "rows that the version before writes are refused")
    if "NOTNULL" in kinds and not surely_a_value(default):
        return Judgement(FIX_FORWARD, f"{does} that must have a value, with a default that may be NULL",
                         "rows that the version before writes may be refused")
    if not (kind[0] in ("", "pg_catalog") and kind[1] in BUILT_IN_TYPES) and ("type", *kind) not in new:
        return Judgement(FIX_FORWARD, f"{does} of the type {shown('.'.join(filter(None, kind)))}",
                         "if that is a domain, it may refuse the rows that the version before writes")
    return Judgement(REVERSIBLE, does, LIVES_WITH)


def _constraints(column: Any) -> tuple[set[str], Any]:
    """Return the kinds of a column's constraints, and the expression of its default."""
    from postgast.pg_query_pb2 import ConstrType

    found, default = set(), None
    for item in column.constraints:
        kind = str(ConstrType.Name(item.constraint.contype)).removeprefix("CONSTR_")
        found.add(kind)
        if kind == "DEFAULT" and not is_null(item.constraint.raw_expr):
            default = item.constraint.raw_expr
    return found, default


def _rewrites(does: str, table: str) -> Judgement:
    return Judgement(FIX_FORWARD, f"{does} and writes every row anew", "nobody can use the table meanwhile",
                     f"the whole table {table} is written anew: nobody can read it or write to it until that is done")


def _add_constraint(command: Any, table: str, _: frozenset[Thing]) -> Judgement:
    constraint = getattr(command, "def").constraint
    does = f"adds constraint {shown(constraint.conname) if constraint.conname else ''} to {table}".replace("  ", " ")
    if constraint.skip_validation:
        return Judgement(FIX_FORWARD, does, "rows that the version before writes may be refused")
    if constraint.indexname:
        return Judgement(FIX_FORWARD, f"{does} from an index", "rows that the version before writes may be refused")
    return Judgement(FIX_FORWARD, does,
                     "every row is checked under a lock, and rows that the version before writes may be refused",
                     f"ADD CONSTRAINT without NOT VALID: nobody can write to {table} while every row is checked")


def _drop_column(command: Any, table: str, _: frozenset[Thing]) -> Judgement:
    does = f"drops column {table}.{shown(command.name)}"
    if is_cascade(command):
        return Judgement(NEEDS_RESTORE, f"{does} and whatever depends on it", _MORE)
    return Judgement(NEEDS_RESTORE, does, GONE)


def _drop_constraint(command: Any, table: str, _: frozenset[Thing]) -> Judgement:
    does = f"drops constraint {shown(command.name)} of {table}"
    if is_cascade(command):
        return Judgement(NEEDS_RESTORE, f"{does} and whatever depends on it", _MORE)
    return Judgement(FIX_FORWARD, does, _GUARD)


def _column_type(command: Any, table: str, _: frozenset[Thing]) -> Judgement:
    column = getattr(command, "def").column_def
    kind = [part.string.sval for part in column.type_name.names]
    does = f"changes the type of {table}.{shown(command.name)}"
    warning = f"ALTER TYPE may write the whole table {table} anew: nobody can read it or write to it until that is done"
    if kind[-1:] == ["text"] and not column.type_name.array_bounds and not column.HasField("raw_default"):
        return Judgement(FIX_FORWARD, f"{does} to text", BREAKS, warning)
    why = "the type before is not known from here, so values may be cut or rounded"
    return Judgement(NEEDS_RESTORE, does, why, warning)


_CHECKED = "SET NOT NULL: nobody can use {table} while every row is checked"
_REWRITTEN = "the whole table {table} is written anew: nobody can read it or write to it until that is done"
_REFUSED = "rows that the version before writes may be refused, or get other values"
_ALONE = "nobody can use it meanwhile"
_TRIGGERS = "what is written meanwhile is not seen by it"
_COMMANDS: dict[str, Command] = {
    "AddColumn": _add_column,
    "AddConstraint": _add_constraint,
    "AddIndexConstraint": _add_constraint,
    "DropColumn": _drop_column,
    "AlterColumnType": _column_type,
    "SetNotNull": _fixed(NEEDS_RESTORE, "lets {table}.{name} no more be without a value",
                         "which rows had none is lost, and rows without one are refused, for the version before too",
                         _CHECKED),
    "ColumnDefault": _fixed(FIX_FORWARD, "changes the default of {table}.{name}", _REFUSED),
    "DropNotNull": _fixed(FIX_FORWARD, "lets {table}.{name} be without a value", _GUARD),
    "DropConstraint": _drop_constraint,
    "ValidateConstraint": _fixed(REVERSIBLE, "checks all rows of {table} against constraint {name}", LIVES_WITH),
    "SetStatistics": _fixed(REVERSIBLE, "changes how {table}.{name} is sampled", LIVES_WITH),
    "SetOptions": _fixed(REVERSIBLE, "changes how {table}.{name} is sampled", LIVES_WITH),
    "ResetOptions": _fixed(REVERSIBLE, "changes how {table}.{name} is sampled", LIVES_WITH),
    "SetRelOptions": _fixed(REVERSIBLE, "changes how {table} is stored", LIVES_WITH),
    "ResetRelOptions": _fixed(REVERSIBLE, "changes how {table} is stored", LIVES_WITH),
    "SetStorage": _fixed(REVERSIBLE, "changes how {table}.{name} is stored", LIVES_WITH),
    "SetCompression": _fixed(REVERSIBLE, "changes how {table}.{name} is stored", LIVES_WITH),
    "ChangeOwner": _fixed(FIX_FORWARD, "gives {table} another owner", BREAKS),
    "SetTableSpace": _fixed(FIX_FORWARD, "moves {table} to another tablespace", _ALONE, _REWRITTEN),
    "SetAccessMethod": _fixed(FIX_FORWARD, "stores {table} in another way", _ALONE, _REWRITTEN),
    "SetLogged": _fixed(FIX_FORWARD, "makes {table} survive a crash", _ALONE, _REWRITTEN),
    "SetUnLogged": _fixed(NEEDS_RESTORE, "lets a crash empty {table}", GONE, _REWRITTEN),
    "EnableRowSecurity": _fixed(FIX_FORWARD, "lets policies hide rows of {table}", BREAKS),
    "DisableRowSecurity": _fixed(FIX_FORWARD, "lets everyone see all rows of {table}", BREAKS),
    "ForceRowSecurity": _fixed(FIX_FORWARD, "lets policies hide rows of {table}", BREAKS),
    "NoForceRowSecurity": _fixed(FIX_FORWARD, "lets the owner see all rows of {table}", BREAKS),
    "DisableTrig": _fixed(FIX_FORWARD, "switches trigger {name} of {table} off", _TRIGGERS),
    "DisableTrigAll": _fixed(FIX_FORWARD, "switches the triggers of {table} off", _TRIGGERS),
    "DisableTrigUser": _fixed(FIX_FORWARD, "switches the triggers of {table} off", _TRIGGERS),
    "AttachPartition": _fixed(FIX_FORWARD, "attaches a partition to {table}", BREAKS,
                              "ATTACH PARTITION locks the partition while its rows are checked"),
    "DetachPartition": _fixed(FIX_FORWARD, "detaches a partition from {table}", "its rows are not seen any more"),
    "AddIdentity": _fixed(FIX_FORWARD, "lets {table}.{name} number its rows", _REFUSED),
    "DropIdentity": _fixed(FIX_FORWARD, "lets {table}.{name} no more number its rows", _REFUSED),
    "DropExpression": _fixed(FIX_FORWARD, "lets {table}.{name} no more be computed", _REFUSED),
}
