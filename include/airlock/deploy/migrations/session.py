"""A session of a PostgreSQL database that releases migrate: its settings, and what the server says put in our words,
without a row of anybody's data. Knows no migration."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from airlock.connections import postgres_parameters
from airlock.errors import PermanentError, TemporaryError
from airlock.plain_text import harmless

log = logging.getLogger(__name__)
_FOR_GOOD = ("authentication", "password", "does not exist")
_NAMES_ONLY = ("08", "0A", "23", "25", "28", "2B", "3", "40", "42", "53", "54", "55", "57")
"""Classes of SQLSTATE whose first line holds names, and words of the statement, and no values of rows."""
_HINTS = {
    "57014": "raise statement_timeout_seconds, or do less at once",
    "42501": "give the role of the connection the right to do that",
}
# Classes and states of SQLSTATE that pass: connection, resources, deadlock, serialization, lock timeout, shutdown.
_PASSES = ("08", "53", "40001", "40P01", "55P03", "57P01", "57P02", "57P03")


@contextmanager
def open_session(connection: str, name: str, settings: Mapping[str, str], what: str) -> Iterator[Any]:
    """Yield a session of the database *name* behind the Airflow connection *connection*, in autocommit mode.

    :param what: what is done in it, for messages
    :raises TemporaryError: the database is away, busy or locked; nothing was changed by this try
    :raises PermanentError: a statement failed
    """
    import psycopg

    parameters = postgres_parameters(connection, name)
    try:
        with psycopg.connect(**parameters, autocommit=True) as session:
            for key, value in settings.items():
                session.execute("SELECT set_config(%s, %s, false)", [key, value])
            _notice_a_dead_client(session)
            yield session
    except psycopg.Error as error:
        # without its cause, which has the row in its words
        raise _failure(f"{name}, connection {connection}: {what}", error) from None


def _notice_a_dead_client(session: Any) -> None:
    """Let the server end what a killed process began. (PostgreSQL 14; not on every system.)"""
    import psycopg

    try:
        session.execute("SELECT set_config(name, '2s', false) FROM pg_settings "
                        "WHERE name = 'client_connection_check_interval'")
    except psycopg.DatabaseError:
        log.debug("the server cannot look whether its client is there; a killed task's statement runs to its end")


def _without_rows(error: Any, state: str) -> str:
    """Return what the server said: its first line only, and of that no value, because the rest may show rows."""
    said = " ".join(harmless(error.diag.message_primary or str(error)).split())[:300] or type(error).__name__
    if not state or (state.startswith(_NAMES_ONLY) and not _is_raised(error)):
        return said
    if state.startswith("22"):  # of data: "invalid input syntax for type integer: ..."
        return re.split(r'[":]|0x', said, maxsplit=1)[0].strip()
    return f"{type(error).__name__} (its own words may quote rows; the server's log has them)"


def _is_raised(error: Any) -> bool:
    """Return whether the code of a function raised *error*, with whatever words and state it liked."""
    return (error.diag.source_function or "") == "exec_stmt_raise"


def _failure(where: str, error: Any) -> TemporaryError | PermanentError:
    """Return the error for what the server said."""
    import psycopg

    state = error.sqlstate or ""
    said = _without_rows(error, state)
    away = isinstance(error, psycopg.OperationalError) and not state and not any(sign in said for sign in _FOR_GOOD)
    if state.startswith(_PASSES) or away:
        return TemporaryError(f"{where}: {said}; nothing was changed by this try, it is made again")
    hint = _HINTS.get(state, "correct the migration")
    return PermanentError(f"{where} failed: {said} (SQLSTATE {state or 'none'}); nothing was changed; {hint}")
