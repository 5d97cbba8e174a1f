"""Asks a server over HTTP, for targets and metric sources alike. Knows no particular server and no Airflow.

Uses no proxy of the environment: these are addresses of hosts beside Airflow, often on loopback.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import socket
import threading
from dataclasses import dataclass
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import AfterValidator, StringConstraints

from airlock.errors import TemporaryError


def _address(text: str) -> str:
    host, _, port = re.sub(r":([0-9]+)$", r" \1", text.partition("://")[2]).partition(" ")
    if not 0 < int(port or 80) < 65536 or any(not 0 < len(label) < 64 for label in host.split(".")):
        raise ValueError(f"{text[:80]!a} is no address; write http://host:port")
    return text


_ADDRESS = r"^https?://([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?$"
Address = Annotated[str, StringConstraints(pattern=_ADDRESS), AfterValidator(_address)]
"""``http://host:port`` without path, log-in or final slash."""
_LARGEST = 64 << 20
# Of the time-out: how long a whole answer may take. One that comes byte by byte must not hold its reader for ever.
_WHOLE = 4


@dataclass(frozen=True)
class Reply:
    """Status code and body of an answer."""

    status: int
    body: bytes


def fetch(address: str, path: str, *, method: str = "GET", timeout: float = 5.0) -> Reply:
    """Ask ``address + path`` on a fresh connection. Any status code is an answer; redirects are not followed.

    :param timeout: seconds of silence that are borne; the whole answer may take four times as long
    :raises TemporaryError: nobody answers, or not in HTTP, or the answer is cut off, too slow or too large
    """
    parts = urlsplit(address)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.hostname or "", parts.port, timeout=timeout)
    late = threading.Event()

    def give_up(held: socket.socket) -> None:
        late.set()
        with contextlib.suppress(OSError):
            held.shutdown(socket.SHUT_RDWR)

    alarm: threading.Timer | None = None
    try:
        connection.connect()
        alarm = threading.Timer(_WHOLE * timeout, give_up, (connection.sock,))
        alarm.daemon = True
        alarm.start()
        connection.request(method, path, headers={"Connection": "close", "User-Agent": "airlock"})
        answer = connection.getresponse()
        body = answer.read(_LARGEST)
        if late.is_set() or answer.length:
            raise http.client.IncompleteRead(body, answer.length)
        return Reply(status=answer.status, body=body)
    except (OSError, http.client.HTTPException) as error:
        why = f"no whole answer in {_WHOLE * timeout:.0f} s" if late.is_set() else f"{type(error).__name__}: {error}"
        raise TemporaryError(f"{address} does not answer ({why}): check that it runs, then try again") from error
    finally:
        if alarm is not None:
            alarm.cancel()
        connection.close()


def fetch_json(address: str, path: str, *, timeout: float = 5.0) -> Any:
    """Ask for JSON and return it decoded.

    :raises TemporaryError: nobody answers, or the answer is not a 200 with JSON in it
    """
    reply = fetch(address, path, timeout=timeout)
    what = path.partition("?")[0]
    if reply.status != 200:
        raise TemporaryError(f"{address}{what} answers with status {reply.status}, not 200: check the server")
    return decoded(reply.body, f"{address}{what}")


def decoded(body: bytes, who: str) -> Any:
    """Return *body*, the answer of *who*, as JSON. NaN and infinities are no JSON.

    :raises TemporaryError: it is something else
    """
    try:
        return json.loads(body, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise TemporaryError(f"{who} answers with something that is not JSON: check the address") from error


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")
