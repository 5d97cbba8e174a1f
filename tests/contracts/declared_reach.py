"""Compares what a target, router, or source really reaches with what it declares (``airlock.models.needs``), both ways.

Whatever it connects to must be declared: as an address that must answer, as the server of a connection, or as a socket
that it may use. And whatever is declared must be used by the tests of its contract.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import urlsplit

import pytest

from airlock.connections import connection
from airlock.errors import UnknownConnection
from airlock.models.needs import Need, Needs, Permission, Stage, System
from airlock.options import Options
from tests.contracts.declared_needs import below
from tests.contracts.recorded_calls import Recording, listening

_PORTS = {"http": 80, "https": 443}


def _place(url: str) -> str:
    """Return ``host:port`` of an address, or the path of a socket."""
    if url.startswith("/") or "://" not in url:
        return url
    parts = urlsplit(url)
    return f"{parts.hostname}:{parts.port or _PORTS[parts.scheme]}"


def _of_connections(needs: Needs) -> Iterator[str]:
    for one in needs.connections:
        try:
            held = connection(one.id)
        except UnknownConnection:
            continue
        yield f"{held.host}:{held.port}" if held.port else str(held.host)


def _used_of(
    permission: Permission, recording: Recording, reached: set[str], calls: set[tuple[str, ...]]
) -> Iterator[str]:
    """Yield the actions of *permission*, whose text is filled, that something was done with."""
    if permission.system is System.SUPERVISORD:
        yield from (action for action, about in calls if about == permission.on)
    elif permission.system is System.REGISTRY:
        yield from permission.actions if reached else ()
    elif permission.on in reached:
        yield from ("read", "write")
    else:
        if "{version}" in permission.on:  # in the folder of all of them
            permission = permission.model_copy(update={"on": str(Path(permission.on).parent)})
        if any(below(asked.what, permission) for asked in recording.of("read")):
            yield from ("read", "search")
        if any(below(asked.what, permission) for asked in recording.of("write")):
            yield from ("write", "replace")


@dataclass
class Reach:
    """What the tests of one class reached of what is declared; *tests* are those that ran."""

    declared: set[str] = field(default_factory=set)
    used: set[str] = field(default_factory=set)
    tests: set[str] = field(default_factory=set)

    def compare(self, needs: Needs, options: Options, recording: Recording) -> list[str]:
        """Return what was reached and is not declared; remember what of the declaration was used, whatever its options
        were in this test."""
        reached = {asked.what for asked in recording.of("connect")}
        calls = {tuple(asked.what.split(" ", 1)) for asked in recording.of("call")}
        for address in needs.addresses:
            bound = Needs(addresses=(address,)).bound(options).addresses
            self._add(f"address {address.url}", bound, any(_place(one.url) in reached for one in bound))
        for permission in needs.permissions:
            held = Needs(permissions=(permission,)).bound(options).permissions
            used = {action for one in held for action in _used_of(one, recording, reached, calls)}
            for action in permission.actions:
                self._add(f"{action} on {permission.on}", held, action in used)
        whole = needs.bound(options)
        places = {_place(one.url) for one in whole.addresses} | set(_of_connections(whole))
        places |= {one.on for one in whole.permissions if one.system is System.FILES}
        allowed = {(action, one.on) for one in whole.permissions if one.system is System.SUPERVISORD
                   for action in one.actions}
        return sorted({*(f"connects to {place}" for place in reached - places),
                       *(f"calls {action} of {about}" for action, about in calls - allowed)})

    def _add(self, what: str, relevant: Sequence[Need], used: bool) -> None:
        if relevant:
            self.declared.add(what)
        if used:
            self.used.add(what)

    @property
    def unused(self) -> list[str]:
        """What is declared and was never reached."""
        return sorted(self.declared - self.used)


@contextmanager
def reaching(reach: Reach, subject: Any, methods: Mapping[str, Stage], patch: pytest.MonkeyPatch) -> Iterator[None]:
    """Fail when *subject* reaches what it does not declare while the block runs; add what it reached to *reach*."""
    found = Recording()
    with listening(type(subject), methods, found, patch, subject):
        yield
    undeclared = reach.compare(subject.needs, subject.options, found)
    assert undeclared == [], f"reached, and not declared: {undeclared}"


class DeclaredReach:
    """For a contract: what each of its tests reaches is declared; its last one looks at ``unused_of``.

    ``subject`` names the fixture that gives what is tested, ``methods`` are those of it that may reach something.
    """

    subject: ClassVar[str]
    methods: ClassVar[Mapping[str, Stage]]

    @pytest.fixture(autouse=True)
    def nothing_undeclared(self, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        """Fail where a test reaches what is not declared."""
        reach = self.reach()
        with reaching(reach, request.getfixturevalue(self.subject), self.methods, monkeypatch):
            yield
        reach.tests.add(request.node.originalname)

    @classmethod
    def reach(cls) -> Reach:
        """Return what the tests of this class reached."""
        if "_reach" not in cls.__dict__:
            cls._reach = Reach()  # type: ignore[attr-defined]
        return cls.__dict__["_reach"]

    def unused_of(self, contract: type, own: str) -> list[str]:
        """Return what is declared and the tests before *own*, the last one of *contract*, never reached."""
        reach = self.reach()
        missing = {name for name in dir(contract) if name.startswith("test_")} - reach.tests - {own}
        if missing:
            pytest.skip(f"only the whole suite reaches everything; not run: {', '.join(sorted(missing))}")
        return reach.unused


METRICS = {"online": Stage.ANALYSIS, "begin": Stage.ANALYSIS, "sample": Stage.ANALYSIS}
"""The methods of a metric source."""
