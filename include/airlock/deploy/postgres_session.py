"""A session of a PostgreSQL database that releases migrate or check: its settings, its time limit, and what the server
says put in our words, without a row of anybody's data. Knows no migration and no check."""

from __future__ import annotations

import logging
import os
import re
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from airlock.connections import postgres_parameters
from airlock.errors import PermanentError, TemporaryError
from airlock.plain_text import harmless

log = logging.getLogger(__name__)
_FOR_GOOD = ("authentication", "password", "does not exist")
_NAMES_ONLY = ("08", "0A", "23", "25", "28", "2B", "3", "40", "42", "53", "54", "55", "57")
"""Classes of SQLSTATE whose first line holds names, and words of the statement, and no values of rows."""
_TOO_LONG = "57014"
_HINTS = {
    "42501": "give the role of the connection the right to do that",
}
# Classes and states of SQLSTATE that pass: connection, resources, deadlock, serialization, lock timeout, shutdown.
_PASSES = ("08", "53", "40001", "40P01", "55P03", "57P01", "57P02", "57P03")


@dataclass(frozen=True)
class Work:
    """What is done in a session, for messages: *what*, how to *mend* what fails, and which setting limits its time."""

    what: str
    mend: str
    limit: str


def milliseconds(seconds: float) -> str:
    """Return a time limit as PostgreSQL takes it, to which 0 means that there is none."""
    return f"{max(1, round(seconds * 1000))}ms"


@contextmanager
def open_session(
    connection: str, name: str, settings: Mapping[str, str], work: Work, most_seconds: float = 0
) -> Iterator[Any]:
    """Yield a session of the database *name* behind the Airflow connection *connection*, in autocommit mode.

    :param most_seconds: when it ends although the server, or what stands between, is silent; 0: never
    :raises TemporaryError: the database is away, busy or locked; nothing was changed by this try
    :raises PermanentError: a statement failed
    """
    import psycopg

    parameters = postgres_parameters(connection, name)
    try:
        with psycopg.connect(**parameters, autocommit=True) as session, _ending(session, most_seconds):
            for key, value in settings.items():
                session.execute("SELECT set_config(%s, %s, false)", [key, value])
            _notice_a_dead_client(session)
            yield session
    except psycopg.Error as error:
        # without its cause, which has the row in its words
        raise _failure(f"{name}, connection {connection}: {work.what}", error, work) from None


@contextmanager
def _ending(session: Any, most_seconds: float) -> Iterator[None]:
    """End the session from this side after *most_seconds*: a time limit of the server needs a server that answers."""
    if not most_seconds:
        yield
        return
    with socket.socket(fileno=os.dup(session.fileno())) as line:
        alarm = threading.Timer(most_seconds, line.shutdown, (socket.SHUT_RDWR,))
        alarm.daemon = True
        alarm.start()
        try:
            yield
        finally:
            alarm.cancel()


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


def _failure(where: str, error: Any, work: Work) -> TemporaryError | PermanentError:
    """Return the error for what the server said."""
    import psycopg

    state = error.sqlstate or ""
    said = _without_rows(error, state)
    away = isinstance(error, psycopg.OperationalError) and not state and not any(sign in said for sign in _FOR_GOOD)
    if state.startswith(_PASSES) or away:
        return TemporaryError(f"{where}: {said}; nothing was changed by this try, it is made again")
    hint = f"raise {work.limit}, or do less at once" if state == _TOO_LONG else _HINTS.get(state, work.mend)
    return PermanentError(f"{where} failed: {said} (SQLSTATE {state or 'none'}); nothing was changed; {hint}")
