"""Compares what a driver asked for with what it declares (``airlock.models.needs``), both ways.

Each sort of call is translated into the words of the system that grants it: an action of IAM, a capability on a path of
Vault, a verb on a resource of Kubernetes, a program, reading or writing below a path.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from urllib.parse import unquote, urlsplit

from airlock.models.needs import Needs, Permission, Stage, System
from airlock.options import Options
from tests.contracts.recorded_calls import Asked, Recording

_CAPABILITIES = {"GET": ("read",), "LIST": ("list",), "POST": ("create", "update"), "PUT": ("create", "update"),
                 "DELETE": ("delete",)}  # fmt: skip
_VERBS = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
_DISCOVERY = re.compile(r"/api(/[^/]+)?/?|/apis(/[^/]+){0,2}/?")
_OWN_REVIEW = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
_OPEN_TO_ALL = ("/v1/auth/token/lookup-self",)
"""What every token may ask, whatever its policy."""


@dataclass(frozen=True)
class Wanted:
    """One right that a call needs: one of *actions* on *on*."""

    stage: Stage
    system: System
    actions: tuple[str, ...]
    on: str


def wanted(asked: Asked, needs: Needs) -> Iterator[Wanted]:
    """Yield the right that *asked* needs, in the words of its system."""
    systems = {one.system for one in needs.permissions}
    if asked.sort == "aws":
        service, _, operation = asked.what.partition(":")
        yield Wanted(asked.stage, System.AWS, (f"{service}:{operation}",), "*")
    elif asked.sort == "http" and System.VAULT in systems:
        method, _, url = asked.what.partition(" ")
        if urlsplit(url).path not in _OPEN_TO_ALL:
            path = unquote(urlsplit(url).path).removeprefix("/v1/")
            yield Wanted(asked.stage, System.VAULT, _CAPABILITIES[method], f"{path}/" if method == "LIST" else path)
    elif asked.sort == "http" and System.KUBERNETES in systems:
        yield from _of_kubernetes(asked)


def _of_kubernetes(asked: Asked) -> Iterator[Wanted]:
    method, _, url = asked.what.partition(" ")
    path = urlsplit(url).path
    if _DISCOVERY.fullmatch(path) or path == _OWN_REVIEW:
        return  # whoever has logged in may look
    parts = path.strip("/").split("/")
    group, rest = ("", parts[2:]) if parts[0] == "api" else (parts[1], parts[3:])
    within = rest[0] == "namespaces" and len(rest) > 2
    rest = rest[2:] if within else rest
    name = f"{rest[0]}.{group}" if group else rest[0]
    verb = _VERBS.get(method) or ("get" if len(rest) > 1 else "list")
    yield Wanted(asked.stage, System.KUBERNETES, (verb,), f"namespaced/{name}" if within else name)


def allows(permission: Permission, right: Wanted) -> bool:
    """Return whether *permission* is the one that *right* needs."""
    if permission.system is not right.system or right.stage not in permission.stages:
        return False
    if not set(permission.actions) & set(right.actions):
        return False
    if right.system is System.VAULT:
        pattern = permission.on
        return right.on.startswith(pattern[:-1]) if pattern.endswith("*") else right.on == pattern
    if right.system is System.KUBERNETES:
        name = right.on.removeprefix("namespaced/")
        return permission.on == name or (permission.on == "*" and right.on != name)
    return True


def undeclared(needs: Needs, recording: Recording) -> list[str]:
    """Return what was asked for and is not declared for its stage."""
    rights = {right for asked in recording.asked for right in wanted(asked, needs)}
    found = [f"{one.stage}: {'/'.join(one.actions)} on {one.on}" for one in rights
             if not any(allows(permission, one) for permission in needs.permissions)]  # fmt: skip
    named = [program.name for program in needs.programs]
    found += [f"{asked.stage}: program {asked.what.split(chr(0))[0]}" for asked in recording.of("program")
              if not any(_starts(asked, name) for name in named)]  # fmt: skip
    found += [f"{asked.stage}: writes {asked.what}" for asked in recording.of("write")
              for permission in needs.permissions if permission.system is System.FILES
              if asked.stage is not Stage.RESTORE and below(asked.what, permission)]  # fmt: skip
    return sorted(set(found))


@dataclass
class Use:
    """What of a driver's declaration the tests of one class made use of; *tests* are those that ran."""

    relevant: set[str] = field(default_factory=set)
    used: set[str] = field(default_factory=set)
    tests: set[str] = field(default_factory=set)

    def look(self, needs: Needs, options: Options, recording: Recording) -> None:
        """Add what one test made use of; what its options make needless is not relevant."""
        rights = [right for asked in recording.asked for right in wanted(asked, needs)]
        for permission in needs.permissions:
            bound = Needs(permissions=(permission,)).bound(options).permissions
            if not bound or permission.seldom or permission.system is System.POSTGRESQL:
                continue
            self.relevant |= {f"{action} on {permission.on}" for action in permission.actions}
            asked_for = {action for one in bound for action in _asked_for(one, rights, recording)}
            self.used |= {f"{action} on {permission.on}" for action in permission.actions if action in asked_for}
        for program in needs.programs:
            self.relevant.add(f"program {program.name}")
            for one in Needs(programs=(program,)).bound(options).programs:
                if any(_starts(asked, one.name) for asked in recording.of("program")):
                    self.used.add(f"program {program.name}")

    @property
    def unused(self) -> list[str]:
        """What is declared, not said to be seldom, and was never asked for."""
        return sorted(self.relevant - self.used)


def _asked_for(permission: Permission, rights: Iterable[Wanted], recording: Recording) -> set[str]:
    if permission.system is not System.FILES:
        return {action for right in rights if allows(permission, right) for action in right.actions}
    looked = any(below(asked.what, permission) for asked in recording.of("read"))
    changed = any(below(asked.what, permission) for asked in recording.of("write"))
    return {*(("read", "search") if looked else ()), *(("write", "replace") if changed else ())}


def below(path: str, permission: Permission) -> bool:
    """Whether *path* is, or lies in, what the permission is on; replacing a file writes beside it."""
    ends = {permission.on, os.path.realpath(permission.on)}
    if "replace" in permission.actions:
        return any(path == end or path.startswith(f"{Path(end).parent}/.{Path(end).name}.") for end in ends)
    return any(path == end or path.startswith(f"{end}/") for end in ends)


def _starts(asked: Asked, name: str) -> bool:
    words = asked.what.split("\0")
    pattern = "*python*" if name == "{python}" else name
    return any(fnmatchcase(Path(word).name, pattern) for word in words)
