"""Measure two backups of a whole PostgreSQL server whose data does not change between them. Prints one line of JSON.

    PYTHONPATH=include python bench/server_backups.py [MEBIBYTES]

The data is noise, which no compression makes smaller. The store has no second place: what is measured is one copy.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from pathlib import Path

import pyrage
from upath import UPath

from airlock.backup.drivers.databases.postgres_pitr import PostgresPitrDriver
from airlock.backup.run import take
from airlock.backup.store import BackupStore
from airlock.models import Kind, RecoveryPoint, Resource
from sandbox import postgres, reach

ROW = 1920
"""Four rows fill a page, and none is kept elsewhere."""


def fill(server: postgres.Postgres, mebibytes: int) -> None:
    """Write *mebibytes* of noise into one table, and read it once: the first reader of a row marks its page."""
    import psycopg

    with psycopg.connect(server.dsn(), autocommit=True) as session:
        for name, value in (("summarize_wal", "on"), ("autovacuum", "off"), ("max_wal_size", "'4GB'")):
            session.execute(f"ALTER SYSTEM SET {name} = {value}")
        session.execute("SELECT pg_reload_conf()")
        session.execute("CREATE TABLE noise (number int, noise bytea)")
        session.execute("ALTER TABLE noise ALTER noise SET STORAGE plain")
        with session.cursor().copy("COPY noise FROM STDIN (FORMAT binary)") as copy:
            copy.set_types(["int4", "bytea"])
            for number in range(mebibytes * 512):
                copy.write_row((number, os.urandom(ROW)))
        session.execute("VACUUM (FREEZE) noise")
        session.execute("CHECKPOINT")


def written(point: RecoveryPoint) -> int:
    """Return the bytes that *point* takes in the store."""
    return sum(stored.cipher_bytes for stored in point.objects)


def main() -> None:
    """Print the seconds and bytes of the first and the second backup."""
    parser = argparse.ArgumentParser()
    parser.add_argument("mebibytes", type=int, nargs="?", default=1024)
    mebibytes = parser.parse_args().mebibytes
    identity = pyrage.x25519.Identity.generate()
    with tempfile.TemporaryDirectory(prefix="airlock-bench-", dir="/var/tmp") as name:
        folder = Path(name)
        folder.chmod(0o711)
        store = BackupStore(UPath(folder / "store"), (str(identity.to_public()),), (str(identity),))
        with postgres.start(folder / "server", reach.free_port()) as server:
            fill(server, mebibytes)
            os.environ["AIRFLOW_CONN_WHOLE"] = json.dumps({
                "conn_type": "postgres", "host": "127.0.0.1", "port": server.port, "login": server.user,
                "password": server.password, "schema": "postgres"})  # fmt: skip
            options = {"connection": "whole", "programs": str(postgres.programs_open_to_servers(folder))}
            resource = Resource(name="whole", kind=Kind.DATABASES, driver="postgres_pitr", options=options)
            driver, seconds, points = PostgresPitrDriver(resource, store), [], []
            for release in ("first", "second"):
                begun = time.monotonic()
                points.append(take(driver, f"{release}.databases.whole"))
                seconds.append(time.monotonic() - begun)
    first, second = map(written, points)
    print(json.dumps({"first_seconds": round(seconds[0], 2), "second_seconds": round(seconds[1], 2),
                      "first_bytes": first, "second_bytes": second, "taken": points[1].facts["taken"]}))  # fmt: skip


if __name__ == "__main__":
    main()
