"""Takes the files of a running PostgreSQL server, and the log that makes them whole: ``pg_basebackup`` as a stream, and
``pg_receivewal`` beside it.

The log is kept at the server by a temporary slot, which belongs to one session and is gone with it: whatever becomes of
this process, no slot stays behind that nobody reads and that fills the server's disk. What was fetched is given free at
once. Each run of ``pg_receivewal`` ends by itself at a position that is told, so that none outlives a killed process.
Knows no store, no recovery points and no options.
"""

from __future__ import annotations

import fcntl
import hashlib
import logging
import os
import re
import secrets
import shutil
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from airlock.backup.drivers.databases import postgres_errors as errors
from airlock.backup.drivers.databases import postgres_programs as programs
from airlock.backup.drivers.databases.postgres_wal import Stretch, position, written
from airlock.errors import AirlockError, PermanentError, TemporaryError

log = logging.getLogger(__name__)
MANIFEST = "backup_manifest"
_BLOCK = tarfile.BLOCKSIZE
_RELATION = re.compile(r"base/(\d+)/(INCREMENTAL\.)?(\d+)(?:\.\d+)?")
_NO_BLOCKS = bytes.fromhex("0d1faed3 00000000")
"""How the file of a relation begins that an incremental backup holds without a block."""
_WRITTEN_TO = re.compile(rb"\brel \d+/(\d+)/(\d+)\b")
_EVERY_SECONDS = 10.0
_RECEIVE_SECONDS = 600
_WHERE = (
    "SELECT pg_catalog.pg_current_wal_flush_lsn()::text, pg_catalog.pg_size_bytes(pg_catalog.current_setting("
    "'wal_segment_size')), (pg_catalog.pg_control_checkpoint()).timeline_id"
)
_WRITE = "SELECT pg_catalog.pg_logical_emit_message(false, 'airlock', '', true)"
_INSERT = "SELECT pg_catalog.pg_current_wal_insert_lsn()::text"


@contextmanager
def working_folder(label: str) -> Iterator[Path]:
    """Yield a folder for the log of one attempt; what attempts that were killed left of theirs is removed."""
    prefix = f"airlock-log-{os.geteuid()}-{hashlib.sha256(label.encode()).hexdigest()[:16]}-"
    for left in Path(tempfile.gettempdir()).glob(f"{prefix}*"):
        if not left.is_symlink() and left.stat().st_uid == os.geteuid():
            with suppress(OSError), (left / "lock").open("wb") as held:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(left)
    folder = Path(tempfile.mkdtemp(prefix=prefix))
    try:
        with (folder / "lock").open("wb") as held:
            fcntl.flock(held, fcntl.LOCK_EX)
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class LogFollower:
    """Fetches the log of a server from now on into a folder."""

    def __init__(
        self, session: Any, pg_receivewal: str, environment: Mapping[str, str], folder: Path, label: str
    ) -> None:
        """Begin to keep the log at the server, by a slot of *session* (psycopg, autocommit)."""
        self._session, self._label = session, label
        self._folder, self._environment = folder, dict(environment)
        self._slot = f"airlock_{secrets.token_hex(8)}"
        session.execute("SELECT pg_catalog.pg_create_physical_replication_slot(%s, true, true)", [self._slot])
        now, self.segment_bytes, self.timeline = session.execute(_WHERE).fetchone()
        self.begin = position(now)
        self._command = [pg_receivewal, "--no-loop", "--no-sync", "--no-password", f"--directory={folder}"]
        self._last = time.monotonic()
        # It goes on after the newest whole segment that it finds: that is how it is told where to begin.
        # One before the first of all is passed over, but of a new server the first one is never needed: the start of a
        # backup begins another.
        at = self.stretch(self.begin + 1)
        self._mark = folder / (at.file_before if at.start >= 2 * self.segment_bytes else at.files[0])
        with self._mark.open("wb") as mark:
            mark.truncate(self.segment_bytes)

    def stretch(self, end: int, begin: int | None = None) -> Stretch:
        """Return the log up to *end*, from *begin* or from where it was begun to be fetched."""
        return Stretch(self.timeline, self.begin if begin is None else begin, end, self.segment_bytes)

    def beside(self, chunks: Iterable[bytes]) -> Iterator[bytes]:
        """Pass *chunks* through, and catch up from time to time meanwhile."""
        for chunk in chunks:
            if time.monotonic() - self._last > _EVERY_SECONDS:
                self.catch_up()
            yield chunk

    def catch_up(self) -> int:
        """Fetch all that the server has written until now; return the position up to which it is there for certain."""
        # It ends only beyond the position that it is given: what is written here is beyond every earlier record.
        self._session.execute(_WRITE)
        end = self._session.execute(_INSERT).fetchone()[0]
        self._session.execute(_WRITE)
        self._session.execute(_WRITE)
        command = [*self._command, f"--endpos={end}"]
        try:
            done = subprocess.run(
                command,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                check=False,
                timeout=_RECEIVE_SECONDS,
            )
        except subprocess.TimeoutExpired:
            raise TemporaryError(
                f"{self._label}: pg_receivewal did not reach {end} in {_RECEIVE_SECONDS} s; try again"
            ) from None
        if done.returncode:
            raise errors.files_failure(
                self._label, f"pg_receivewal ended with code {done.returncode}", done.stderr.decode(errors="replace")
            )
        self._session.execute("SELECT pg_catalog.pg_replication_slot_advance(%s, %s)", [self._slot, end])
        self._last = time.monotonic()
        return position(end)

    def close(self) -> None:
        """Let the server remove its log again."""
        with suppress(Exception):  # it goes with the session at the latest
            self._session.execute("SELECT pg_catalog.pg_drop_replication_slot(%s)", [self._slot])

    def files(self, needed: Stretch, pg_waldump: str) -> list[Path]:
        """Return the segments of *needed*, each whole, and every record in them read once.

        :raises TemporaryError: there is a gap
        """
        self._mark.unlink(missing_ok=True)
        for path in self._folder.glob("*.partial"):  # the rest of the newest one is zeros
            path.rename(path.with_suffix(""))
        gaps = list(needed.gaps(self._folder))
        if not gaps and (said := unreadable(needed, self._folder, pg_waldump)):
            gaps = [said]
        if gaps:
            raise TemporaryError(
                f"{self._label}: the log that the backup needs has a gap: {'; '.join(gaps[:3])}; try again"
            )
        return [self._folder / name for name in needed.files]


def unreadable(needed: Stretch, folder: Path, pg_waldump: str) -> str:
    """Return what keeps the records of *needed*, in *folder*, from being read to the end; empty: nothing does."""
    command = [pg_waldump, "--quiet", *_stretch_of(needed, folder)]
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, check=False, cwd=folder, env=_environment()
    )
    said = done.stderr.decode(errors="replace").strip().splitlines()
    return "" if done.returncode == 0 else (said[-1][:300] if said else f"pg_waldump ended with code {done.returncode}")


def _stretch_of(needed: Stretch, folder: Path) -> list[str]:
    return [
        f"--path={folder}",
        f"--timeline={needed.timeline}",
        f"--start={written(needed.start)}",
        f"--end={written(needed.end)}",
    ]


def written_to(needed: Stretch, folder: Path, pg_waldump: str, label: str) -> set[tuple[int, int]]:
    """Return the files of relations, each as (database, number), to which the log *needed*, in *folder*, writes."""
    found, rest = set[tuple[int, int]](), b""
    command = [pg_waldump, *_stretch_of(needed, folder)]
    for chunk in programs.read_from(command, _environment(), label, errors.files_failure):
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            found |= {(int(database), int(number)) for database, number in _WRITTEN_TO.findall(line)}
    return found


def _environment() -> dict[str, str]:
    return {"PATH": os.environ.get("PATH", ""), "LC_ALL": "C"}


class Passing:
    """Lets an archive of a server pass. Keeps its manifest, which ``pg_basebackup`` writes as the last of its members,
    and notes the files of relations, each as (database, number), that are in it without any changed block (*unchanged*)
    or without any block (*empty*)."""

    def __init__(self, into: IO[bytes]) -> None:
        self._into = into
        self._head = b""
        self._left = self._kept = 0
        self._file: tuple[int, int] | None = None
        self._beginning = b""
        self._stubs, self._changed, self.empty = set[tuple[int, int]](), set[tuple[int, int]](), set[tuple[int, int]]()
        self.found = False

    @property
    def unchanged(self) -> frozenset[tuple[int, int]]:
        return frozenset(self._stubs - self._changed)

    def through(self, chunks: Iterable[bytes]) -> Iterator[bytes]:
        """Yield *chunks* as they are."""
        for chunk in chunks:
            self._look(memoryview(chunk))
            yield chunk

    def _look(self, rest: memoryview) -> None:
        while rest:
            if self._left:
                part, rest = rest[: self._left], rest[self._left :]
                self._into.write(part[: self._kept])
                self._note(part)
                self._left -= len(part)
                self._kept = max(0, self._kept - len(part))
                continue
            wanted = _BLOCK - len(self._head)
            self._head, rest = self._head + bytes(rest[:wanted]), rest[wanted:]
            if len(self._head) == _BLOCK:
                self._begin(self._head)
                self._head = b""

    def _begin(self, head: bytes) -> None:
        if not any(head):
            return
        member = tarfile.TarInfo.frombuf(head, "utf-8", "surrogateescape")
        self._left = member.size + -member.size % _BLOCK
        self._kept = member.size if member.name == MANIFEST else 0
        self.found |= member.name == MANIFEST
        named = _RELATION.fullmatch(member.name)
        if named is not None:
            file = (int(named[1]), int(named[3]))
            if named[2]:
                self._stubs.add(file)
                self._file, self._beginning = file, b""
            else:
                (self._changed if member.size else self.empty).add(file)

    def _note(self, part: memoryview) -> None:
        """Read how many blocks of a file are in an incremental backup: the second number of its head."""
        if self._file is not None:
            self._beginning += bytes(part[: len(_NO_BLOCKS) - len(self._beginning)])
            if len(self._beginning) == len(_NO_BLOCKS):
                if self._beginning != _NO_BLOCKS:
                    self._changed.add(self._file)
                self._file = None


def stream(pg_basebackup: str, environment: Mapping[str, str], label: str, parent: Path | None) -> Iterator[bytes]:
    """Yield an archive of all files of the server, or, with the manifest of a *parent*, of what changed since.

    :raises TemporaryError: the server cannot be reached now
    :raises PermanentError: it refuses
    """
    command = [
        pg_basebackup,
        "--pgdata=-",
        "--format=tar",
        "--wal-method=none",
        "--checkpoint=fast",
        "--no-password",
        "--label=airlock",
        *([] if parent is None else [f"--incremental={parent}"]),
    ]
    yield from programs.read_from(command, environment, label, errors.files_failure)


def speaks_of_its_parent(error: AirlockError) -> bool:
    """Return whether a backup was refused for what it builds on, so that a full one can be taken."""
    said = str(error).lower()
    return isinstance(error, PermanentError | TemporaryError) and any(
        word in said for word in ("summar", "manifest", "incremental", "timeline")
    )
