"""Starts, finds and ends the sandbox's servers. Exists so that no process is ever ended that the sandbox did not start.

Each server leads a session of its own, so that everything it forks can be ended with it. Its process file holds the
process id together with the time it started: a recycled id is recognised and left alone. Knows no particular server.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil

from airlock.errors import TemporaryError

logger = logging.getLogger(__name__)
MARK = "AIRLOCK_PROCESS"


@dataclass(frozen=True)
class Program:
    """What to start: ``ready`` is asked until it says yes or ``deadline`` (seconds) has passed.

    ``user`` is the numeric user to run as (only root may set it). ``environment`` replaces the whole environment.
    """

    name: str
    command: tuple[str, ...]
    log: Path
    ready: Callable[[], bool]
    environment: Mapping[str, str] | None = None
    folder: Path | None = None
    user: int | None = None
    deadline: float = 30.0
    stop_signal: int = signal.SIGTERM
    grace: float = 10.0


@dataclass(frozen=True)
class Server:
    """A process that was started: ``pid`` is also its session; ``born`` tells it from a later user of the same id."""

    name: str
    pid: int
    born: str
    mark: str
    log: Path
    file: Path
    stop_signal: int = signal.SIGTERM
    grace: float = 10.0
    ports: Mapping[str, int] = field(default_factory=dict)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    def alive(self) -> bool:
        """Whether the first process itself still runs."""
        return birth(self.pid) == self.born

    def stop(self) -> None:
        """End every process of the session, politely first. Safe to repeat."""
        stop(self)


def birth(pid: int) -> str | None:
    """When the process *pid* started, in a form that no other process of this machine shares; None if there is none."""
    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return None
        stat = Path(f"/proc/{pid}/stat")
        if not stat.exists():
            return f"{process.create_time():.2f}"
        # Clock ticks since boot do not move when the clock is set, unlike psutil's wall time.
        ticks = stat.read_text().rpartition(")")[2].split()[19]
        return f"{Path('/proc/sys/kernel/random/boot_id').read_text().strip()}/{ticks}"
    except (psutil.Error, OSError):
        return None


def start(program: Program, run: Path) -> Server:
    """Start *program* and wait until it is ready; its process file goes to ``<run>/<name>.process``.

    :raises TemporaryError: it ended by itself or was not ready in time; the message ends with the tail of its log
    """
    began = time.monotonic()
    server, process, offset = _launch(program, run)
    try:
        _wait(program, process, offset)
    except BaseException:
        stop(server)
        process.wait()
        raise
    logger.info("started %s: process %d, ready in %.1f s", program.name, process.pid, time.monotonic() - began)
    return server


def complete(program: Program, run: Path) -> None:
    """Start *program*, which ends by itself, and wait for its end. Its ``ready`` is not asked.

    :raises TemporaryError: it ended with a code other than 0, or not in time; the message ends with its log's tail
    """
    server, process, offset = _launch(program, run)
    try:
        code: int | str = process.wait(program.deadline)
    except subprocess.TimeoutExpired:
        code = f"nothing within {program.deadline:.0f} s"
    finally:
        stop(server)
    if code != 0:
        raise TemporaryError(
            f"{program.name} ended with {code}; read {program.log}, mend the cause and start again. Its last lines:\n"
            f"{tail(program.log, offset=offset)}"
        )


def stop(server: Server) -> None:
    """End every process of the server's session: its stop signal, a time of grace, then SIGKILL. Safe to repeat."""
    members = _members(server)
    if members and birth(server.pid) == server.born:
        # The first process ends its own children in its own order; only what outlives it is ended by us.
        _signal([server.pid], server.stop_signal)
        _gone(server, server.grace, leader_only=True)
        members = _members(server)
    if members:
        _signal(members, signal.SIGTERM)
        _gone(server, min(server.grace, 3.0), leader_only=False)
        _signal(_members(server), signal.SIGKILL)
        if not _gone(server, 5.0, leader_only=False):
            raise TemporaryError(f"{server.name} does not end: processes {_members(server)} ignore SIGKILL; try again")
    server.file.unlink(missing_ok=True)
    logger.info("stopped %s: process %d", server.name, server.pid)


def find(run: Path, name: str) -> Server | None:
    """The server called *name* by its process file, dead or alive; None without a readable file."""
    file = run / f"{name}.process"
    try:
        held = json.loads(file.read_text())
        return Server(
            name=name,
            pid=int(held["pid"]),
            born=str(held["born"]),
            mark=str(held["mark"]),
            log=Path(held["log"]),
            file=file,
            stop_signal=int(held["stop_signal"]),
            grace=float(held["grace"]),
        )
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError):
        logger.warning("%s is damaged and was removed: it named no process that could be checked", file)
        file.unlink(missing_ok=True)
        return None


def names(run: Path) -> list[str]:
    """Names of all servers that have a process file."""
    return sorted(path.stem for path in run.glob("*.process"))


def remains(run: Path, name: str) -> bool:
    """Whether any process of an earlier start of *name* still runs, its first process or only what that one forked."""
    server = find(run, name)
    return server is not None and bool(_members(server))


def tail(log: Path, lines: int = 15, offset: int = 0) -> str:
    """The last *lines* of *log* written after *offset* bytes."""
    try:
        with log.open("rb") as stream:
            size = stream.seek(0, os.SEEK_END)
            stream.seek(max(offset, size - 16_384))
            text = stream.read().decode(errors="replace")
    except OSError as error:
        return f"(its log cannot be read: {error})"
    return "\n".join(f"    {line}" for line in text.splitlines()[-lines:]) or "    (its log is empty)"


def _launch(program: Program, run: Path) -> tuple[Server, subprocess.Popen[bytes], int]:
    run.mkdir(parents=True, exist_ok=True)
    program.log.parent.mkdir(parents=True, exist_ok=True)
    mark = os.urandom(8).hex()
    environment = {**(os.environ if program.environment is None else program.environment), MARK: mark}
    with program.log.open("ab") as log:
        offset = log.tell()
        process = subprocess.Popen(
            program.command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=environment,
            cwd=program.folder,
            user=program.user,
            group=program.user,
            extra_groups=[] if program.user is not None else None,
            start_new_session=True,
        )
    server = Server(
        name=program.name,
        pid=process.pid,
        born=birth(process.pid) or "",
        mark=mark,
        log=program.log,
        file=run / f"{program.name}.process",
        stop_signal=int(program.stop_signal),
        grace=program.grace,
    )
    _write(server)
    return server, process, offset


def _wait(program: Program, process: subprocess.Popen[bytes], offset: int) -> None:
    limit = time.monotonic() + program.deadline
    pause = 0.02
    while not program.ready():
        code = process.poll()
        if code is not None:
            how = f"ended by itself with code {code}"
        elif time.monotonic() > limit:
            how = f"was not ready within {program.deadline:.0f} s"
        else:
            time.sleep(pause)
            pause = min(pause * 1.5, 0.3)
            continue
        raise TemporaryError(
            f"{program.name} {how}; read {program.log}, mend the cause and start again. Its last lines:\n"
            f"{tail(program.log, offset=offset)}"
        )


def _write(server: Server) -> None:
    held = {key: getattr(server, key) for key in ("pid", "born", "mark", "stop_signal", "grace")}
    draft = server.file.with_suffix(".draft")
    draft.write_text(json.dumps({**held, "log": str(server.log)}))
    draft.replace(server.file)


def _members(server: Server) -> list[int]:
    """Living processes of the session, or none when the session is not (or no longer) ours."""
    members = []
    for pid in psutil.pids():
        with suppress(OSError):
            if os.getsid(pid) == server.pid and birth(pid) is not None:
                members.append(pid)
    if server.pid in members:
        return members if birth(server.pid) == server.born else []
    # The first process is gone. The system keeps a session's id unused while members live, so one proven member is
    # enough; but a whole session may have ended and its id been used again by a stranger.
    return members if any(_ours(pid, server) for pid in members) else []


def _ours(pid: int, server: Server) -> bool:
    with suppress(psutil.Error, OSError):
        if psutil.Process(pid).environ().get(MARK) == server.mark:
            return True
    for number in (1, 2):
        with suppress(OSError):
            if Path(f"/proc/{pid}/fd/{number}").samefile(server.log):
                return True
    return False


def _signal(pids: list[int], number: int) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


def _gone(server: Server, seconds: float, *, leader_only: bool) -> bool:
    limit = time.monotonic() + seconds
    while time.monotonic() < limit:
        if (birth(server.pid) != server.born) if leader_only else not _members(server):
            return True
        time.sleep(0.03)
    return False
