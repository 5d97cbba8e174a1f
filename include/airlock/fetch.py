"""Asks a server over HTTP, for targets and metric sources alike. Knows no particular server and no Airflow.

Uses no proxy of the environment: these are addresses of hosts beside Airflow, often on loopback.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import socket
import ssl
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
    """Status code and body of an answer, and where it sends its reader on to, if it does."""

    status: int
    body: bytes
    location: str = ""


@dataclass(frozen=True)
class Terms:
    """How a server is asked: how long silence, and the whole answer, may take; how large it may be; under which name
    the server is known (*host*: for virtual hosts, and what its certificate must be for); whom to trust (*trusted*)."""

    silence_seconds: float
    whole_seconds: float
    largest_bytes: int = _LARGEST
    host: str = ""
    trusted: ssl.SSLContext | None = None


class TooLate(http.client.HTTPException):
    """There was no whole answer in time."""


class TooLarge(http.client.HTTPException):
    """The answer is larger than it may be."""


class _Answer(http.client.HTTPResponse):
    """Passes over what a server says before its answer (102 Processing, 103 Early Hints)."""

    def begin(self) -> None:
        super().begin()
        while 101 < self.status < 200:
            self.headers = None  # type: ignore[assignment]  # so that the next one is read
            super().begin()


def ask(address: str, path: str, terms: Terms, method: str = "GET") -> Reply:
    """Ask ``address + path`` on a fresh connection. Any status code is an answer; redirects are not followed.

    :raises TooLate: there is no whole answer in time
    :raises TooLarge: there is more of it than may be
    :raises OSError: nobody answers; as ``ssl.SSLCertVerificationError``, somebody who is not the one that was asked
    :raises http.client.HTTPException: the answer is no HTTP, or cut off
    """
    parts = urlsplit(address)
    secured = parts.scheme == "https"
    kind = http.client.HTTPSConnection if secured else http.client.HTTPConnection
    connection = kind(parts.hostname or "", parts.port, timeout=terms.silence_seconds)
    connection.response_class = _Answer
    late = threading.Event()
    held: list[socket.socket] = []  # the connection lets go of its own before the body is read

    def give_up() -> None:
        late.set()
        for one in held[-1:]:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    alarm = threading.Timer(terms.whole_seconds, give_up)
    alarm.daemon = True
    alarm.start()
    try:
        held.append(socket.create_connection((connection.host, connection.port), terms.silence_seconds))
        if late.is_set():  # names are looked up in a time of their own, during which nothing can be given up
            raise TooLate
        if secured:
            trusted = terms.trusted or ssl.create_default_context()
            name = terms.host or connection.host
            held.append(wrapped := trusted.wrap_socket(held[0], server_hostname=name, do_handshake_on_connect=False))
            if late.is_set():
                raise TooLate
            wrapped.do_handshake()
        connection.sock = held[-1]
        headers = {"Connection": "close", "User-Agent": "airlock", **({"Host": terms.host} if terms.host else {})}
        connection.request(method, path, headers=headers)
        answer = connection.getresponse()
        body = answer.read(terms.largest_bytes + 1)
        if late.is_set():
            raise TooLate
        if len(body) > terms.largest_bytes:
            raise TooLarge(f"its answer is larger than {terms.largest_bytes} bytes")
        if answer.length:
            raise http.client.IncompleteRead(body, answer.length)
        return Reply(answer.status, body, answer.headers.get("Location", ""))
    except (OSError, http.client.HTTPException) as error:
        if late.is_set():
            raise TooLate(f"no whole answer in {terms.whole_seconds:g} s") from error
        if isinstance(error, TimeoutError):
            raise TooLate(f"it was silent for {terms.silence_seconds:g} s") from error
        raise
    finally:
        alarm.cancel()
        connection.close()
        for one in held:
            one.close()


def fetch(address: str, path: str, *, method: str = "GET", timeout: float = 5.0) -> Reply:
    """Ask ``address + path`` as ``ask`` does.

    :param timeout: seconds of silence that are borne; the whole answer may take four times as long
    :raises TemporaryError: nobody answers, or not in HTTP, or the answer is cut off, too slow or too large
    """
    try:
        return ask(address, path, Terms(timeout, _WHOLE * timeout), method)
    except (OSError, http.client.HTTPException) as error:
        why = str(error) if isinstance(error, TooLate | TooLarge) else f"{type(error).__name__}: {error}"
        raise TemporaryError(f"{address} does not answer ({why}): check that it runs, then try again") from error


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
