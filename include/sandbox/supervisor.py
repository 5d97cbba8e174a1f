"""supervisord: starts and stops the versions of the shop, as a host's process manager would. Knows no release.

Programs are ``shop-<environment>-<slot>``. All start with supervisord, but an empty slot ends at once (see ``launch``),
so after a crash of supervisord exactly the versions that ran before run again.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from sandbox.layout import ENVIRONMENTS, Layout
from sandbox.processes import Program, Server
from sandbox.processes import start as start_process
from sandbox.reach import listens

SLOTS = ("a", "b")


def program_name(environment: str, slot: str) -> str:
    """The name of the program that runs *slot* of *environment*."""
    return f"shop-{environment}-{slot}"


def configuration(layout: Layout, login: str, password: str) -> str:
    """The configuration file of supervisord, with the XML-RPC log-in in it."""
    base = f"""[inet_http_server]
port=127.0.0.1:{layout.port("supervisor")}
username={_plain(login)}
password={_plain(password)}

[supervisord]
nodaemon=true
silent=false
logfile=/dev/null
logfile_maxbytes=0
pidfile={_plain(layout.run / "supervisord.pid")}
childlogdir={_plain(layout.log)}

[rpcinterface:supervisor]
supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface
"""
    return base + "".join(_program(layout, environment, slot) for environment in ENVIRONMENTS for slot in SLOTS)


def _program(layout: Layout, environment: str, slot: str) -> str:
    host = layout.host(environment)
    log = _plain(host / "logs" / f"shop-{slot}.log")
    port = layout.port(f"{environment}_{slot}")
    return f"""
[program:{program_name(environment, slot)}]
command="{_plain(sys.executable)}" -m sandbox.launch "{_plain(host)}" {slot} {port}
environment=PYTHONPATH="{_plain(layout.repository / "include")}",PYTHONUNBUFFERED="1"
directory={_plain(host)}
autostart=true
autorestart=unexpected
exitcodes=0
startsecs=1
startretries=3
stopwaitsecs=5
stopsignal=TERM
redirect_stderr=true
stdout_logfile={log}
stdout_logfile_maxbytes=1MB
stdout_logfile_backups=3
"""


def _plain(value: object) -> str:
    """Escape what supervisord's file format expands."""
    return str(value).replace("%", "%%")


def start(layout: Layout, login: str, password: str) -> Server:
    """Start supervisord and wait until its XML-RPC address answers.

    :raises TemporaryError: it does not come up
    """
    path = layout.run / "supervisord.conf"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as stream:
        stream.write(configuration(layout, login, password))
    program = Program(
        name="supervisor",
        command=(sys.executable, "-m", "supervisor.supervisord", "-n", "-c", str(path)),
        log=layout.log / "supervisor.log",
        ready=lambda: listens(layout.port("supervisor")),
        # Children inherit this: the shop must not see Airflow's settings and secrets.
        environment={name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ},
        folder=Path("/"),
        grace=12.0,
    )
    return start_process(program, layout.run)
