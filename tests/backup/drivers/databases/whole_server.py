"""A PostgreSQL server of the tests' own, which they may stop, start and lose, with summaries of its log."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from sandbox import postgres, reach

PASSWORD = "hunter2-of-a-whole-server"
SETTINGS = """
listen_addresses = '127.0.0.1'
unix_socket_directories = ''
summarize_wal = on
autovacuum = off
fsync = off
max_prepared_transactions = 5
shared_buffers = 32MB
"""


@dataclass(frozen=True)
class WholeServer:
    """One server: its folder, port and programs; *stop* and *start* are commands."""

    folder: Path
    port: int
    programs: Path

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def stop(self) -> list[str]:
        return ["sh", str(self.folder / "stop.sh")]

    @property
    def start(self) -> list[str]:
        return ["sh", str(self.folder / "start.sh")]

    def run(self, *statements: str, database: str = "postgres") -> list[tuple[Any, ...]]:
        """Run *statements*, each by itself; return the rows of the last one."""
        with self.session(database) as session:
            for statement in statements:
                found = session.execute(statement)
            return found.fetchall() if found.description else []

    def session(self, database: str = "postgres", *, autocommit: bool = True) -> psycopg.Connection[Any]:
        return psycopg.connect(host="127.0.0.1", port=self.port, user="chief", password=PASSWORD, dbname=database,
                               client_encoding="utf8", autocommit=autocommit)  # fmt: skip

    def again(self, *settings: str) -> None:
        """Stop it, append *settings*, and start it."""
        subprocess.run(self.stop, check=True)
        with (self.data / "postgresql.conf").open("a") as file:
            file.writelines(f"{one}\n" for one in settings)
        subprocess.run(self.start, check=True)


def as_servers_user() -> dict[str, Any]:
    root = os.geteuid() == 0
    return {"user": postgres.NOBODY, "group": postgres.NOBODY, "extra_groups": []} if root else {}


@contextmanager
def whole_server(folder: Path, *arguments: str) -> Iterator[WholeServer]:
    """Make a server below *folder* and run it; *arguments* are those of ``initdb``."""
    server = WholeServer(folder / "server", reach.free_port(), postgres.programs_open_to_servers(folder))
    server.folder.mkdir(mode=0o755)
    (server.folder / "password").write_text(PASSWORD)
    if os.geteuid() == 0:
        os.chown(server.folder, postgres.NOBODY, postgres.NOBODY)
    subprocess.run(
        [
            str(server.programs / "initdb"),
            "-D",
            str(server.data),
            "-U",
            "chief",
            "-A",
            "scram-sha-256",
            "--no-sync",
            "--encoding=UTF8",
            "--locale=C.UTF-8",
            f"--pwfile={server.folder / 'password'}",
            *arguments,
        ],
        check=True,
        stdout=subprocess.DEVNULL,
        cwd=server.folder,
        **as_servers_user(),
    )
    with (server.data / "postgresql.conf").open("a") as file:
        file.write(f"{SETTINGS}port = {server.port}\n")
    lead = f"setpriv --reuid={postgres.NOBODY} --regid={postgres.NOBODY} --clear-groups " if os.geteuid() == 0 else ""
    control = f"cd {server.folder}; exec {lead}{server.programs / 'pg_ctl'} -D {server.data} -w -t 60 "
    (server.folder / "stop.sh").write_text(f"{control} -m fast stop\n")
    (server.folder / "start.sh").write_text(f"{control} -l {server.folder / 'log'} start > {os.devnull}\n")
    subprocess.run(server.start, check=True)
    try:
        yield server
    finally:
        subprocess.run(server.stop, check=False)
