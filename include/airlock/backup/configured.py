"""The backup store that a service environment declares, with its keys. Knows connections, asks no store."""

from __future__ import annotations

from airlock.backup.store import BackupStore
from airlock.connections import connection
from airlock.places.paths import root_path
from airlock.service.model import BackupPolicy


def store_of(policy: BackupPolicy) -> BackupStore:
    """Return the store of *policy*.

    :raises UnknownConnection: Airflow has no such connection of keys
    :raises InvalidInput: it holds no keys of age
    """
    keys = connection(policy.key_connection)
    return BackupStore(
        root_path(policy.store),
        recipients=tuple(keys.extra_dejson.get("recipients", ())),
        identities=(keys.password,) if keys.password else (),
        replica=root_path(policy.replica) if policy.replica else None,
    )
