"""Opens sessions in PostgreSQL in which values are written the same way, whatever server, database and role default to.

Knows psycopg and how its errors are told; no driver, no facts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from airlock.backup.drivers.databases import postgres_errors as errors
from airlock.backup.drivers.databases import postgres_facts as measure


@contextmanager
def session(parameters: Mapping[str, Any], options: str, label: str, where: str) -> Iterator[Any]:
    """Yield a psycopg connection in autocommit mode; the errors of its body are put in our words, about *where*."""
    import psycopg

    with explained(label, where), psycopg.connect(**parameters, autocommit=True, options=options) as opened:
        if opened.info.parameter_status("server_encoding") == "SQL_ASCII":
            opened.execute("SET client_encoding = 'LATIN1'")  # each byte is a character, and back again
        for setting in measure.SETTINGS:
            opened.execute(setting)
        yield opened


@contextmanager
def explained(label: str, where: str) -> Iterator[None]:
    """Put the errors of the body in our words, about *where*."""
    import psycopg

    try:
        yield
    except psycopg.Error as error:
        # the cause is left out: its words may quote a row
        raise errors.error_failure(label, where, error) from None
