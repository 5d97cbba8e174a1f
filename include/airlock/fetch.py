"""Asks a server over HTTP, for targets and metric sources alike. Knows no particular server and no Airflow.

Uses no proxy of the environment: these are addresses of hosts beside Airflow, often on loopback.
"""

from __future__ import annotations

import http.client
import json
from dataclasses import dataclass
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import StringConstraints

from airlock.errors import TemporaryError

Address = Annotated[str, StringConstraints(pattern=r"^https?://[^/?#\s@]+$")]
"""``http://host:port`` without path, log-in or final slash."""
_LARGEST = 64 << 20


@dataclass(frozen=True)
class Reply:
    """Status code and body of an answer."""

    status: int
    body: bytes


def fetch(address: str, path: str, *, method: str = "GET", timeout: float = 5.0) -> Reply:
    """Ask ``address + path`` on a fresh connection. Any status code is an answer; redirects are not followed.

    :param timeout: seconds of silence that are borne
    :raises TemporaryError: nobody answers, or not in HTTP
    """
    parts = urlsplit(address)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.hostname or "", parts.port, timeout=timeout)
    try:
        connection.request(method, path, headers={"Connection": "close", "User-Agent": "airlock"})
        answer = connection.getresponse()
        return Reply(status=answer.status, body=answer.read(_LARGEST))
    except (OSError, http.client.HTTPException) as error:
        raise TemporaryError(
            f"{address} does not answer ({type(error).__name__}: {error}): check that it runs, then try again"
        ) from error
    finally:
        connection.close()


def fetch_json(address: str, path: str, *, timeout: float = 5.0) -> Any:
    """Ask for JSON and return it decoded.

    :raises TemporaryError: nobody answers, or the answer is not a 200 with JSON in it
    """
    reply = fetch(address, path, timeout=timeout)
    what = path.partition("?")[0]
    if reply.status != 200:
        raise TemporaryError(f"{address}{what} answers with status {reply.status}, not 200: check the server")
    try:
        return json.loads(reply.body)
    except ValueError as error:
        raise TemporaryError(f"{address}{what} answers with something that is not JSON: check the address") from error
