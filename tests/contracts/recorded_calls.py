"""What a driver really asks for while it works: calls of AWS, requests to Vault and Kubernetes, programs, files.

Listens where the work is done (events of boto3, urllib3, Python's audit events), and only while a method of a driver
runs: what a test does besides is nobody's need.
"""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable, Iterator
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

    ``aws``: ``service:Operation``; ``http``: ``METHOD /path``; ``program``: its words; ``read`` and ``write``: a path
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


def _heard(event: str, arguments: tuple[Any, ...]) -> None:
    if not _recordings or _stage.get() is None:
        return
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


def _within(method: Callable[..., Any], name: str) -> Callable[..., Any]:
    @functools.wraps(method)
    def staged(self: Driver, *arguments: Any, **more: Any) -> Any:
        if _stage.get() is not None:
            return method(self, *arguments, **more)
        place = next((one for one in (*arguments, *more.values()) if isinstance(one, Place)), None)
        stage = _METHODS[name] or (Stage.RESTORE if place is not None and place.origin else Stage.PROOF)
        token = _stage.set(stage)
        try:
            return method(self, *arguments, **more)
        finally:
            _stage.reset(token)

    return staged


@contextmanager
def recording(driver: type[Driver], into: Recording, patch: pytest.MonkeyPatch) -> Iterator[None]:
    """Record *into* what every *driver* of this class asks for."""
    import urllib3

    for name in _METHODS:
        patch.setattr(driver, name, _within(getattr(driver, name), name))
    made, urlopen = aws.client, urllib3.HTTPConnectionPool.urlopen

    def client(connection: str, service: str) -> Any:
        found = made(connection, service)
        found.meta.events.register("before-call", lambda model, **_: _note(
            "aws", f"{model.service_model.signing_name}:{model.name}"))  # fmt: skip
        return found

    def opened(self: Any, method: str, url: str, *arguments: Any, **more: Any) -> Any:
        _note("http", f"{method} {url}")
        return urlopen(self, method, url, *arguments, **more)

    patch.setattr(aws, "client", client)
    patch.setattr(urllib3.HTTPConnectionPool, "urlopen", opened)
    _recordings.append(into)
    try:
        yield
    finally:
        _recordings.remove(into)
