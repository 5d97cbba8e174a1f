"""What the shop's versions change in its database: judged as documented, run by its owner, needed by their own code."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from airlock.change.migrations import pending, read_migrations
from airlock.change.way_back import judge
from airlock.deploy.artifacts.file import FileSource
from airlock.deploy.migrations.database import MigrationDatabase
from airlock.models import Migration, PlannedMigration, RollbackSafety
from sandbox import postgres, reach, shop, shop_database
from sandbox.shop.application import database as application
from tests.real_servers import set_connection


@pytest.fixture(scope="module")
def carried(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Migration, ...]]:
    folder = tmp_path_factory.mktemp("artifacts")
    source = FileSource({"path": f"{folder}/shop-{{version}}.pyz"})
    return {
        version: read_migrations(source.carried(source.resolve(version), "migrations"), version)
        for version in shop.build(folder)
    }


@pytest.fixture(scope="module")
def server(open_folder: Path) -> Iterator[postgres.Postgres]:
    with postgres.start(open_folder / "shop", reach.free_port(), databases=["shop_prod"]) as started:
        shop_database.ensure_role(started, shop_database.ROLE, "app")
        shop_database.ensure_role(started, shop_database.OWNER, "owner")
        shop_database.seed(started, "prod")
        yield started


def verdict(migrations: tuple[Migration, ...]) -> RollbackSafety:
    return judge(*pending(migrations, {}))


def test_versions_are_judged_as_their_description_says(carried: dict[str, tuple[Migration, ...]]) -> None:
    assert {version for version, found in carried.items() if found} == {"1.5", "1.6"}
    first, second = verdict(carried["1.5"]), verdict(carried["1.6"])
    assert (first.verdict, all(one.undo for one in first.migrations), first.warnings) == ("reversible", True, ())
    assert second.verdict == "needs_restore"
    assert "drops column customers.created_at" in second.reason
    assert carried["1.6"][:2] == carried["1.5"]


def test_the_owner_can_run_and_undo_them_and_each_version_works_with_what_it_needs(
    carried: dict[str, tuple[Migration, ...]], server: postgres.Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_connection(monkeypatch, "owner", conn_type="postgres", host="127.0.0.1", port=server.port,
                   login=shop_database.OWNER, password="owner")  # fmt: skip
    url = f"postgresql://{shop_database.ROLE}:app@127.0.0.1:{server.port}/shop_prod"
    database = MigrationDatabase("owner", "shop_prod", 5, 60)
    old, new = application.Orders(url), application.Orders(url, shop.ORDER_COLUMNS["1.5"])

    def planned(migration: Migration) -> PlannedMigration:
        return verdict((migration,)).migrations[0]

    assert not old.fault()
    assert "UndefinedColumn" in new.fault(), "1.5 does not work without its migrations"
    for migration in carried["1.6"]:
        assert database.apply(migration, "r", planned(migration).up_index)
        assert not old.fault() and old.latest() and old.one(1), "1.0 can live with each of them"
    assert not new.fault()
    with psycopg.connect(url) as session:
        session.execute("INSERT INTO gift_cards VALUES ('A', 1, 500)")
        session.rollback()
    for migration in reversed(carried["1.5"]):
        assert database.undo(migration, "r", planned(migration).down_index)
    assert "UndefinedColumn" in new.fault()
    assert not old.fault()
