"""What one effect of a SQL statement means for the way back: the words that every rule of SQL judges with. Pure."""

from __future__ import annotations

from typing import Any, NamedTuple

from airlock.change.sql.tree import Thing, identity, name_of
from airlock.models import Reversal

REVERSIBLE, FIX_FORWARD, NEEDS_RESTORE = Reversal.REVERSIBLE, Reversal.FIX_FORWARD, Reversal.NEEDS_RESTORE
LIVES_WITH = "the version before can live with it"
BREAKS = "the version before may not be able to live with it"
GONE = "what it held is gone, and only a restore brings it back"
UNKNOWN = "what it does to data cannot be told"


class Judgement(NamedTuple):
    """One effect of a statement. ``warning`` tells of a lock that keeps others waiting; empty: of none worth a word."""

    verdict: Reversal
    does: str
    why: str
    warning: str = ""


def held_rows(constraint: Any, table: str, new: frozenset[Thing]) -> str:
    """Return a warning where a *constraint* of a new *table* keeps others from removing rows of an old one."""
    old = constraint.pktable
    if not old.relname or ("table", *identity(old)) in new or constraint.fk_del_action not in ("a", "r"):
        return ""
    return (f"rows of {table} keep everyone, the version before too, from removing the rows of {name_of(old)} that "
            "they refer to; ON DELETE CASCADE or SET NULL does not")
