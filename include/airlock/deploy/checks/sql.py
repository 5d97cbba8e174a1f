"""Check ``sql``: does a query give what it must? PostgreSQL, through an Airflow connection.

The session is read-only, its one statement has a time limit, and nothing else fits in beside the query. Rows stay where
they are: they are counted by the server, and of one value only how it stands to what it must be is kept. Knows no
migration; must not know whose database it is.
"""

from __future__ import annotations

import time
from decimal import Decimal, InvalidOperation
from typing import Annotated, Any, Self

from pydantic import Field, StrictInt, StringConstraints, model_validator

from airlock.connections import ConnectionId, connection
from airlock.deploy.check import Check, Subject
from airlock.deploy.comparison import Comparison, Relation
from airlock.deploy.postgres_session import Work, milliseconds, open_session
from airlock.errors import PermanentError
from airlock.models import Answer, Frozen, Verdict
from airlock.models.needs import CONNECTION, ConnectionNeed, Needs, Permission, Stage, System
from airlock.options import Options

_MOST_ROWS = 1_000_000
_GRACE_SECONDS = 5.0
_NUMBERS = {20, 21, 23, 26, 700, 701, 1700}  # oids of PostgreSQL's numbers
_BOOLEAN = 16
_SHOWN_QUERY = 80


class RowCount(Comparison):
    """How many rows there must be, counted up to a million."""

    equals: StrictInt | None = Field(None, ge=0, le=_MOST_ROWS)
    """Exactly so many."""
    not_equals: StrictInt | None = Field(None, ge=0, le=_MOST_ROWS)
    """Any number but this."""
    at_least: StrictInt | None = Field(None, ge=0, le=_MOST_ROWS)
    """So many or more."""
    at_most: StrictInt | None = Field(None, ge=0, le=_MOST_ROWS)
    """So many or fewer."""

    @model_validator(mode="after")
    def _something(self) -> Self:
        if not self._bounds():
            raise ValueError("says nothing about the rows; add equals, not_equals, at_least or at_most")
        return self


class SqlOptions(Options):
    """A query, and what it must give."""

    connection: ConnectionId
    """Airflow connection of a PostgreSQL role that may read what the query reads."""
    database: str = Field("", max_length=63)
    """Another database than the connection names."""
    query: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=20_000)]
    """One SELECT, VALUES or WITH."""
    value: Comparison | None = None
    """What the one column of the one row must be."""
    rows: RowCount | None = None
    """How many rows there must be."""
    within_seconds: float = Field(10, gt=0, le=3600)
    """Time limit of the statement."""

    @model_validator(mode="after")
    def _asked(self) -> Self:
        if self.value is None and self.rows is None:
            raise ValueError("neither value nor rows is given, so any answer would do; add one of them")
        return self


class SqlFound(Frozen):
    """How many rows and columns there are, and how the value stands to its bounds (``None``: there is not one)."""

    rows: int = Field(ge=0)
    columns: int = Field(ge=0)
    relations: dict[str, Relation] | None = None
    seconds: float = Field(ge=0)


class SqlCheck(Check):
    """See the module."""

    Options = SqlOptions
    Found = SqlFound
    needs = Needs(
        connections=(ConnectionNeed(sort="PostgreSQL", stages=(Stage.CHECK,)),),
        permissions=(Permission(system=System.POSTGRESQL, connection=CONNECTION, actions=("connect",), on="{database}",
                                stages=(Stage.CHECK,)),),
        also=("the role of the connection may SELECT from what the query reads; it needs no right to write",),
    )
    options: SqlOptions

    @property
    def label(self) -> str:
        query = " ".join(self.options.query.split())
        shown = query if len(query) <= _SHOWN_QUERY else f"{query[:_SHOWN_QUERY]}…"
        return f"sql on {self.options.connection}: {shown}"

    def look(self, subject: Subject) -> SqlFound:  # noqa: ARG002 - a database is the same to every version
        options = self.options
        sort = connection(options.connection).conn_type
        if sort not in ("postgres", "postgresql"):
            raise PermanentError(f"check sql: connection {options.connection} is of type {sort!r}, and only PostgreSQL "
                                 "can be asked; name a connection of type postgres")
        begun = time.monotonic()
        work = Work("check sql", mend="correct the query", limit="within_seconds")
        most_seconds = options.within_seconds + _GRACE_SECONDS
        with open_session(options.connection, options.database, {}, work, most_seconds) as session:
            session.read_only = True
            with session.transaction(force_rollback=True):
                # Of the transaction alone, because pools lend a session to others and know no start-up options.
                for name, value in (("statement_timeout", milliseconds(options.within_seconds)),
                                    ("client_encoding", "UTF8")):
                    session.execute("SELECT set_config(%s, %s, true)", [name, value])
                # In the extended protocol, which takes one statement: what follows a semicolon is refused.
                session.execute(f"DECLARE airlock_check NO SCROLL CURSOR FOR {options.query}", binary=True)
                first = session.execute(f"FETCH {0 if options.value is None else 1} FROM airlock_check")
                columns = len(first.description or ())
                rest = session.execute(f"MOVE FORWARD {_MOST_ROWS + 1} FROM airlock_check")
                rows = first.rowcount + rest.rowcount
        one = options.value is not None and rows == columns == 1
        relations = options.value.relations(_value(first.pgresult)) if one and options.value is not None else None
        return SqlFound(rows=rows, columns=columns, relations=relations, seconds=round(time.monotonic() - begun, 3))

    def judge(self, found: SqlFound) -> Verdict:
        """Where one value is asked for, none is inconclusive and several are an error: neither is a zero."""
        if self.options.value is not None:
            if found.rows == 0 or Relation.MISSING in (found.relations or {}).values():
                return self._said(Answer.INCONCLUSIVE, "gave no value")
            if found.relations is None or found.rows != 1 or found.columns != 1:
                return self._said(Answer.ERROR, f"gave {found.rows} row(s) of {found.columns} column(s) where one "
                                                "value is asked for")
        faults = [f"the value {fault}" for fault in self.options.value.faults(found.relations or {})
                  ] if self.options.value is not None else []
        if self.options.rows is not None:
            relations = self.options.rows.relations(found.rows)
            faults += [f"the number of rows, {found.rows}, {fault}" for fault in self.options.rows.faults(relations)]
        if faults:
            return self._said(Answer.FAIL, ", ".join(faults))
        return self._said(Answer.PASS, "gave what it must")

    def _said(self, answer: Answer, text: str) -> Verdict:
        return Verdict(answer=answer, sentence=f"{self.label}: {text}")


def _value(result: Any) -> Any:
    """Return the one value of *result* as it came over the wire: what a library makes of it may fail and quote it."""
    raw: bytes | None = result.get_value(0, 0)
    if raw is None:
        return None
    text, sort = raw.decode("utf-8", "replace"), result.ftype(0)
    if sort == _BOOLEAN:
        return text == "t"
    if sort in _NUMBERS:
        try:
            return Decimal(text)
        except InvalidOperation:
            return text
    return text
