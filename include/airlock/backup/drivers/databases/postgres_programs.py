"""Run PostgreSQL's own programs as streams. Knows processes and pipes; knows nothing of stores, facts or points.

Passwords travel in the environment of the child only, never in its arguments. What a program says on its error output
is part of the error raised as far as it quotes no row.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from airlock.backup.drivers.databases.postgres_errors import archive_failure, failure
from airlock.errors import AirlockError, PermanentError

log = logging.getLogger(__name__)
_CHUNK = 1 << 20
# Who waits for locks of ours would make the program wait, for which we wait: a circle that no server sees.
DUMP_ARGUMENTS = ("--no-password", "--lock-wait-timeout=10s")


def find_program(name: str, folder: str, label: str) -> str:
    """Return the full path of the PostgreSQL program *name*, in *folder* or, when that is empty, on PATH.

    :raises PermanentError: it is not there
    """
    found = shutil.which(name, path=folder or None)
    if found is None:
        where = folder or "the folders of PATH"
        raise PermanentError(
            f"{label}: the program {name} is not in {where}: install PostgreSQL's client programs "
            f"(of the server's version or newer), or set the option 'programs' to their folder"
        )
    return found


def _said(errors: IO[bytes]) -> str:
    errors.seek(0, os.SEEK_END)
    errors.seek(max(0, errors.tell() - 4000))
    return errors.read().decode(errors="replace")


def _stop(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.kill()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with contextlib.suppress(OSError):
                pipe.close()
    process.wait()


def read_from(
    command: list[str], environment: Mapping[str, str], label: str,
    explain: Callable[[str, str, str], AirlockError] = failure,
) -> Iterator[bytes]:
    """Yield the output of *command* in chunks. The process ends with the iteration, whatever ends it.

    :param explain: makes the error of (label, what failed, what the program said)
    :raises TemporaryError: the server cannot be reached now
    :raises PermanentError: the program failed for another reason
    """
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(
            command, env=dict(environment), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors
        )
        try:
            assert process.stdout is not None  # noqa: S101 - for the type checker; it is a pipe
            while chunk := process.stdout.read(_CHUNK):
                yield chunk
            if process.wait() != 0:
                raise explain(label, f"{Path(command[0]).name} ended with code {process.returncode}", _said(errors))
        finally:
            _stop(process)


class ScriptRun:
    """An archive that is turned into SQL by ``pg_restore`` and carried out by ``psql`` in a database made for it.

    ``psql`` stops at the first statement that fails. Not one transaction: an archive with large objects brings
    transactions of its own, and one for everything needs a lock for each object. Whoever calls drops the database.
    """

    def __init__(self, pg_restore: list[str], psql: list[str], environment: Mapping[str, str], label: str) -> None:
        self._pg_restore, self._psql = pg_restore, psql
        self._environment, self._label = dict(environment), label

    def run(self, archive: Iterable[bytes], known: Iterable[str]) -> None:
        """Carry out the *archive*; *known* are the names that an error may show.

        :raises TemporaryError: the server cannot be reached, or a lock could not be had in time
        :raises PermanentError: a statement failed, or the archive is none
        """
        with tempfile.TemporaryFile() as psql_errors, tempfile.TemporaryFile() as restore_errors:
            psql = subprocess.Popen(
                self._psql, env=self._environment, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=psql_errors
            )
            try:
                self._feed(psql, archive, restore_errors)
            except BrokenPipeError:
                psql.wait()
            except BaseException:
                _stop(psql)
                raise
            finally:
                if psql.stdin is not None:
                    with contextlib.suppress(OSError):
                        psql.stdin.close()
            if psql.wait() != 0:
                raise failure(self._label, "the restore stopped, psql said", _said(psql_errors), known)

    def _feed(self, psql: subprocess.Popen[bytes], archive: Iterable[bytes], errors: IO[bytes]) -> None:
        restore = subprocess.Popen(
            self._pg_restore, env=self._environment, stdin=subprocess.PIPE, stdout=psql.stdin, stderr=errors
        )
        try:
            assert restore.stdin is not None  # noqa: S101 - for the type checker; it is a pipe
            ended_early = False
            for chunk in archive:  # read to its end in any case: only then are its checksums verified
                if not ended_early:
                    try:
                        restore.stdin.write(chunk)
                    except BrokenPipeError:
                        ended_early = True
            with contextlib.suppress(BrokenPipeError):
                restore.stdin.close()
            code = restore.wait()
        finally:
            _stop(restore)
        if code != 0:
            assert psql.stdin is not None  # noqa: S101 - for the type checker; it is a pipe
            psql.stdin.close()
            if psql.wait() != 0:
                raise BrokenPipeError  # it was psql that stopped
            raise archive_failure(self._label, f"pg_restore ended with code {code}", _said(errors))


def session_options(parameters: Mapping[str, Any]) -> str:
    """Return what every session asks for, whatever the database and the role default to: to write, as who logged in,
    and no trigger on login, which would write into what is read. Servers before 17 have none, and only some roles may
    ask; *parameters* tell how to try."""
    import psycopg

    always = "-c default_transaction_read_only=off -c role=none"
    try:
        psycopg.connect(**parameters, options=f"{always} -c event_triggers=off").close()
    except psycopg.OperationalError as error:
        if "event_triggers" in str(error):
            return always
    return f"{always} -c event_triggers=off"


def client_environment(connection: Any, database: str, options: str = "") -> dict[str, str]:
    """Return the environment for libpq: where to connect, as whom, with what password. Never log it."""
    extra = connection.extra_dejson
    names = {
        "PGHOST": connection.host,
        "PGPORT": connection.port,
        "PGUSER": connection.login,
        "PGPASSWORD": connection.password,
        "PGDATABASE": database,
        "PGOPTIONS": options,
        "PGSSLMODE": extra.get("sslmode"),
        "PGSSLROOTCERT": extra.get("sslrootcert"),
        "PGSSLCERT": extra.get("sslcert"),
        "PGSSLKEY": extra.get("sslkey"),
    }
    return {
        "PATH": os.environ.get("PATH", ""),
        "LC_ALL": "C",
        "PGCONNECT_TIMEOUT": "10",
        "PGAPPNAME": "airlock",
        **{name: str(value) for name, value in names.items() if value not in (None, "")},
    }
