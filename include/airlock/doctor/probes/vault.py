"""Asks Vault what the connection's token may do on each path that is needed, and how long it lives. Reads no secret."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from airlock.backup.drivers.configuration.vault_server import VaultServer
from airlock.doctor.finding import Finding, Gravity, Subject
from airlock.errors import PermanentError
from airlock.models.needs import Permission

_SOON_SECONDS = 24 * 3600
_ANY_NAME = "airlock-doctor"
"""Stands for whatever a pattern's ``*`` is: no secret has this name."""


def ask(subject: Subject, connection: str, permissions: Sequence[Permission]) -> Iterator[Finding]:
    """Ask for the capabilities of the *connection*'s token on the paths of *permissions*."""
    server = VaultServer(connection, f"{subject.area} {subject.where}")
    yield from _token(subject, server)
    paths = {one.on: _concrete(one) for one in permissions}
    told = server.dictionary("say what the token may do", lambda: server.client.write_data(
        "sys/capabilities-self", data={"paths": sorted(set(paths.values()))}))  # fmt: skip
    lacking = []
    for permission in permissions:
        held = set(told.get(paths[permission.on]) or ())
        wanted = [one for one in permission.actions if one not in held]
        if {"create", "update"} <= set(permission.actions) and held & {"create", "update"}:
            wanted = [one for one in wanted if one not in ("create", "update")]
        if wanted and "root" not in held:
            lacking.append((permission, wanted))
    for permission, wanted in lacking:
        yield subject.found(
            Gravity.WARNING if permission.seldom else Gravity.FAULT,
            f"the token may not {', '.join(wanted)} {permission.on}",
            f"it is needed for {', '.join(permission.stages)}"
            f"{f': {permission.seldom or permission.why}' if permission.seldom or permission.why else ''}",
            f'add to its policy: path "{permission.on}" {{ capabilities = '
            f"[{', '.join(f'{chr(34)}{one}{chr(34)}' for one in permission.actions)}] }}",
        )  # fmt: skip
    if not lacking:
        yield subject.fine(f"the token may do all that is needed on {len(paths)} path(s) of Vault")


def _concrete(permission: Permission) -> str:
    # a list is asked of a folder, whose path ends with a slash
    return f"{permission.on[:-1]}{_ANY_NAME}" if permission.on.endswith("*") else permission.on


def _token(subject: Subject, server: VaultServer) -> Iterator[Finding]:
    try:
        told = server.dictionary("say how long the token lives", server.client.auth.token.lookup_self)
    except PermanentError as error:
        yield subject.fault(str(error), "nothing can be read or written with it", "put a token that is valid into the "
                            f"connection {server.connection}")  # fmt: skip
        return
    left = int(told.get("ttl") or 0)
    if told.get("expire_time") and left < _SOON_SECONDS and not told.get("renewable"):
        yield subject.found(Gravity.WARNING, f"the token ends in {left // 60} minutes and cannot be renewed",
                            "a release that waits for people lives longer than that", "give the connection another")
    else:
        yield subject.fine("Vault accepts the token")
