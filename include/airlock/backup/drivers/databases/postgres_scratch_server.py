"""A PostgreSQL server on restored files, which nobody else can reach: as an unprivileged user, on a Unix socket in a
folder of its own, and so that nothing of it reaches out.

Of the settings of the origin none is used: they hold commands, archives, preloaded libraries and other servers. No log
is archived, no subscription goes on, no job of an extension runs. Knows files and processes; no store, no rows.
"""

from __future__ import annotations

import hashlib
import logging
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from airlock.backup.drivers.databases.postgres_errors import files_failure
from airlock.backup.files import remove_tree
from airlock.errors import BackupDamaged, PermanentError

log = logging.getLogger(__name__)
PORT = 5432
OWN_SETTINGS = "postgresql.auto.conf"
_ALONE = {
    "listen_addresses": "",
    "port": str(PORT),
    "unix_socket_permissions": "0700",
    "ssl": "off",
    "archive_mode": "off",
    "hot_standby": "off",
    "max_wal_senders": "0",
    "wal_level": "replica",
    "max_logical_replication_workers": "0",
    "max_worker_processes": "0",
    "autovacuum": "off",
    "summarize_wal": "off",
    "shared_buffers": "64MB",
    "max_connections": "200",
    "logging_collector": "off",
    "log_destination": "stderr",
    "log_min_messages": "fatal",
    "log_min_error_statement": "panic",
    "jit": "off",
    "restart_after_crash": "off",
    "recovery_target_inclusive": "off",
    "recovery_target_action": "promote",
    "restore_command": 'cp ../log/%f "%p"',
}
_STOP_SECONDS = 120
_SAID_EVERY_SECONDS = 60


@dataclass(frozen=True)
class Account:
    """The user of this machine as whom the server and its programs run; ``None``: as this process."""

    user: int | None = None
    group: int | None = None

    def give(self, folder: Path) -> None:
        """Make *folder*, with all that is in it, this account's own."""
        if self.user is None or self.group is None:
            return
        for root, _, files in os.walk(folder):
            for path in (Path(root), *(Path(root) / name for name in files)):
                os.chown(path, self.user, self.group, follow_symlinks=False)

    def run(self, command: list[str], label: str, cwd: Path) -> None:
        """Run one of PostgreSQL's programs to its end.

        :raises BackupDamaged: it failed
        """
        done = subprocess.run(
            command,
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
            **self.as_it(),
            env=_environment(),
        )
        if done.returncode:
            name = Path(command[0]).name
            said = files_failure(
                label, f"{name} ended with code {done.returncode}", done.stderr.decode(errors="replace")
            )
            raise BackupDamaged(str(said))

    def as_it(self) -> dict[str, Any]:
        return {} if self.user is None else {"user": self.user, "group": self.group, "extra_groups": []}


def account(name: str, label: str) -> Account:
    """Return whom to run a server as: PostgreSQL refuses to run as root."""
    if os.geteuid() != 0:
        return Account()
    for one in (name,) if name else ("postgres", "nobody"):
        with suppress(KeyError):
            found = pwd.getpwnam(one)
            return Account(found.pw_uid, found.pw_gid)
    raise PermanentError(f"{label}: this machine has no user {name or 'postgres'}; set the option 'run_as' to one")


def owner_of(data: Path, label: str) -> Account:
    """Return the account that a server's own files belong to.

    :raises PermanentError: this process may not make files for it
    """
    seen = data.stat()
    if os.geteuid() == 0:
        return Account(seen.st_uid, seen.st_gid)
    if seen.st_uid != os.geteuid():
        raise PermanentError(
            f"{label}: {data} belongs to user {seen.st_uid}, and this process is user {os.geteuid()}; next: let the "
            "way back run as that user, or as root"
        )
    return Account()


@dataclass(frozen=True)
class ScratchServer:
    """The server in ``folder/data``, whose log to recover is in ``folder/log``."""

    folder: Path
    postgres: str
    account: Account
    label: str

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def socket(self) -> Path:
        """Where it listens: the path of a socket is short, that of the folder may be long."""
        digest = hashlib.sha256(os.fsencode(self.folder)).hexdigest()[:20]
        return Path(tempfile.gettempdir()) / f"airlock-pg-{digest}"

    @contextmanager
    def running(self, user: str, settings: Mapping[str, str]) -> Iterator[None]:
        """Run the server while the block does; it accepts connections of *user*, without a password.

        :raises BackupDamaged: it does not come up; the reason is what it said last
        """
        self.stop_left()
        self._prepare()
        options = {
            **_ALONE,
            "unix_socket_directories": str(self.socket),
            "hba_file": str(self.folder / "pg_hba.conf"),
            "ident_file": str(self.folder / "pg_ident.conf"),
            "config_file": str(self.folder / "postgresql.conf"),
            **settings,
        }
        words = [word for name, value in options.items() for word in ("-c", f"{name}={value}")]
        said = self.folder / "server.log"
        with said.open("wb") as output:
            process = subprocess.Popen(
                [self.postgres, "-D", str(self.data), *words],
                cwd=self.data,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=_environment(),
                start_new_session=True,
                **self.account.as_it(),
            )
        try:
            self._wait(process, user, said)
            yield
        finally:
            _end(process)
            shutil.rmtree(self.socket, ignore_errors=True)

    def stop_left(self) -> None:
        """End a server that a killed process left running in this folder."""
        with suppress(OSError, ValueError, IndexError):
            number = int((self.data / "postmaster.pid").read_text().splitlines()[0])
            if Path(f"/proc/{number}/cwd").readlink() == self.data.resolve():
                log.warning("%s: a server that was left running in %s is ended", self.label, self.data)
                os.kill(number, signal.SIGQUIT)
                while Path(f"/proc/{number}/exe").exists() and Path(f"/proc/{number}/cwd").readlink():
                    time.sleep(0.05)
        (self.data / "postmaster.pid").unlink(missing_ok=True)
        if self.socket.is_dir() and not self.socket.is_symlink():
            remove_tree(self.socket)

    def _prepare(self) -> None:
        (self.folder / "pg_hba.conf").write_text("local all all trust\n")
        for name in ("pg_ident.conf", "postgresql.conf"):
            (self.folder / name).write_text("")
        # a name that can be guessed: somebody else's folder is never used
        try:
            self.socket.mkdir(mode=0o700)
        except FileExistsError:
            raise PermanentError(f"{self.label}: {self.socket} is somebody else's; remove it, then try again") from None
        if self.account.user is not None and self.account.group is not None:
            os.chown(self.socket, self.account.user, self.account.group)
        for path in (
            self.folder,
            *(self.folder / name for name in ("pg_hba.conf", "pg_ident.conf", "postgresql.conf")),
        ):
            if self.account.user is not None and self.account.group is not None:
                os.chown(path, self.account.user, self.account.group)

    def _wait(self, process: subprocess.Popen[bytes], user: str, said: Path) -> None:
        import psycopg

        told = time.monotonic()
        while True:
            if process.poll() is not None:
                lines = [
                    line
                    for line in said.read_text(errors="replace").splitlines()
                    if any(word in line for word in ("FATAL", "PANIC", "postgres: "))
                ]
                why = " | ".join(line.partition("] ")[2] or line for line in lines[-3:])[:600]
                raise BackupDamaged(
                    f"{self.label}: the server does not come up on the restored files: "
                    f"{why or 'it said nothing'}; next: take the backup again"
                )
            try:
                psycopg.connect(**self.parameters(user, "template1")).close()
                return
            except psycopg.OperationalError:
                time.sleep(0.1)
            if time.monotonic() - told > _SAID_EVERY_SECONDS:
                told = time.monotonic()
                log.info("%s: the server in %s still recovers", self.label, self.folder)

    def parameters(self, user: str, database: str) -> dict[str, Any]:
        """Return what ``psycopg.connect`` needs."""
        return {
            "host": str(self.socket),
            "port": PORT,
            "user": user,
            "dbname": database,
            "connect_timeout": 10,
            "application_name": "airlock",
        }

    def environment(self, user: str, database: str, options: str) -> dict[str, str]:
        """Return the environment of PostgreSQL's client programs."""
        return {
            **_environment(),
            "PGHOST": str(self.socket),
            "PGPORT": str(PORT),
            "PGUSER": user,
            "PGDATABASE": database,
            "PGOPTIONS": options,
        }


def _end(process: subprocess.Popen[bytes]) -> None:
    for how in (signal.SIGINT, signal.SIGQUIT):
        if process.poll() is None:
            process.send_signal(how)
            with suppress(subprocess.TimeoutExpired):
                process.wait(_STOP_SECONDS)
    if process.poll() is None:
        process.kill()
        process.wait()


def _environment() -> dict[str, str]:
    return {"PATH": os.environ.get("PATH", ""), "LC_ALL": "C", "TZ": "UTC"}


def recovered_to(data: Path) -> str:
    """Return the position before which recovery stopped, as the history of the timeline says; empty: it does not."""
    found = ""
    for path in sorted((data / "pg_wal").glob("*.history")):
        for line in path.read_text(errors="replace").splitlines():
            before, mark, position = line.partition("before LSN ")
            found = position.split()[0] if mark and before.strip() else found
    return found
