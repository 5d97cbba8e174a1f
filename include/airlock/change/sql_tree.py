"""SQL as the tree that PostgreSQL's own grammar makes of it, and what can be read from such a tree. Knows no rule.

The grammar is ``libpg_query``, through ``postgast``; imported on use, because few releases migrate anything.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from airlock.plain_text import harmless

LARGEST_SQL = 256 * 1024
_FUNCTIONS = (
    "abs array_agg array_length array_to_string avg btrim ceil char_length clock_timestamp concat concat_ws count "
    "date_part date_trunc encode decode extract floor format gen_random_uuid uuidv4 uuidv7 greatest json_build_object "
    "jsonb_build_array jsonb_build_object jsonb_set least left length lower lpad ltrim make_date max md5 min mod now "
    "nullif octet_length overlay position random regexp_replace replace reverse right round row_number rpad rtrim "
    "sha256 split_part starts_with string_agg strpos substr substring sum to_char to_date to_json to_jsonb "
    "to_timestamp to_tsvector translate trim trunc unnest upper"
)
KNOWN_FUNCTIONS = frozenset(_FUNCTIONS.split())
"""PostgreSQL's functions that only compute. A name without a schema means them: pg_catalog is searched first."""
STEADY = frozenset({"now", "date_trunc", "lower", "upper", "md5", "concat", "round"})
"""Of these, what PostgreSQL computes once for a default, so that no table is rewritten."""


_LONGEST_CHAIN = 4000
_LEAVES = (
    "IDENT", "SCONST", "ICONST", "FCONST", "BCONST", "XCONST", "USCONST", "NULL_P", "TRUE_P", "FALSE_P", "DEFAULT",
    "ASCII_40", "ASCII_41", "ASCII_44", "ASCII_46", "SQL_COMMENT", "C_COMMENT",
)  # fmt: skip
"""What may stand thousands of times in a list of values: none of it makes a tree deeper. (ASCII: brackets , and .)"""



def parsed(sql: str) -> tuple[tuple[Any, ...], str]:
    """Return the statements of *sql* as trees, and why it cannot be read, which is empty if it can."""
    from google.protobuf.message import DecodeError
    from postgast import PgQueryError, parse

    if "\0" in sql:
        return (), "it holds a NUL character, behind which nothing would be read"
    if len(sql) > LARGEST_SQL:
        return (), f"it is longer than {LARGEST_SQL // 1024} KiB"
    try:
        if _chain(sql) > _LONGEST_CHAIN:
            return (), f"one of its statements has more than {_LONGEST_CHAIN} operators and keywords"
        return tuple(raw.stmt for raw in parse(sql).stmts), ""
    except PgQueryError as error:
        return (), f"PostgreSQL's grammar says: {shown(error.message, 120)}"
    except (DecodeError, UnicodeError, RecursionError):
        return (), "it is nested too deeply, or is no text"


def _chain(sql: str) -> int:
    """Return the most operators and keywords that one statement has. Only they make its tree deep, and a tree of some
    ten thousand levels ends the process, because the grammar's own code runs out of stack."""
    from postgast import scan
    from postgast.pg_query_pb2 import Token

    leaves = {getattr(Token, name) for name in _LEAVES}
    longest = count = 0
    for token in scan(sql).tokens:
        count = 0 if token.token == Token.ASCII_59 else count + (token.token not in leaves)
        longest = max(longest, count)
    return longest


def made_table(statement: Any) -> str:
    """Return the name of the table that *statement* makes, which was surely not there before; else an empty text."""
    if statement.WhichOneof("node") != "create_stmt":
        return ""
    tree = statement.create_stmt
    plain = tree.relation.relpersistence == "p" and not tree.if_not_exists and not is_part(tree)
    return name_of(tree.relation) if plain else ""


def is_part(tree: Any) -> bool:
    """Return whether a table is made as a part of another one: its child, or its partition."""
    return bool(tree.inh_relations) or bool(tree.HasField("partbound"))


def shown(text: str, limit: int = 63) -> str:
    """Return a name out of a statement, so that it does nothing where it is shown."""
    return " ".join(harmless(text).split())[:limit] or "(nameless)"


def name_of(relation: Any) -> str:
    """Return the name of a table, index or view, with its schema if that is written."""
    return shown(f"{relation.schemaname}.{relation.relname}" if relation.schemaname else relation.relname, 127)


def nodes(tree: Any) -> Iterator[Any]:
    """Yield every node below *tree*, itself included."""
    from postgast import walk

    for _, node in walk(tree):
        yield node


def functions_in(tree: Any) -> Iterator[str]:
    """Yield every function that *tree* calls, as it is named there."""
    for node in nodes(tree):
        if type(node).__name__ == "FuncCall":
            yield ".".join(part.string.sval for part in node.funcname)


def unknown_functions(tree: Any) -> tuple[str, ...]:
    """Return the functions that *tree* calls and that may do more than compute."""
    names = {name.removeprefix("pg_catalog.") for name in functions_in(tree)}
    return tuple(sorted(shown(name) for name in names - KNOWN_FUNCTIONS))


def dropped(tree: Any) -> tuple[str, ...]:
    """Return the names of what a DROP drops, with schemas where these are written."""
    names = []
    for item in tree.objects:
        inner = getattr(item, item.WhichOneof("node"))
        parts = getattr(inner, {"list": "items", "type_name": "names", "object_with_args": "objname"}.get(
            item.WhichOneof("node"), ""), (item,))
        names.append(shown(".".join(part.string.sval for part in parts), 127))
    return tuple(names)


def object_word(number: int) -> str:
    """Return the word for a kind of object, such as ``TABLE``."""
    from postgast.pg_query_pb2 import ObjectType

    return str(ObjectType.Name(number)).removeprefix("OBJECT_")


def is_cascade(tree: Any) -> bool:
    """Return whether what depends on the thing goes with it."""
    from postgast.pg_query_pb2 import DROP_CASCADE

    return bool(tree.behavior == DROP_CASCADE)
