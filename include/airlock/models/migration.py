"""A migration of a database, and what it takes to go back behind it."""

from __future__ import annotations

import hashlib
from enum import StrEnum
from typing import Annotated

from pydantic import StringConstraints

from airlock.models.frozen import Digest, Frozen

MigrationName = Annotated[str, StringConstraints(pattern=r"^[0-9]{4}_[a-z0-9][a-z0-9_]{0,99}$")]


class Reversal(StrEnum):
    """What it takes to go back behind a change of data, from the mildest to the gravest."""

    REVERSIBLE = "reversible"
    FIX_FORWARD = "fix_forward"
    NEEDS_RESTORE = "needs_restore"

    @property
    def rank(self) -> int:
        """Return 0 for the mildest, 2 for the gravest."""
        return tuple(Reversal).index(self)


class Migration(Frozen):
    """One change of a database's schema as an artifact carries it: SQL forward, and SQL back if there is any."""

    name: MigrationName
    up: str
    down: str | None = None

    @property
    def up_digest(self) -> str:
        """Return the digest of the SQL forward."""
        return "sha256:" + hashlib.sha256(self.up.encode()).hexdigest()

    @property
    def down_digest(self) -> str | None:
        """Return the digest of the SQL back; ``None`` if there is none."""
        return None if self.down is None else "sha256:" + hashlib.sha256(self.down.encode()).hexdigest()


class ConcurrentIndex(Frozen):
    """An index that is made or dropped without a lock: PostgreSQL allows that outside a transaction only.

    ``table`` is there when it is made. ``tolerant``: IF [NOT] EXISTS. Names are as in the catalog, without quotes.
    """

    makes: bool
    schema_name: str = ""
    name: str
    table: str = ""
    tolerant: bool = False


class PlannedMigration(Frozen):
    """One migration of a plan. ``undo``: its SQL back takes away what it made and nothing else, so Airlock may run it.

    ``up_index`` and ``down_index``: that SQL is nothing but this index; all other SQL runs in one transaction.
    """

    name: MigrationName
    up_digest: Digest
    down_digest: Digest | None
    verdict: Reversal
    undo: bool
    up_index: ConcurrentIndex | None = None
    down_index: ConcurrentIndex | None = None


class JudgedStatement(Frozen):
    """One effect of one statement of a migration, and what it takes to go back behind it."""

    migration: str
    statement: int
    does: str
    verdict: Reversal
    why: str


class RollbackSafety(Frozen):
    """The rollback-safety verdict on the migrations of a release; ``statements`` led to it, the gravest first."""

    verdict: Reversal = Reversal.REVERSIBLE
    reason: str = "Airlock runs no database migrations for this service"
    migrations: tuple[PlannedMigration, ...] = ()
    statements: tuple[JudgedStatement, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def in_short(self) -> dict[str, str]:
        """Return what the risk is scored with."""
        return {"verdict": self.verdict.value, "reason": self.reason}
