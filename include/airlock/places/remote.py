"""Which client reaches an address: one for each store and connection, made once in each process.

The id of an Airflow connection rides with the address, as its storage option ``connection``: ``UPath("s3://bucket/x",
connection="backups")``. Knows the registry; must not know any store.
"""

from __future__ import annotations

import os
from functools import lru_cache

from upath import UPath

from airlock import registry
from airlock.errors import InvalidInput
from airlock.places.store import ObjectStore
from airlock.places.stores.any_library import LibraryStore

CONNECTION = "connection"
LOCAL = frozenset({"", "file", "local"})


def store_of(path: UPath) -> ObjectStore | None:
    """Return the client that reaches *path*; ``None`` if it is local.

    :raises InvalidInput: nothing reaches it
    """
    if path.protocol in LOCAL:
        return None
    connection = str(path.storage_options.get(CONNECTION) or "")
    if path.protocol in registry.STORES:
        return _opened(path.protocol, connection, os.getpid())
    if connection:
        raise InvalidInput(f"{path} takes no connection: one is for {', '.join(sorted(registry.STORES))} only")
    return LibraryStore(path.fs)


def check(path: UPath) -> None:
    """Check that what reaches *path* is installed; asks no server.

    :raises InvalidInput: it is not, or *path* is no address
    :raises PermanentError: likewise
    """
    if path.protocol in registry.STORES:
        registry.resolve(registry.STORES, "object store", path.protocol)
    elif path.protocol not in LOCAL:
        store_of(path)
    elif path.storage_options.get(CONNECTION):
        raise InvalidInput(f"{path} is a local folder, which takes no connection; leave it out")


@lru_cache(maxsize=64)
def _opened(protocol: str, connection: str, process: int) -> ObjectStore:  # noqa: ARG001 - a fork may use no client of before
    store: ObjectStore = registry.resolve(registry.STORES, "object store", protocol)(connection)
    return store
