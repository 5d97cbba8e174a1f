"""What a service environment keeps in its backup store: how much the last backup took, what of it is damaged. Knows no
question."""

from __future__ import annotations

import re
from dataclasses import dataclass

from airlock.backup.store import BackupStore
from airlock.errors import BackupDamaged
from airlock.models import StoredObject
from airlock.service.model import ServiceEnvironment


@dataclass(frozen=True)
class LastBackup:
    """The recovery points of the last release that took any: their bytes, ``None`` where there are none, and what is
    said of those that are not what was written."""

    plain_bytes: int | None
    cipher_bytes: int | None
    damaged: tuple[str, ...]


def last_backup(store: BackupStore, environment: ServiceEnvironment) -> LastBackup:
    """Return what the last release of *environment* put into *store*."""
    own = re.compile(rf"{environment.service}-{environment.environment}-\d{{8}}T")  # not those of 'prod-eu' for 'prod'
    points = [one for one in store.list_points() if own.match(one)]
    last = max((one.partition(".")[0] for one in points), default="")
    kept: list[StoredObject] = []
    damaged: list[str] = []
    for point in points:
        if point.partition(".")[0] == last:
            try:
                kept += getattr(store.load_point(point), "objects", ())
            except BackupDamaged as error:
                damaged.append(str(error))
    plain, cipher = sum(one.plain_bytes for one in kept), sum(one.cipher_bytes for one in kept)
    return LastBackup(plain or None, cipher or None, tuple(damaged))
