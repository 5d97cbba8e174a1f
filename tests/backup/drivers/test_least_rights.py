"""What is declared is enough: backup, restore test and way back as an account that has exactly that."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest

from airlock.backup.driver import Driver
from airlock.backup.drivers.configuration.vault_kv import VaultKvDriver
from airlock.backup.drivers.databases.postgres import PostgresDriver
from airlock.backup.run import prove, restore_origin, scratch_place, take
from airlock.backup.store import BackupStore
from airlock.models import Kind, Resource
from sandbox import postgres, reach
from sandbox.openbao import OpenBao
from tests.real_servers import openbao_server, postgres_server, set_connection, store

__all__ = ["openbao_server", "postgres_server", "store"]


def there_and_back(driver: Driver, folder: Path, damage: Callable[[], object]) -> None:
    """Back up, prove, damage, bring back: every step must be allowed."""
    token = f"least-{uuid.uuid4().hex[:8]}.{driver.label}"
    assert driver.inspect().present
    point, place = take(driver, token, poll_seconds=0.05), scratch_place(folder, "least", driver.label)
    try:
        proof = prove(driver, point, place)
        assert proof.ok, proof.reason
    finally:
        driver.discard(place)
    damage()
    assert restore_origin(driver, point).ok


@pytest.mark.parametrize("path", ["", "team"])
def test_a_policy_of_vault_with_what_is_declared_is_enough(
    openbao_server: OpenBao, monkeypatch: pytest.MonkeyPatch, store: BackupStore, tmp_path: Path, path: str
) -> None:
    mount, headers = f"least-{uuid.uuid4().hex[:8]}", {"X-Vault-Token": openbao_server.token}

    def call(method: str, at: str, body: Any) -> Any:
        return reach.call(method, f"{openbao_server.url}/v1/{at}", body, headers)

    call("POST", f"sys/mounts/{mount}", {"type": "kv", "options": {"version": "2"}})

    def write(value: str) -> None:
        call("POST", f"{mount}/data/team/shop", {"data": {"password": value}})

    for _ in range(100):  # a new mount refuses requests for a moment
        try:
            write("one")
            break
        except OSError:
            time.sleep(0.1)
    options = {"connection": "least", "mount": mount, **({"path": path} if path else {})}
    driver = VaultKvDriver(Resource(name="v", kind=Kind.CONFIGURATION, driver="vault_kv", options=options), store)
    held: dict[str, set[str]] = {}
    for one in driver.needs.bound(driver.options).permissions:
        held.setdefault(one.on, set()).update(one.actions)
    text = "\n".join(f'path "{on}" {{ capabilities = {json.dumps(sorted(may))} }}' for on, may in held.items())
    call("PUT", f"sys/policies/acl/{mount}", {"policy": text})
    made = call("POST", "auth/token/create", {"policies": [mount], "no_parent": True})
    set_connection(monkeypatch, "least", conn_type="vault", host=openbao_server.url,
                   password=made["auth"]["client_token"])  # fmt: skip
    there_and_back(driver, tmp_path / "scratch", lambda: write("two"))


def test_a_role_of_postgresql_with_what_is_declared_is_enough(
    postgres_server: postgres.Postgres, monkeypatch: pytest.MonkeyPatch, store: BackupStore, tmp_path: Path
) -> None:
    name = f"least_{uuid.uuid4().hex[:8]}"
    with psycopg.connect(postgres_server.dsn("postgres"), autocommit=True) as admin:
        admin.execute(f"CREATE ROLE {name}_owner")
        admin.execute(f"CREATE ROLE {name} LOGIN CREATEDB PASSWORD 'hunter2'")
        admin.execute(f"GRANT {name}_owner, pg_signal_backend TO {name}")
        admin.execute(f"CREATE DATABASE {name} OWNER {name}_owner")
    with psycopg.connect(postgres_server.dsn(name), autocommit=True) as inside:
        inside.execute(f"SET ROLE {name}_owner")
        inside.execute("CREATE TABLE orders (id int PRIMARY KEY, what text)")
        inside.execute("INSERT INTO orders SELECT n, 'x' FROM generate_series(1, 100) n")
    set_connection(monkeypatch, "least", conn_type="postgres", host="127.0.0.1", port=postgres_server.port, login=name,
                   password="hunter2", schema="postgres")  # fmt: skip
    monkeypatch.setenv("PATH", f"{postgres.binaries()}:/usr/bin:/bin")
    options = {"connection": "least", "database": name}
    driver = PostgresDriver(Resource(name="d", kind=Kind.DATABASES, driver="postgres", options=options), store)

    def damage() -> None:
        with psycopg.connect(postgres_server.dsn(name), autocommit=True) as inside:
            inside.execute("DELETE FROM orders")

    there_and_back(driver, tmp_path / "scratch", damage)
