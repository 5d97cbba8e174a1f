"""Asks whether a server answers. Exists so that every module waits for readiness in the same way."""

from __future__ import annotations

import json
import socket
import urllib.error
import urllib.request
from typing import Any


def answers(url: str, status: int = 200) -> bool:
    """Whether a GET of *url* is answered with *status*."""
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:  # noqa: S310 - loopback only
            return bool(answer.status == status)
    except urllib.error.HTTPError as error:
        return error.code == status
    except (OSError, ValueError):
        return False


def listens(port: int) -> bool:
    """Whether something on 127.0.0.1 accepts connections at *port*."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def free_port() -> int:
    """A port of 127.0.0.1 that nothing uses at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def call(method: str, url: str, body: Any = None, headers: dict[str, str] | None = None) -> Any:
    """Send *body* as JSON and return the decoded answer (None when empty).

    :raises OSError: the server cannot be reached or answers with an error
    """
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(  # noqa: S310 - loopback only
        url, data=data, method=method, headers={"Content-Type": "application/json", **(headers or {})}
    )
    with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310 - loopback only
        text = answer.read()
    return json.loads(text) if text else None
