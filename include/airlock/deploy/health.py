"""What a running version says of itself when it is asked for its health. Knows no place, no weight and no policy."""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import Annotated

from pydantic import StringConstraints

from airlock.errors import TemporaryError
from airlock.fetch import fetch
from airlock.models import Frozen, Version


class Health(Frozen):
    """The version, the digest of the artifact that it was started from, and whether it calls itself healthy."""

    version: Version
    digest: Annotated[str, StringConstraints(max_length=200)]
    healthy: bool


def ask_health(address: str, path: str) -> Health | None:
    """Ask whatever answers at *address*; ``None`` when nothing does, or a stranger: only what a version says of itself
    counts."""
    try:
        reply = fetch(address, path)
        told = json.loads(reply.body)
        ok = reply.status == HTTPStatus.OK and told.get("ok") is True
        version = told["version"]
        if type(version) in (int, float):
            version = str(version)
        return Health(version=version, digest=told["digest"], healthy=ok)
    except (TemporaryError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
