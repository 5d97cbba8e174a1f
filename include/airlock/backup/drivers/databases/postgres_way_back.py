"""Puts restored files in the place of a server's own, on the machine where the server runs.

The files are made whole beside it before anything is stopped: until the two folders change places the origin is as it
was, and a failure starts it again. Knows folders and two commands; no store, no rows.
"""

from __future__ import annotations

import logging
import os
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from airlock.backup.files import remove_tree
from airlock.errors import PermanentError, TemporaryError
from airlock.models import RecoveryPoint

log = logging.getLogger(__name__)
_SECONDS = 600


def by_hand(point: RecoveryPoint, streams: tuple[str, str], label: str) -> PermanentError:
    """Return the refusal of a way back that cannot be done from here, with all that somebody needs to do it.

    :param streams: the names of the streams of files and of log
    """
    chain = " ".join([*(link["point"] for link in point.facts["chain"]), point.id])
    return PermanentError(
        f"{label}: the way back of a whole server needs its own machine: the server is stopped, and its data directory "
        "replaced by the recovered one. Where this runs there, set the options data_directory, stop and start. "
        f"By hand: stop the server; unpack {streams[0]} of {chain} (pg_combinebackup makes one of several) "
        f"and {streams[1]} of "
        f"{point.id}; set restore_command to copy from there, recovery_target_lsn = '{point.facts['position']}', "
        "recovery_target_inclusive = off, recovery_target_action = promote; make recovery.signal; start it"
    )


@dataclass(frozen=True)
class LocalServer:
    """The server whose files are in *data*; *stop* and *start* are the commands that end and begin it."""

    data: Path
    stop: Sequence[str]
    start: Sequence[str]
    label: str

    @property
    def beside(self) -> Path:
        """The folder beside it, on the same file system, in which the new files are made."""
        return self.data.parent / f".{self.data.name}.airlock"

    @contextmanager
    def room(self) -> Iterator[Path]:
        """Yield the empty folder beside it. What a try before left half done is put right first.

        :raises PermanentError: this server's files cannot be replaced from here
        """
        old = self.beside / "old"
        if old.is_dir() and not self.data.exists():
            old.rename(self.data)  # a try before was killed between its two renames
        if not (self.data / "PG_VERSION").is_file():
            raise PermanentError(
                f"{self.label}: {self.data} is no data directory of a server on this machine; next: "
                "correct the option 'data_directory', or let this task run on the server's machine"
            )
        links = [
            path.name for path in (self.data / "pg_wal", *(self.data / "pg_tblspc").glob("*")) if path.is_symlink()
        ]
        if self.data.is_symlink() or links:
            raise PermanentError(
                f"{self.label}: {self.data} is or holds a link ({', '.join(links) or 'itself'}), and what "
                "it leads to would stay behind; next: restore it by hand"
            )
        remove_tree(self.beside)
        self.beside.mkdir(mode=0o700)
        try:
            yield self.beside
        finally:
            if self.data.exists():
                remove_tree(self.beside)

    def exchange(self, fresh: Path, answers: Callable[[], bool]) -> None:
        """Stop the server, put *fresh* in the place of its files, and start it; *answers* tells when it is back."""
        os.sync()
        old = self.beside / "old"
        try:
            if self._runs:
                self._command(self.stop, "stopped")
            if self._runs:
                raise TemporaryError(
                    f"{self.label}: the server of {self.data} still runs after {self.stop[0]} (postmaster.pid is "
                    "there); next: stop it, then run this task again"
                )
            self.data.rename(old)
            fresh.rename(self.data)
            log.info("%s: %s holds the files of the backup now", self.label, self.data)
        except BaseException:
            if not self.data.exists() and old.exists():
                old.rename(self.data)
            if not self._runs:
                with suppress(PermanentError):
                    self._command(self.start, "started")
            raise
        self._command(self.start, "started")
        if not answers():
            raise TemporaryError(
                f"{self.label}: the server of {self.data} was started and does not answer; next: look "
                "into its log, then run this task again"
            )
        log.warning(
            "%s: the server goes on in a new timeline; next: make its standbys anew, and give replication slots "
            "back to those who read them",
            self.label,
        )

    @property
    def _runs(self) -> bool:
        # a server that is stopped as it should be takes it away; of one elsewhere, no process would be seen here
        return (self.data / "postmaster.pid").exists()

    def _command(self, command: Sequence[str], done: str) -> None:
        # no pipes: a server that is started keeps those of the command that starts it
        try:
            code = subprocess.run(
                list(command),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                check=False,
                timeout=_SECONDS,
            ).returncode
        except (OSError, subprocess.TimeoutExpired) as error:
            raise PermanentError(
                f"{self.label}: {command[0]} cannot be run: {type(error).__name__}; next: correct the "
                "options 'stop' and 'start'"
            ) from None
        if code:
            raise PermanentError(
                f"{self.label}: {command[0]} ended with code {code}: the server is not {done}; next: see "
                "why, then run this task again"
            )
