"""Code that a thing keeps and runs later, whenever it is used: defaults and checks of a table, the rule of a domain,
the query of a view. So that a migration which makes such a thing and uses it is seen to run that code.

Knows what one migration made. What things of the database keep that were there before cannot be known from here; what
they did is seen where a migration is carried out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from airlock.change.sql.expressions import unknown_functions
from airlock.change.sql.tree import nodes

Kept = Mapping[str, frozenset[str]]
"""Functions that may do more than compute, by the name of the thing whose use runs them. Without schemas, because one
thing may be written with its schema and without."""
NOT_CARRIED_OUT = frozenset({"create_stmt", "view_stmt", "create_domain_stmt", "create_policy_stmt", "comment_stmt"})
"""They keep expressions for later: what these call does not run now."""
_MAKES = {
    "create_stmt": "relation", "view_stmt": "view", "create_policy_stmt": "table", "composite_type_stmt": "typevar",
}  # fmt: skip
_USES = frozenset({"insert_stmt", "select_stmt", "create_table_as_stmt", "refresh_mat_view_stmt"})
_ONLY_MOVES_ON = frozenset({"nextval"})
"""What leaves a gap in a sequence, as every insert that fails does."""


def kept(statement: Any, known: Kept) -> Kept:
    """Return what the thing that *statement* makes keeps, if it makes one: also by way of what it is made from."""
    kind = statement.WhichOneof("node") or ""
    tree: Any = getattr(statement, kind, None)
    if kind == "create_domain_stmt":
        name = tree.domainname[-1].string.sval
    elif kind in _MAKES:
        name = getattr(tree, _MAKES[kind]).relname
    else:
        return {}
    found = set(unknown_functions(tree)) - _ONLY_MOVES_ON
    for one in (*_relations(tree), *_types(tree)):
        found |= known.get(one, frozenset())
    return {name: frozenset(found)} if found else {}


def run_by(statement: Any, known: Kept) -> frozenset[str]:
    """Return the functions that *statement* runs because it uses what keeps them."""
    kind = statement.WhichOneof("node") or ""
    tree = getattr(statement, kind, None)
    if not known or tree is None or kind in NOT_CARRIED_OUT:
        return frozenset()
    names = (*_relations(tree), *_types(tree)) if kind in _USES else tuple(_types(tree))
    return frozenset(function for name in names for function in known.get(name, ()))


def _relations(tree: Any) -> Iterator[str]:
    return (node.relname for node in nodes(tree) if type(node).__name__ == "RangeVar")


def _types(tree: Any) -> Iterator[str]:
    return (node.names[-1].string.sval for node in nodes(tree) if type(node).__name__ == "TypeName" and node.names)
