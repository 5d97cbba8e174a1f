"""What PostgreSQL and its programs say when they fail, without what may quote a row.

A failed constraint names the row, a failed COPY quotes its line, a function may raise what it likes. So nothing is cut
out of a message: a line is kept only when the whole of it has a form that is known to hold names and states alone, and
of an error's fields only its SQLSTATE and names that are on record. Knows PostgreSQL's words; asks no server.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from airlock.errors import PermanentError, TemporaryError

_NAME = r'(?:"[^"\n]{1,200}"|[\w.$-]{1,130})'
_SORT = r"[a-z][a-z -]{2,30}"
_SAFE = re.compile(
    "|".join(
        (
            rf"permission denied (?:for|to) {_SORT}(?: {_NAME})?",
            rf"must be (?:owner of|member of|superuser|able to SET ROLE)(?: {_SORT})?(?: {_NAME})?",
            rf"{_SORT} {_NAME} (?:does not exist|already exists|is not available|cannot be dropped or renamed)",
            rf"{_SORT} {_NAME} is (?:being accessed by other users|not currently accepting connections)",
            rf"{_SORT} {_NAME} must be (?:installed|loaded).*via shared_preload_libraries",
            rf'could not open extension control file {_NAME}: No such file or directory',
            rf"could not access file {_NAME}: No such file or directory",
            rf"could not (?:extend|write|write to|open) file {_NAME}: (?:No space left on device|Permission denied)",
            rf"query would be affected by row-level security policy for table {_NAME}",
            rf"Dumping the contents of table {_NAME} failed: PQget(?:Result|CopyData)\(\) failed\.?",
            rf"invalid (?:snapshot identifier|locale name|connection option|encoding name) {_NAME}",
            rf"(?:password|peer|Ident|GSSAPI|LDAP|PAM) authentication failed for user {_NAME}",
            rf"no pg_hba\.conf entry for host {_NAME}, user {_NAME}, database {_NAME}, [\w ]+",
            rf"unrecognized configuration parameter {_NAME}",
            rf"role {_NAME} is not permitted to log in",
            r"server version: [\w.() +~-]{1,80}; pg_dump(?:all)? version: [\w.() +~-]{1,80}",
            r"aborting because of server version mismatch",
            r"server closed the connection unexpectedly|connection refused|connection timed out|timeout expired",
            rf"could not translate host name {_NAME} to address: [\w ]+|No route to host|Network is unreachable",
            r"the database system is (?:starting up|shutting down|in recovery mode|not yet accepting connections)",
            r"sorry, too many clients already|remaining connection slots are reserved [\w -]+",
            rf"too many connections for (?:role|database) {_NAME}",
            r"(?:canceling statement|terminating connection) due to [\w -]+|deadlock detected|out of shared memory",
            r"server does not support SSL, but SSL was required|SSL error: [\w ]+|certificate verify failed",
            r"(?:CREATE|DROP|ALTER) [A-Z ]+ cannot (?:run inside a transaction block|be executed from a function)",
        )
    ),
    re.IGNORECASE,
)
_LEAD = re.compile(
    r'(?:[\w/.-]+: (?:error|fatal|detail): |psql:\S*:\d+: |connection (?:failed|to server [^\n]{1,200}? failed): '
    r"|(?:[^\W\d_]{3,20}):  |[0-9A-Z]{5}: |Error message from server: |query failed: )*"
)
_STATE = re.compile(r"^(?:psql:\S*:(?P<line>\d+): )?[^\W\d_]{3,20}:  (?P<state>[0-9A-Z]{5}): ", re.MULTILINE)
_FIELD = re.compile(r"^(SCHEMA|TABLE|COLUMN|DATATYPE|CONSTRAINT) NAME:  (.+)$", re.MULTILINE)
_FIELDS = ("schema", "table", "column", "datatype", "constraint")
_PASSING_STATES = ("08", "40", "53300", "55006", "55P03", "57P", "57014")
_PASSING_WORDS = re.compile(
    r"connection refused|could not connect|server closed the connection|starting up|shutting down|too many clients|"
    r"too many connections|timeout expired|connection timed out|lock timeout|terminating connection|in recovery mode|"
    r"could not translate host name|connection reset|deadlock detected|remaining connection slots"
    # dropped by somebody while it was read
    r"|relation \S+ does not exist|could not open relation with OID|cache lookup failed for"
    r"|large object \d+ does not exist|due to statement timeout",  # so does pg_dump wait for locks
    re.IGNORECASE,
)
_SEARCHED = ("42883", "42P01", "42704", "3F000")
_SEARCH_PATH = ("a function, view or expression may find a name by search_path only, which is empty in a restore; next:"
                " write the schema before that name, or give the function SET search_path")  # fmt: skip
_HELD_BACK = "its own words are held back, for they may quote rows; the server's log has them"


def failure(label: str, what: str, text: str, known: Iterable[str] = ()) -> TemporaryError | PermanentError:
    """Return the error for the output *text* of a program; *known* are names of objects that may be shown."""
    state = _STATE.search(text)
    fields = {sort.lower(): name for sort, name in _FIELD.findall(text)}
    number = state["state"] if state else ""
    words = _words(text, number, fields, known)
    if state and state["line"]:
        words += f" (line {state['line']} of the script)"
        words += f"; {_SEARCH_PATH}" if number in _SEARCHED else ""
    return _error(label, what, words, number, text)


def error_failure(label: str, what: str, error: Any, known: Iterable[str] = ()) -> TemporaryError | PermanentError:
    """Return the error for a ``psycopg.Error``. Raise it ``from None``: the cause has the row in its words."""
    number = error.sqlstate or ""
    fields = {sort: name for sort in _FIELDS if (name := getattr(error.diag, f"{sort}_name", None))}
    text = error.diag.message_primary or str(error)
    return _error(label, what, _words(text, number, fields, known), number, text)


def archive_failure(label: str, what: str, text: str) -> PermanentError:
    """Return the error for what ``pg_restore`` said of an archive; it never saw a server, and quotes no data."""
    lines = [line.strip() for line in text.splitlines() if line.startswith("pg_restore: ")]
    return PermanentError(f"{label}: {what}: {' | '.join(lines[-3:]) or 'it said nothing'}")


def files_failure(label: str, what: str, text: str) -> TemporaryError | PermanentError:
    """Return the error for what a program said that copies or reads files and log of a whole server; none quotes a row,
    and the last lines tell why."""
    lines = [line.strip()[:400] for line in text.splitlines() if re.match(r"pg_\w+: ", line)]
    words = " | ".join(lines[-3:]) or _HELD_BACK
    if "has already been removed" in words:
        return TemporaryError(f"{label}: {what}: {words}; next: raise max_slot_wal_keep_size of the server, try again")
    if _PASSING_WORDS.search(words):
        return TemporaryError(f"{label}: {what}: {words}; try again when the server answers")
    return PermanentError(f"{label}: {what}: {words}")


def known_names(facts: Mapping[str, Any]) -> frozenset[str]:
    """Return the names of tables and constraints that a recovery point has on record."""
    keys = [*facts.get("tables", ()), *facts.get("constraints", ())]
    found = re.findall(r'"((?:[^"]|"")+)"|([^.\s"]+)', " ".join(keys))
    return frozenset(quoted.replace('""', '"') or plain for quoted, plain in found)


def _words(text: str, state: str, fields: Mapping[str, str], known: Iterable[str]) -> str:
    kept = []
    for line in text.splitlines():
        bare = _LEAD.sub("", line.strip(), count=1)
        if _SAFE.fullmatch(bare) and bare not in kept:
            kept.append(bare)
    shown = set(known)
    named = [f"{sort} {fields[sort]}" for sort in reversed(_FIELDS) if fields.get(sort) in shown]
    if state:
        kept.append(f"SQLSTATE {state} ({_condition(state)})" + (f" at {', '.join(named)}" if named else ""))
    if not text.strip():
        return "it said nothing"
    if not any(_SAFE.fullmatch(line) for line in kept):
        kept.append(_HELD_BACK)
    return " | ".join(kept)


def _condition(state: str) -> str:
    from psycopg import errors

    try:
        return errors.lookup(state).__name__
    except KeyError:
        return "of its own"


def _error(label: str, what: str, words: str, state: str, text: str) -> TemporaryError | PermanentError:
    passing = state.startswith(_PASSING_STATES) if state else _PASSING_WORDS.search(text)
    if passing:
        return TemporaryError(f"{label}: {what}: {words}; try again when the server answers")
    return PermanentError(f"{label}: {what}: {words}")
