"""What a file is beside its bytes: mode, owner, and extended attributes such as access control lists.

A restored file that lacks one of them is another file: a secret that everybody may read, an upload that its application
cannot write. Knows file systems; knows no driver and no archive.
"""

from __future__ import annotations

import base64
import binascii
import errno
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

RIGHTS = ("system.posix_acl_", "security.capability")
"""Attributes that say who may do what; they hold nothing of a user's own."""
KEPT = (*RIGHTS, "user.")
_UNSUPPORTED = frozenset({errno.ENOTSUP, errno.ENOSYS, errno.EINVAL})
LEFT_OUT = "labels of SELinux, attributes that only root sees (trusted), NFS 4 access lists and file flags (chattr)"


@dataclass(frozen=True)
class Attributes:
    """Mode (permission bits), owner and group, and extended attributes by name.

    owner: empty where it is not recorded, so that whoever restores a file owns it
    """

    mode: int
    owner: tuple[int, int] | None = None
    extended: Mapping[str, bytes] = field(default_factory=dict)

    def facts(self) -> dict[str, Any]:
        """Return it as JSON can hold it."""
        named = {name: base64.b64encode(value).decode() for name, value in sorted(self.extended.items())}
        owner = "" if self.owner is None else "{}:{}".format(*self.owner)
        return {"mode": f"{self.mode:04o}", "owner": owner, "attributes": named}

    @classmethod
    def of_facts(cls, facts: Mapping[str, Any]) -> Attributes:
        """Return what ``facts`` gave.

        :raises ValueError: it is something else
        """
        try:
            owner = tuple(int(part) for part in str(facts["owner"]).split(":")) if facts["owner"] else None
            if owner is not None and len(owner) != 2:
                raise ValueError("an owner is a user and a group")
            extended = {str(name): base64.b64decode(value) for name, value in facts["attributes"].items()}
            return cls(int(facts["mode"], 8), owner, extended)
        except (KeyError, TypeError, AttributeError, binascii.Error) as error:
            raise ValueError(f"no attributes of a file: {type(error).__name__}") from error


def attributes_of(
    path: Path | int, seen: os.stat_result, *, owners: bool = True, names: tuple[str, ...] = KEPT
) -> Attributes:
    """Return what is recorded of *path*, whose status is *seen*; a link is not followed.

    :param names: how the names of extended attributes that are recorded begin
    :raises OSError: it cannot be looked at
    """
    owner = (seen.st_uid, seen.st_gid) if owners else None
    return Attributes(stat.S_IMODE(seen.st_mode), owner, _extended(path, names))


def give(path: Path | int, wanted: Attributes, *, link: bool = False, names: tuple[str, ...] = KEPT) -> None:
    """Make *path* have exactly these attributes.

    :param names: how the names of extended attributes begin that are taken away where they are not wanted

    :raises OSError: this process may not, or the file system has no place for them
    """
    options: dict[str, Any] = {} if isinstance(path, int) else {"follow_symlinks": False}
    now = os.fstat(path) if isinstance(path, int) else path.lstat()
    if wanted.owner is not None and (now.st_uid, now.st_gid) != wanted.owner:
        os.chown(path, *wanted.owner, **options)  # before the mode: it takes the bits of setuid and setgid away
    present = _extended(path, names)
    for name in present.keys() - wanted.extended.keys():
        os.removexattr(path, name, **options)  # such as the list that a folder gives to every new file in it
    if not link:
        os.chmod(path, wanted.mode)  # noqa: PTH101 - path may be a descriptor
    for name, value in wanted.extended.items():
        if present.get(name) != value:
            os.setxattr(path, name, value, **options)


def _extended(path: Path | int, kept: tuple[str, ...]) -> dict[str, bytes]:
    options: dict[str, Any] = {} if isinstance(path, int) else {"follow_symlinks": False}
    try:
        names = os.listxattr(path, **options)
        return {name: os.getxattr(path, name, **options) for name in names if name.startswith(kept)}
    except OSError as error:
        if error.errno in _UNSUPPORTED:
            return {}
        raise
