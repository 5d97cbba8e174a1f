"""Asks the kernel what this process may do with files and folders, by access(2). Opens nothing, writes nothing."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from airlock.doctor.finding import Finding, Subject
from airlock.doctor.probes import addresses
from airlock.models.needs import Address, Permission

_NETWORK = re.compile(r"[A-Za-z0-9._-]+:[0-9]{1,5}")
"""A socket that is no file, but ``host:port``."""
_MODES = {"read": os.R_OK, "search": os.X_OK, "write": os.W_OK}


def ask(subject: Subject, permissions: Sequence[Permission]) -> Iterator[Finding]:
    """Ask for every action of *permissions*, which are all on one path; an object storage is not asked here.

    Of a path with a place for a name in it (``.../shop-{version}.pyz``) the folder is asked for.
    """
    on = permissions[0].on
    if _NETWORK.fullmatch(on):
        yield from addresses.ask(subject, Address(url=on, stages=permissions[0].stages, why=permissions[0].why))
        return
    if "://" in on:
        yield subject.not_asked("rights in an object storage", "they show when the resource is looked at")
        return
    end = Path(os.path.realpath(on.partition("{")[0].rpartition("/")[0] if "{" in on else on))
    if not _seen(end):
        stages = dict.fromkeys(stage for one in permissions for stage in one.stages)
        yield subject.fault(f"{on} is not there, or hidden from user {os.geteuid()}",
                            f"it is needed for {', '.join(stages)}",
                            "correct the path, or let the user search the folders above it")  # fmt: skip
        return
    for permission in permissions:
        lacking = [action for action in permission.actions if not _may(action, end)]
        if lacking:
            yield _refused(subject, permission, end, lacking)
        else:
            yield subject.fine(f"may {' and '.join(permission.actions)} {on}")


def _refused(subject: Subject, permission: Permission, end: Path, lacking: Sequence[str]) -> Finding:
    place = end.parent if "replace" in lacking else end
    return subject.fault(
        f"user {os.geteuid()} may not {' or '.join(lacking)} {permission.on}",
        f"it is needed for {', '.join(permission.stages)}{f': {permission.why}' if permission.why else ''}",
        f"change owner, mode or access list of {place} on every worker; a read-only disk shows so too",
    )  # fmt: skip


def _seen(end: Path) -> bool:
    try:
        end.lstat()
    except OSError:
        return False
    return True


def _may(action: str, end: Path) -> bool:
    if action == "replace":
        return os.access(end.parent, os.W_OK | os.X_OK, effective_ids=True)
    return os.access(end, _MODES[action], effective_ids=True)
