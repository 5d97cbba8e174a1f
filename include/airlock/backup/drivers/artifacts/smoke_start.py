"""Starts a program on a free loopback port, asks its health endpoint and ends it. Knows no backup and no driver."""

from __future__ import annotations

import contextlib
import http.client
import json
import logging
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any
from urllib.parse import unquote, urlsplit

from airlock.child_program import lifeline, tied_to_this_process

log = logging.getLogger(__name__)
_HOST = "127.0.0.1"
_TAIL_LINES = 3
_TAIL_BYTES = 4096
_ANSWER_LIMIT = 1 << 20
_OK = 200


@dataclass(frozen=True)
class Health:
    """What the endpoint answered. ``status`` is 0 when it never answered; ``reason`` says why then."""

    status: int
    body: Mapping[str, Any]
    reason: str = ""


def free_port() -> int:
    """Return a TCP port of loopback that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind((_HOST, 0))
        return int(probe.getsockname()[1])


def try_out(
    command: list[str], environment: Mapping[str, str], health: tuple[int, str], folder: Path, seconds: float
) -> Health:
    """Start *command* in *folder*, ask *health* (port, path) until it answers 200, and end all that was started.

    Returns the last answer when *seconds* have passed or the program ended. *environment* is all that it sees.
    """
    output = folder / "output.log"
    with output.open("wb") as sink, _started(command, environment, folder, sink) as process:
        found = _wait(process, health, time.monotonic() + seconds)
    if found.status == _OK:
        return found
    return Health(found.status, found.body, f"{found.reason}{_tail(output, environment)}")


def _wait(process: subprocess.Popen[bytes], health: tuple[int, str], until: float) -> Health:
    found = Health(0, {}, "it never answered")
    while time.monotonic() < until:
        # looked at before the answer: on a port that another program took meanwhile, ours would have ended
        if process.poll() is not None:
            return Health(0, {}, f"it ended with code {process.returncode} before it was healthy")
        found = _ask(*health) or found
        if found.status == _OK and process.poll() is None:
            return found
        time.sleep(0.1)
    return found


def _ask(port: int, path: str) -> Health | None:
    connection = http.client.HTTPConnection(_HOST, port, timeout=2)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        content = answer.read(_ANSWER_LIMIT)
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()
    try:
        body = json.loads(content)
    except (ValueError, RecursionError):
        body = {}
    return Health(answer.status, body if isinstance(body, dict) else {}, f"it answered {answer.status}")


@contextlib.contextmanager
def _started(
    command: list[str], environment: Mapping[str, str], folder: Path, sink: IO[bytes]
) -> Iterator[subprocess.Popen[bytes]]:
    """Start the program; end it at the end of the block, or of this process, with all that it started itself."""
    with lifeline() as held:
        process = subprocess.Popen(
            tied_to_this_process(command), env=dict(environment), cwd=folder, stdin=held, stdout=sink,
            stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
        yield process
    process.wait()
    log.info("ended the trial with all that it started (process %d)", process.pid)


def _tail(output: Path, environment: Mapping[str, str]) -> str:
    """Return the last lines of the program's output, without any value of its environment."""
    text = output.read_bytes()[-_TAIL_BYTES:].decode(errors="replace")
    for value in sorted((value for value in _secrets(environment) if len(value) > 3), key=len, reverse=True):
        text = text.replace(value, "***")
    lines = [line.strip() for line in text.splitlines() if line.strip()][-_TAIL_LINES:]
    return f"; its last words: {' | '.join(lines)}" if lines else ""


def _secrets(environment: Mapping[str, str]) -> Iterator[str]:
    """Yield every value, and the password of each that is an address, as it is written there and as it is meant."""
    for value in environment.values():
        yield value
        with contextlib.suppress(ValueError):  # no address
            password = urlsplit(value).password or ""
            yield from (password, unquote(password))
