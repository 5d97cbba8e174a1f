"""Asks HAProxy over its runtime socket, for the router and the metric source alike. Knows no share and no policy."""

from __future__ import annotations

import csv
import re
import socket
import time
from collections.abc import Sequence
from typing import Annotated

from pydantic import StringConstraints

from airlock.errors import PermanentError, TemporaryError
from airlock.identity import address_identity

SocketAddress = Annotated[str, StringConstraints(pattern=r"^(/[^\x00]{1,100}|[A-Za-z0-9._-]+:[0-9]{1,5})$")]
"""Path of a Unix socket, or ``host:port``."""
ProxyName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.:-]{1,100}$")]
"""Name of a backend section, or of a server in it, as HAProxy allows it."""
_LARGEST = 64 << 20
_TIMEOUT = 5.0
# Of the time-out: how long a whole answer may take. One that comes byte by byte must not hold its reader for ever.
_WHOLE = 4
_REFUSALS = (
    (r"permission denied", "give its socket 'level admin'"),
    (r"no such (server|backend)|can't find|unknown backend", "correct the name in the options"),
    (r"static lb algorithm", "write 'balance roundrobin' in that backend: with others shares cannot be set"),
)


def ask(address: str, command: str) -> str:
    """Return what HAProxy answers to *command*.

    :raises TemporaryError: nobody answers there, or not to the end
    :raises PermanentError: the socket may not be used
    """
    local = address.startswith("/")
    where: str | tuple[str, int] = address
    if not local:
        host, _, port = address.rpartition(":")
        where = (host, int(port))
    answer, until = b"", time.monotonic() + _WHOLE * _TIMEOUT
    try:
        with socket.socket(socket.AF_UNIX if local else socket.AF_INET, socket.SOCK_STREAM) as connection:
            connection.settimeout(_TIMEOUT)
            connection.connect(where)
            connection.sendall(command.encode() + b"\n")
            while part := connection.recv(1 << 16):
                answer += part
                if len(answer) > _LARGEST or time.monotonic() > until:
                    raise TemporaryError(f"HAProxy at {address} does not answer to the end: after "
                                         f"{_WHOLE * _TIMEOUT:g} s, or {_LARGEST >> 20} MiB, nobody waits for more")
    except PermissionError as error:
        raise PermanentError(f"HAProxy's socket {address} may not be opened: let Airflow's user open it") from error
    except OSError as error:
        raise TemporaryError(
            f"HAProxy at {address} does not answer ({type(error).__name__}: {error}): check that it runs"
        ) from error
    if not answer:
        raise TemporaryError(f"HAProxy at {address} ends the connection without an answer: it may be reloading")
    return answer.decode("utf-8", "replace")


def tell(address: str, commands: Sequence[str]) -> None:
    """Let HAProxy carry out *commands*, which answer nothing when they succeed, in one go.

    :raises PermanentError: it refuses one; the others are carried out all the same
    :raises TemporaryError: nobody answers there
    """
    said = " ".join(ask(address, "; ".join(commands)).split())
    if said:
        hint = next((hint for sign, hint in _REFUSALS if re.search(sign, said, re.IGNORECASE)), "read its manual")
        raise PermanentError(f"HAProxy at {address} refuses {'; '.join(commands)}: {said[:200]}; {hint}")


def statistics(address: str, proxy: str) -> tuple[dict[str, str], list[dict[str, str]]]:
    """Return the statistics of the backend section *proxy*, and of each server in it: name of a column -> its value.

    :raises TemporaryError: nobody answers there, or with something else
    :raises PermanentError: there is no such section
    """
    head, *lines = _lines(address, "show stat", "# pxname,svname,")
    rows = [row for row in csv.DictReader([head.removeprefix("# "), *lines]) if row["pxname"] == proxy]
    whole = next((row for row in rows if row["svname"] == "BACKEND"), None)
    if whole is None:
        raise PermanentError(f"HAProxy at {address} has no backend section {proxy!r}: correct the option")
    return whole, [row for row in rows if row["svname"] not in ("BACKEND", "FRONTEND")]


def server_states(address: str, proxy: str) -> tuple[str, str, list[list[str]]]:
    """Return what HAProxy writes of the servers of *proxy* into a file of states: its version, its head, its rows.

    :raises TemporaryError: nobody answers there, or with something else
    """
    command = f"show servers state {proxy}"
    version, *said = _lines(address, command, "1")
    if not said or not said[0].startswith("# be_id ") or any(not re.match(r"[0-9]+( \S+){8}", row) for row in said[1:]):
        raise _strange(address, command, " ".join(said[:1]))
    return version, said[0], [row.split(" ") for row in said[1:]]


def _lines(address: str, command: str, beginning: str) -> list[str]:
    """Return the lines of an answer that are not empty; there is at least one, and it has this *beginning*."""
    found = [line for line in ask(address, command).splitlines() if line.strip()]
    if not found or not found[0].startswith(beginning):
        raise _strange(address, command, " ".join(found[:1]))
    return found


def _strange(address: str, command: str, said: str) -> TemporaryError:
    return TemporaryError(f"HAProxy at {address} answers '{command}' with {said[:60]!r}: check the address")


def information(address: str) -> dict[str, str]:
    """Return what HAProxy says of its process: name -> value.

    :raises TemporaryError: nobody answers there
    """
    pairs = (line.partition(": ") for line in ask(address, "show info").splitlines())
    return {name: value for name, _, value in pairs if name}


def server_identity(address: str, proxy: str, server: str) -> str:
    """Return what *server* of *proxy* is, by address."""
    where = address.replace("%", "%25").replace("/", "%2F") if address.startswith("/") else address_identity(address)
    return f"haproxy://{where}/{proxy}/{server}"
