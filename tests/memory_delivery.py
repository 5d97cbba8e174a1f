"""A target and a router in memory that fulfil their contracts, so that hundreds of releases take seconds."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from pydantic import ConfigDict

from airlock.deploy.delivery import Delivery
from airlock.deploy.health import Health
from airlock.deploy.router import WHOLE, Router, RouterOptions, checked
from airlock.deploy.target import Target, TargetOptions
from airlock.errors import PermanentError
from airlock.models import Artifact, Backend
from airlock.models.needs import Needs

NAMES = ("a", "b")


@dataclass
class Host:
    """What both see: which artifact each backend has installed, which run, who gets the traffic, where all answer."""

    installed: dict[str, Artifact] = field(default_factory=dict)
    running: set[str] = field(default_factory=set)
    kept: dict[tuple[str, str], Artifact] = field(default_factory=dict)
    stable: str = NAMES[0]
    shares: dict[str, int] = field(default_factory=lambda: {NAMES[0]: WHOLE, NAMES[1]: 0})
    fallback: str | None = None
    address: str = ""

    def put(self, name: str, artifact: Artifact) -> None:
        self.installed[name] = self.kept[name, artifact.version] = artifact
        self.running.add(name)


class _Answering(BaseHTTPRequestHandler):
    """Answers the checks of every version."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


@cache
def answering() -> str:
    """Return the address of a server that finds every version well; it ends with the tests."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Answering)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"http://127.0.0.1:{server.server_address[1]}"


class _TargetOptions(TargetOptions):
    model_config = ConfigDict(frozen=True, extra="allow")

    health_path: str = "/health"

    @property
    def backend_names(self) -> tuple[str, ...]:
        return NAMES


class _RouterOptions(RouterOptions):
    model_config = ConfigDict(frozen=True, extra="allow")


class MemoryTarget(Target):
    """Versions in memory."""

    Options = _TargetOptions
    needs = Needs()

    def __init__(self, host: Host) -> None:
        super().__init__({})
        self.host = host

    def stable(self) -> str:
        return self.host.stable

    def mark_stable(self, backend: str) -> None:
        self.host.stable = backend

    def backends(self) -> tuple[Backend, ...]:
        return tuple(self._seen(name) for name in NAMES)

    def _seen(self, name: str) -> Backend:
        held, runs = self.host.installed.get(name), name in self.host.running
        if held is None:
            return Backend(name=name, version=None, installed=None, running=False, healthy=False)
        return Backend(name=name, version=held.version, installed=held.version, running=runs, healthy=runs,
                       digest=held.digest, claimed=held.digest if runs else "",
                       address=self.host.address or answering())

    def install(self, artifact: Artifact, backend: str) -> None:
        self.host.put(backend, artifact)

    def await_healthy(self, backend: str, version: str) -> None:
        if not (seen := self._seen(backend)).healthy or seen.version != version:
            raise PermanentError(f"{version} does not start in {backend}")

    def holds(self, backend: str, version: str) -> bool:
        return (backend, version) in self.host.kept

    def revive(self, backend: str, version: str) -> None:
        self.host.put(backend, self.host.kept[backend, version])

    def stop(self, backend: str) -> None:
        self.host.installed.pop(backend, None)
        self.host.running.discard(backend)

    def purge(self, backend: str) -> None:
        for name, version in list(self.host.kept):
            if name == backend and self.host.installed.get(name) is not self.host.kept[name, version]:
                del self.host.kept[name, version]


class MemoryRouter(Router):
    """Shares in memory."""

    Options = _RouterOptions
    needs = Needs()

    def __init__(self, host: Host) -> None:
        super().__init__({"listener": "http://127.0.0.1:1", "backends": dict.fromkeys(NAMES)})
        self.host = host

    def shares(self) -> dict[str, int]:
        return dict(self.host.shares)

    def set_shares(self, shares: Mapping[str, int]) -> dict[str, int]:
        self.host.shares = checked(shares, NAMES)
        return self.shares()

    def fallback(self) -> str | None:
        return self.host.fallback

    def set_fallback(self, backend: str) -> None:
        self.host.fallback = backend

    def health(self, path: str) -> Health | None:
        name = max(self.host.shares, key=lambda one: self.host.shares[one])
        held = self.host.installed.get(name)
        return None if held is None else Health(version=held.version, digest=held.digest, healthy=True)


def in_memory(stable: Artifact) -> Delivery:
    """Return a delivery with *stable* in its first backend and all traffic there."""
    host = Host()
    host.put(NAMES[0], stable)
    return Delivery(MemoryTarget(host), MemoryRouter(host))


KEPT: dict[str, Host] = {}
"""Hosts that outlive the release that uses them: one for each folder that a service's options name."""


def kept_host(folder: object) -> Host:
    """Return the host of *folder*; 1.0 is stable when it is first met."""
    if str(folder) not in KEPT:
        KEPT[str(folder)] = host = Host()
        digest = "sha256:" + hashlib.sha256(b"1.0").hexdigest()
        host.put(NAMES[0], Artifact(version="1.0", path="1.0", digest=digest))
    return KEPT[str(folder)]


class KeptTarget(MemoryTarget):
    """The target of one folder."""

    def __init__(self, options: dict[str, Any]) -> None:
        super().__init__(kept_host(options["folder"]))


class KeptRouter(MemoryRouter):
    """The router of one folder."""

    def __init__(self, options: dict[str, Any]) -> None:
        super().__init__(kept_host(options["fallback_folder"]))
