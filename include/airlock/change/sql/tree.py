"""SQL as the tree that PostgreSQL's own grammar makes of it, and what can be read from such a tree. Knows no rule.

The grammar is ``libpg_query``, through ``postgast``; imported on use, because few releases migrate anything.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from airlock.plain_text import harmless

LARGEST_SQL = 256 * 1024
Name = tuple[str, str]
"""What names a relation or a type, as the catalog has it: its schema (empty if none is written) and its name."""
Thing = tuple[str, ...]
"""A thing of a schema: its kind, its ``Name``, and a column, a constraint or the table of it."""
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
        try:
            made = parse(sql)
        except PgQueryError:
            made = parse(_without_comments(sql))
        return tuple(raw.stmt for raw in made.stmts), ""
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


def _without_comments(sql: str) -> str:
    """Return *sql* with spaces for its comments. To PostgreSQL they are space, but libpg_query does not look over one
    for the second word of NOT IN, NULLS LAST or WITH TIME ZONE. Between two texts one stays: space would join them."""
    from postgast import scan
    from postgast.pg_query_pb2 import Token

    blank, tokens = bytearray(sql.encode()), list(scan(sql).tokens)
    comments, texts = (Token.SQL_COMMENT, Token.C_COMMENT), (Token.SCONST, Token.USCONST, Token.BCONST, Token.XCONST)
    before = None
    for at, token in enumerate(tokens):
        if token.token not in comments:
            before = token.token
            continue
        following = next((one.token for one in tokens[at:] if one.token not in comments), None)
        if not (before in texts and following in texts):
            blank[token.start:token.end] = b" " * (token.end - token.start)
    return blank.decode()


def made_table(statement: Any) -> Name | None:
    """Return the table that *statement* makes for good, and which was surely not there before."""
    if statement.WhichOneof("node") != "create_stmt":
        return None
    tree = statement.create_stmt
    plain = lasts(tree.relation) and not tree.if_not_exists and not is_part(tree)
    return identity(tree.relation) if plain else None


def made_type(statement: Any) -> Name | None:
    """Return the type without a rule about values (an enum, a composite) that *statement* makes."""
    kind = statement.WhichOneof("node")
    if kind == "create_enum_stmt":
        return identity_of_parts(statement.create_enum_stmt.type_name)
    return identity(statement.composite_type_stmt.typevar) if kind == "composite_type_stmt" else None


def lasts(relation: Any) -> bool:
    """Return whether what is made as *relation* is there for other sessions: a temporary thing hides an old one of its
    name in its own session only, so that dropping it later, by name, would drop the old one."""
    return relation.relpersistence == "p" and not relation.schemaname.startswith("pg_temp")


def identity(relation: Any) -> Name:
    """Return what names *relation*: exactly, because two names may look alike where they are shown."""
    return (relation.schemaname, relation.relname)


def identity_of_parts(parts: Iterable[Any]) -> Name:
    """Return what names a thing whose name is written as a list."""
    texts = [part.string.sval for part in parts]
    return (texts[-2] if len(texts) > 1 else "", texts[-1] if texts else "")


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


def dropped(tree: Any) -> tuple[str, ...]:
    """Return the names of what a DROP drops, for people, with schemas where these are written."""
    return tuple(shown(".".join(part.string.sval for part in parts), 127) for parts in _dropped_parts(tree))


def dropped_identities(tree: Any) -> tuple[Name, ...]:
    """Return what names the relations or types that a DROP drops."""
    return tuple(identity_of_parts(parts) for parts in _dropped_parts(tree))


def _dropped_parts(tree: Any) -> Iterator[Any]:
    for item in tree.objects:
        kind = item.WhichOneof("node")
        field = {"list": "items", "type_name": "names", "object_with_args": "objname"}.get(kind, "")
        yield getattr(getattr(item, kind), field, (item,))


def object_word(number: int) -> str:
    """Return the word for a kind of object, such as ``TABLE``."""
    from postgast.pg_query_pb2 import ObjectType

    return str(ObjectType.Name(number)).removeprefix("OBJECT_")


def is_cascade(tree: Any) -> bool:
    """Return whether what depends on the thing goes with it."""
    from postgast.pg_query_pb2 import DROP_CASCADE

    return bool(tree.behavior == DROP_CASCADE)
