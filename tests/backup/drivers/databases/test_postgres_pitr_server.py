"""What a server of somebody holds and does while it is backed up as a whole, and what must not happen on its copy."""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from airlock.backup.driver import Place
from airlock.backup.run import prove, restore_origin
from airlock.backup.store import BackupStore
from airlock.doctor.finding import Gravity, Subject
from airlock.doctor.probes import postgresql
from airlock.errors import InvalidInput, PermanentError
from tests.backup.drivers.databases.test_postgres_pitr import driver, inside, server, shop, way_back
from tests.backup.drivers.databases.test_postgres_pitr_chain import place, store, taken
from tests.backup.drivers.databases.whole_server import WholeServer
from tests.contracts.killed import DyingStore, killed
from tests.real_servers import set_connection

pytestmark = pytest.mark.campaign

__all__ = ["place", "server", "shop", "store"]


@contextmanager
def writing(server: WholeServer) -> Iterator[None]:
    """Write small transactions, one after the other, while the block runs."""
    ended = threading.Event()

    def write() -> None:
        with server.session("shop") as session:
            while not ended.is_set():
                session.execute("INSERT INTO sales.orders (customer, cents) VALUES (1, 7)")
                time.sleep(0.002)

    thread = threading.Thread(target=write)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def test_rows_and_log_are_of_one_position_while_others_write(
    shop: WholeServer, store: BackupStore, place: Place
) -> None:
    subject = driver(store, shop)
    with writing(shop):
        points = [taken(subject, release) for release in ("r1", "r2", "r3")]
    for point in points:
        proof = prove(subject, point, place)
        assert proof.ok, proof.reason
    rows = [point.facts["tables"]["shop sales.orders"]["rows"] for point in points]
    assert rows == sorted(set(rows))


def test_what_is_not_committed_is_not_in_it_and_what_is_prepared_stays_so(
    shop: WholeServer, store: BackupStore, place: Place
) -> None:
    subject = driver(store, shop)
    with shop.session("shop", autocommit=False) as other:
        other.execute("DELETE FROM sales.orders")
        shop.run(
            "BEGIN; INSERT INTO public.customers (name) VALUES ('prepared'); PREPARE TRANSACTION 'two'", database="shop"
        )
        point = taken(subject, "r1")
        other.commit()
    shop.run("ROLLBACK PREPARED 'two'", database="shop")
    proof = prove(subject, point, place)
    assert proof.ok, proof.reason
    assert inside(shop, place, "SELECT count(*) FROM sales.orders") == [(2000,)]
    assert inside(shop, place, "SELECT gid FROM pg_prepared_xacts") == [("two",)]


def test_the_copy_runs_no_command_and_reaches_nobody(shop: WholeServer, store: BackupStore, place: Place) -> None:
    """Settings, subscriptions and targets of an earlier recovery come with the files."""
    told = shop.folder / "told"
    settings = {
        "archive_command": f"touch {told}",
        "restore_command": f"touch {told}; false",
        "archive_cleanup_command": f"touch {told}",
        "recovery_end_command": f"touch {told}",
        "recovery_target_time": "2020-01-01",
        "synchronous_standby_names": "*",
        "primary_conninfo": "host=127.0.0.1",
        "shared_preload_libraries": "no_such_library",
        "listen_addresses": "127.0.0.1",
        "external_pid_file": str(told),
        "port": "1",
        "log_statement": "all",
    }
    subject = driver(store, shop)
    shop.run(
        "CREATE SUBSCRIPTION away CONNECTION 'host=127.0.0.1 port=1 dbname=x' PUBLICATION p WITH (connect = false, "
        "slot_name = 'away')",
        "ALTER SUBSCRIPTION away ENABLE",
        database="shop",
    )
    try:
        for name, value in settings.items():
            shop.run(f"ALTER SYSTEM SET {name} = '{value}'")
        point = taken(subject, "r1")
        proof = prove(subject, point, place)
        assert proof.ok, proof.reason
        assert not told.exists()
        # a write would wait for ever for a synchronous standby
        inside(shop, place, "DELETE FROM sales.orders")
        assert inside(shop, place, "SELECT count(*) FROM pg_stat_activity WHERE backend_type ~ 'logical|apply'") == [
            (0,)
        ]
    finally:
        shop.run("ALTER SYSTEM RESET ALL")
        shop.run(
            "ALTER SUBSCRIPTION away DISABLE",
            "ALTER SUBSCRIPTION away SET (slot_name = NONE)",
            "DROP SUBSCRIPTION away",
            database="shop",
        )


def test_a_killed_take_leaves_nothing_at_the_server_and_nothing_running(shop: WholeServer, store: BackupStore) -> None:
    subject = driver(store, shop)
    dying = driver(DyingStore(store, writing=True), shop)
    killed(lambda: taken(dying, "r1"))
    for _ in range(100):
        left = shop.run("SELECT count(*) FROM pg_replication_slots")[0][0]
        left += shop.run("SELECT count(*) FROM pg_stat_replication")[0][0]
        if not left:
            break
        time.sleep(0.1)
    assert left == 0
    words = [path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if path.exists()]
    assert not any(b"pg_receivewal" in one and str(shop.port).encode() in one for one in words)
    point = taken(subject, "r1")
    assert store.list_points() == (point.id,)


def test_a_slot_that_nobody_reads_is_said(
    shop: WholeServer, store: BackupStore, caplog: pytest.LogCaptureFixture
) -> None:
    subject = driver(store, shop)
    shop.run("SELECT pg_create_physical_replication_slot('forgotten', true)")
    try:
        assert subject.inspect().detail["unread_slots"] == ["forgotten"]
        assert "nobody reads the replication slot forgotten" in caplog.text
        shop.run("ALTER SYSTEM SET summarize_wal = off", "SELECT pg_reload_conf()")
        bound = subject.needs.bound(subject.options)
        found = list(postgresql.ask(Subject("resources", subject.label), "whole", "", bound.permissions, ()))
        said = [one.what for one in found if one.gravity is Gravity.WARNING]
        assert len(said) == 2 and "summarize_wal" in said[0] and "slot forgotten, which keeps" in said[1]
    finally:
        shop.run(
            "SELECT pg_drop_replication_slot('forgotten')",
            "ALTER SYSTEM RESET summarize_wal",
            "SELECT pg_reload_conf()",
        )


def test_what_is_declared_is_enough(
    shop: WholeServer, store: BackupStore, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.run("DO $$ BEGIN CREATE ROLE least LOGIN PASSWORD 'little'; EXCEPTION WHEN duplicate_object THEN NULL; END $$")
    set_connection(
        monkeypatch,
        "whole",
        conn_type="postgres",
        host="127.0.0.1",
        port=shop.port,
        login="least",
        password="little",
        schema="postgres",
    )
    subject = driver(store, shop)
    bound = subject.needs.bound(subject.options)
    found = list(postgresql.ask(Subject("resources", subject.label), "whole", "", bound.permissions, ()))
    assert any("may not replicate" in one.what and one.gravity is Gravity.FAULT for one in found)
    with pytest.raises(PermanentError, match=r"permission denied|must be"):
        taken(subject, "r0")
    shop.run("ALTER ROLE least REPLICATION", "GRANT pg_read_all_data TO least")
    with pytest.raises(PermanentError, match=r"database shop: query would be affected by row-level security"):
        taken(subject, "r0")
    shop.run("ALTER ROLE least BYPASSRLS", "GRANT pg_read_all_data TO least")
    for release in ("r1", "r2"):
        point = taken(subject, release)
    assert len(point.facts["chain"]) == 1
    proof = prove(subject, point, place)
    assert proof.ok, proof.reason


# --- the way back -----------------------------------------------------------------------------------------------------


def test_without_its_machine_the_way_back_says_what_it_needs(shop: WholeServer, store: BackupStore) -> None:
    subject = driver(store, shop)
    first, second = taken(subject, "r1"), taken(subject, "r2")
    with pytest.raises(PermanentError, match="needs its own machine") as caught:
        restore_origin(subject, second)
    for words in (first.id, second.id, "stop the server", second.facts["position"], "recovery_target_inclusive = off"):
        assert words in str(caught.value)


@pytest.mark.parametrize("given", [{"data_directory": "/srv/data"}, {"stop": ["x"]}, {"start": ["x"], "stop": ["x"]}])
def test_half_a_way_back_is_refused(shop: WholeServer, store: BackupStore, given: dict[str, object]) -> None:
    with pytest.raises(InvalidInput, match="belong together"):
        driver(store, shop, **given)


def test_a_way_back_that_cannot_be_is_refused_and_the_server_goes_on(
    shop: WholeServer, store: BackupStore, tmp_path: Path
) -> None:
    point = taken(driver(store, shop), "r1")
    (shop.folder / "link").symlink_to(shop.data)
    given = way_back(shop)
    for change, words in (
        ({"data_directory": str(shop.folder / "link")}, "is or holds a link (itself)"),
        ({"data_directory": str(tmp_path)}, "is no data directory of a server on this machine"),
        ({"stop": ["true"]}, "still runs"),
        ({"stop": ["false"]}, "false ended with code 1: the server is not stopped"),
        ({"stop": ["no-such-program"]}, "no-such-program cannot be run"),
    ):
        with pytest.raises(Exception, match=r"databases\.whole: ") as caught:
            restore_origin(driver(store, shop, **{**given, **change}), point)
        assert words in str(caught.value)
        assert shop.run("SELECT count(*) FROM sales.orders", database="shop") == [(2000,)]
        assert not list(shop.folder.glob(".*.airlock"))
    (shop.folder / "link").unlink()


def test_a_way_back_that_was_killed_between_its_renames_goes_on(shop: WholeServer, store: BackupStore) -> None:
    subject = driver(store, shop, **way_back(shop))
    point = taken(subject, "r1")
    shop.run("DROP TABLE sales.orders CASCADE", database="shop")
    subprocess.run(shop.stop, check=True)
    beside = shop.data.parent / f".{shop.data.name}.airlock"
    beside.mkdir()
    shop.data.rename(beside / "old")
    assert restore_origin(subject, point).ok
    assert shop.run("SELECT count(*) FROM sales.orders", database="shop") == [(2000,)]
    assert not beside.exists()
