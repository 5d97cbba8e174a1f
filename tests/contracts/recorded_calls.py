"""What an implementation really asks for while it works: calls of AWS, requests, connections, programs, files.

Listens where the work is done (events of boto3, urllib3, Python's audit events), and only while a method of a driver,
a target, a router or a source runs: what a test does besides is nobody's need.
"""

from __future__ import annotations

import functools
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import pytest

from airlock.backup import aws
from airlock.backup.driver import Driver, Place
from airlock.models.needs import Stage

_METHODS = {"inspect": Stage.INSPECT, "plan": Stage.INSPECT, "start": Stage.BACKUP, "poll": Stage.BACKUP,
            "finish": Stage.BACKUP, "discard": Stage.PROOF, "restore": None, "prove": None}  # fmt: skip
"""``None``: of a scratch place it is a proof, of the origin the way back."""
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC


@dataclass(frozen=True)
class Asked:
    """One thing that was asked for. ``sort`` says how ``what`` is to be read:

    ``aws``: ``service:Operation``; ``http``: ``METHOD /path``; ``program``: its words; ``read`` and ``write``: a path;
    ``connect``: ``host:port`` or the path of a socket; ``call``: a method of XML-RPC, and what it is about
    """

    stage: Stage
    sort: str
    what: str


@dataclass
class Recording:
    """All that was asked for while drivers worked, each once."""

    asked: dict[Asked, None] = field(default_factory=dict)

    def of(self, *sorts: str) -> list[Asked]:
        return [one for one in self.asked if one.sort in sorts]


_stage: ContextVar[Stage | None] = ContextVar("stage", default=None)
_recordings: list[Recording] = []


def _note(sort: str, what: str) -> None:
    stage = _stage.get()
    if stage is not None:
        for recording in _recordings:
            recording.asked[Asked(stage, sort, what)] = None


_CALL = re.compile(rb"<methodName>(?:\w+\.)?(\w+)</methodName>.*?<string>([^<]*)</string>", re.DOTALL)


def _heard(event: str, arguments: tuple[Any, ...]) -> None:
    if not _recordings or _stage.get() is None:
        return
    if event == "socket.connect":
        place = arguments[1]
        _note("connect", f"{place[0]}:{place[1]}" if isinstance(place, tuple) else os.fsdecode(place))
    elif event == "http.client.send" and isinstance(arguments[1], bytes) and (found := _CALL.search(arguments[1])):
        _note("call", f"{found[1].decode()} {found[2].decode()}")
    if event == "subprocess.Popen":
        _note("program", "\0".join(os.fsdecode(part) for part in arguments[1]))
    elif event == "open":
        path, _, flags = arguments
        if isinstance(path, str | bytes):
            _note("write" if (flags or 0) & _WRITES else "read", os.fsdecode(path))
    elif event in ("os.rename", "os.symlink", "os.link", "os.remove", "os.mkdir", "os.rmdir", "os.chmod", "os.chown"):
        for path in arguments[:2]:
            if isinstance(path, str | bytes):
                _note("write", os.fsdecode(path))
    elif event in ("os.listdir", "os.scandir") and isinstance(arguments[0], str | bytes):
        _note("read", os.fsdecode(arguments[0]))


sys.addaudithook(_heard)


@contextmanager
def outside() -> Iterator[None]:
    """Record nothing: somebody else acts while the driver works."""
    token = _stage.set(None)
    try:
        yield
    finally:
        _stage.reset(token)


def _within(method: Callable[..., Any], stage: Stage | None, only: Any) -> Callable[..., Any]:
    @functools.wraps(method)
    def staged(self: Any, *arguments: Any, **more: Any) -> Any:
        if _stage.get() is not None or (only is not None and self is not only):
            return method(self, *arguments, **more)
        place = next((one for one in (*arguments, *more.values()) if isinstance(one, Place)), None)
        token = _stage.set(stage or (Stage.RESTORE if place is not None and place.origin else Stage.PROOF))
        try:
            return method(self, *arguments, **more)
        finally:
            _stage.reset(token)

    return staged


@contextmanager
def listening(
    implementation: type[Any], methods: Mapping[str, Stage | None], into: Recording, patch: pytest.MonkeyPatch,
    only: Any = None,
) -> Iterator[None]:
    """Record *into* what every object of *implementation*, or *only* one, asks for while one of *methods* runs."""
    for name, stage in methods.items():
        patch.setattr(implementation, name, _within(getattr(implementation, name), stage, only))
    _recordings.append(into)
    try:
        yield
    finally:
        _recordings.remove(into)


@contextmanager
def recording(driver: type[Driver], into: Recording, patch: pytest.MonkeyPatch) -> Iterator[None]:
    """Record *into* what every *driver* of this class asks for."""
    import urllib3

    made, urlopen = aws.aws_client, urllib3.HTTPConnectionPool.urlopen

    def client(connection: str, service: str) -> Any:
        found = made(connection, service)
        found.meta.events.register("before-call", lambda model, **_: _note(
            "aws", f"{model.service_model.signing_name}:{model.name}"))  # fmt: skip
        return found

    def opened(self: Any, method: str, url: str, *arguments: Any, **more: Any) -> Any:
        _note("http", f"{method} {url}")
        return urlopen(self, method, url, *arguments, **more)

    patch.setattr(aws, "aws_client", client)
    patch.setattr(urllib3.HTTPConnectionPool, "urlopen", opened)
    with listening(driver, _METHODS, into, patch):
        yield
