"""What answers at an address is a stranger's until it says, in plain words, which version it is."""

from __future__ import annotations

import json
from typing import Any

import pytest

from airlock.deploy.health import Health, ask_health
from tests.faulty_proxy import Fault, faulty_proxy

NOBODY = "http://127.0.0.1:9"


def told(body: bytes, status: int = 200) -> Health | None:
    with faulty_proxy(NOBODY) as server:
        server.always(Fault(status=status, body=body))
        return ask_health(server.url, "/health")


def said(**changes: Any) -> bytes:
    return json.dumps({"version": "1.1", "digest": "sha256:0", "ok": True, **changes}).encode()


def test_a_version_says_what_it_is() -> None:
    assert told(said()) == Health(version="1.1", digest="sha256:0", healthy=True)
    assert told(said(version=11)) == Health(version="11", digest="sha256:0", healthy=True)
    for body, status in ((said(ok=False), 200), (said(ok=1), 200), (said(ok=None), 200), (said(), 503)):
        assert told(body, status) == Health(version="1.1", digest="sha256:0", healthy=False)
    assert ask_health(NOBODY, "/health") is None


@pytest.mark.parametrize("body", [
    said(version=None), said(version=True), said(version=""), said(version="1" * 65), said(version=["1.1"]),
    said(version="1.1\n[error] forged"), said(version="../1.1"), said(digest=None), said(digest={"sha256": "0"}),
    said(digest="x" * 201), b"[]", b"null", b"", b"{" * 100_000, b"\xff", b'{"version": "1.1", "ok": true}',
])  # fmt: skip
def test_who_says_it_otherwise_is_a_stranger(body: bytes) -> None:
    """It goes into logs, messages and the evidence, and decides who gets traffic."""
    assert told(body) is None
