"""What a service environment keeps in its backup store: how much the last backup took. Knows no question."""

from __future__ import annotations

import re

from airlock.backup.store import BackupStore
from airlock.connections import connection
from airlock.service.model import ServiceEnvironment


def store_of(environment: ServiceEnvironment) -> BackupStore:
    """Return the backup store of *environment*, with its keys."""
    from upath import UPath

    policy = environment.backup
    given = connection(policy.key_connection)
    return BackupStore(UPath(policy.store), tuple(given.extra_dejson.get("recipients", ())),
                       (given.password,) if given.password else (),
                       UPath(policy.replica) if policy.replica else None)  # fmt: skip


def last_backup(store: BackupStore, environment: ServiceEnvironment, *, plain: bool) -> int | None:
    """Return how many bytes the recovery points of the last release that took any have, *plain* or as they are
    stored; ``None`` where there are none yet."""
    own = re.compile(rf"{environment.service}-{environment.environment}-\d{{8}}T")  # not those of 'prod-eu' for 'prod'
    points = [one for one in store.list_points() if own.match(one)]
    last = max((one.partition(".")[0] for one in points), default="")
    sizes = [one.plain_bytes if plain else one.cipher_bytes
             for point in points if point.partition(".")[0] == last
             for one in getattr(store.load_point(point), "objects", ())]  # fmt: skip
    return sum(sizes) if sizes else None
