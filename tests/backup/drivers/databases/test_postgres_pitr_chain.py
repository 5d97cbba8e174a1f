"""Chains of backups of a whole server: what builds on what, and when a full one is taken instead."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from airlock.backup.driver import Place
from airlock.backup.drivers.databases import postgres_streaming as streaming
from airlock.backup.drivers.databases.postgres_origin import Origin
from airlock.backup.drivers.databases.postgres_pitr import PostgresPitrDriver
from airlock.backup.run import prove, take
from airlock.backup.store import BackupStore
from airlock.errors import PermanentError, StillNeeded, TemporaryError
from airlock.models import RecoveryPoint
from tests.backup.drivers.databases.test_postgres_pitr import driver, inside, server, shop
from tests.backup.drivers.databases.whole_server import WholeServer, as_servers_user, whole_server
from tests.contracts.backup_attacks import flip_byte
from tests.contracts.driver_contract import make_store
from tests.real_servers import set_connection

pytestmark = pytest.mark.campaign

__all__ = ["server", "shop"]


@pytest.fixture
def store(tmp_path: Path) -> BackupStore:
    return make_store(tmp_path / "store")


@pytest.fixture
def place(open_folder: Path, store: BackupStore, shop: WholeServer) -> Iterator[Place]:
    found = Place(name="alchain", folder=str(open_folder / "alchain"))
    yield found
    driver(store, shop).discard(found)


def taken(subject: PostgresPitrDriver, release: str) -> RecoveryPoint:
    return take(subject, f"{release}.{subject.label}", poll_seconds=0.05)


def size(point: RecoveryPoint) -> int:
    return sum(stored.cipher_bytes for stored in point.objects)


def test_unchanged_data_is_not_written_again(shop: WholeServer, store: BackupStore, place: Place) -> None:
    shop.run(
        "CREATE TABLE load AS SELECT n, sha512(n::text::bytea) AS a, sha512((-n)::text::bytea) AS b FROM "
        "generate_series(1, 200000) n",
        "VACUUM FREEZE load",  # the first reader of a row marks it, which is a change
        database="shop",
    )
    subject = driver(store, shop)
    first, second = taken(subject, "r1"), taken(subject, "r2")
    assert first.facts["taken"] == "a full backup: there is no earlier recovery point"
    assert second.facts["taken"] == f"an incremental backup: what changed since {first.id}"
    assert size(second) < 0.05 * size(first), f"{size(second)} of {size(first)} bytes"
    proof = prove(subject, second, place)
    assert proof.ok, proof.reason


def test_a_chain_is_proven_at_its_position_and_what_came_later_is_not_in_it(
    shop: WholeServer, store: BackupStore, place: Place
) -> None:
    subject = driver(store, shop)
    points = []
    for release in ("r1", "r2", "r3"):
        points.append(taken(subject, release))
        shop.run(f"CREATE TABLE after_{release} (a int)", "UPDATE sales.orders SET cents = cents + 1", database="shop")
        shop.run(f"CREATE DATABASE copied_{release} TEMPLATE shop STRATEGY file_copy")
    assert [len(point.facts["chain"]) for point in points] == [0, 1, 2]
    for number, point in enumerate(points):
        proof = prove(subject, point, place)
        assert proof.ok, proof.reason
        tables = inside(shop, place, "SELECT relname FROM pg_class WHERE relname ~ '^after_' ORDER BY 1")
        assert tables == [(f"after_r{earlier}",) for earlier in range(1, number + 1)]


def test_what_a_backup_builds_on_must_be_there_and_unaltered(
    shop: WholeServer, store: BackupStore, place: Place
) -> None:
    subject = driver(store, shop)
    first, second = taken(subject, "r1"), taken(subject, "r2")
    for damaged, word in ((Path(first.objects[0].path), "altered"), (Path(first.objects[0].replicas[0]), "altered")):
        flip_byte(damaged)
        proof = prove(subject, second, place)
        assert not proof.ok and word in proof.reason and str(damaged) in proof.reason
        flip_byte(damaged)
    assert prove(subject, second, place).ok
    for root in (store.root, store.replica):
        shutil.rmtree(Path(str(root)) / first.id)
    proof = prove(subject, second, place)
    assert not proof.ok and f"builds on recovery point {first.id}, which is missing" in proof.reason
    third = taken(subject, "r3")
    assert third.facts["chain"] == [] and "which is missing" in third.facts["taken"]
    assert prove(subject, third, place).ok
    planted = take(driver(store, shop), first.id, poll_seconds=0.05)  # another backup under the same name
    proof = prove(subject, second, place)
    assert not proof.ok and f"{planted.id}, which is altered" in proof.reason


def summaries_gone(server: WholeServer, store: BackupStore) -> None:
    """They are gone, and so is the log that they were made of."""
    summaries_off(server, store)
    for _ in range(4):
        server.run(
            "CREATE TABLE more AS SELECT generate_series(1, 20000) AS n", "DROP TABLE more", "SELECT pg_switch_wal()"
        )
        server.run("CHECKPOINT")
    for path in (server.data / "pg_wal" / "summaries").iterdir():
        path.unlink()
    server.run("ALTER SYSTEM RESET summarize_wal", "SELECT pg_reload_conf()")


def summaries_off(server: WholeServer, store: BackupStore) -> None:
    server.run("ALTER SYSTEM SET summarize_wal = off", "SELECT pg_reload_conf()")


def checksums_off(server: WholeServer, store: BackupStore) -> None:
    subprocess.run(server.stop, check=True)
    subprocess.run(
        [str(server.programs / "pg_checksums"), "--disable", "-D", str(server.data)],
        check=True,
        stdout=subprocess.DEVNULL,
        cwd=server.folder,
        **as_servers_user(),
    )
    subprocess.run(server.start, check=True)


def another_timeline(server: WholeServer, store: BackupStore) -> None:
    subprocess.run(server.stop, check=True)
    (server.data / "standby.signal").touch()
    if os.geteuid() == 0:
        os.chown(server.data / "standby.signal", **{"uid": as_servers_user()["user"], "gid": -1})
    subprocess.run(server.start, check=True)
    server.run("SELECT pg_promote()")


def a_stream_gone(server: WholeServer, store: BackupStore) -> None:
    next(Path(str(store.replica)).glob("*/base.tar.*")).unlink()


@pytest.mark.parametrize(
    ("befalls", "why"),
    [
        (summaries_gone, "has no summaries of its log since r1."),
        (summaries_off, "keeps no summaries"),
        (checksums_off, "data_checksums was on, and is off"),
        (another_timeline, "timeline was"),
        (a_stream_gone, "is missing"),
    ],
)
def test_a_full_backup_is_taken_where_the_one_before_cannot_be_built_on(
    open_folder: Path, store: BackupStore, place: Place, shop: WholeServer, befalls: Callable[..., None], why: str
) -> None:
    subject = driver(store, shop)
    taken(subject, "r1")
    try:
        befalls(shop, store)
        assert why in subject.plan()["takes"]
        second = taken(subject, "r2")
    finally:
        shop.run("ALTER SYSTEM RESET summarize_wal", "SELECT pg_reload_conf()")
    assert second.facts["chain"] == [] and why in second.facts["taken"]
    proof = prove(subject, second, place)
    assert proof.ok, proof.reason


def test_another_server_under_the_same_name_is_not_built_on(
    open_folder: Path, store: BackupStore, place: Place, shop: WholeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken(driver(store, shop), "r1")
    (open_folder / "other").mkdir()
    with whole_server(open_folder / "other") as other:
        set_connection(
            monkeypatch,
            "whole",
            conn_type="postgres",
            host="127.0.0.1",
            port=other.port,
            login="chief",
            password="hunter2-of-a-whole-server",
        )
        subject = driver(store, other)
        second = taken(subject, "r2")
        assert second.facts["chain"] == [] and "the server is not the one of r1." in second.facts["taken"]
        proof = prove(subject, second, place)
        assert proof.ok, proof.reason


def test_a_refusal_of_the_server_is_no_end(shop: WholeServer, store: BackupStore, place: Place) -> None:
    """What the server alone finds: the summaries begin early enough, and one in the middle is missing."""
    subject = driver(store, shop)
    taken(subject, "r1")
    for _ in range(3):
        shop.run(
            "CREATE TABLE more AS SELECT generate_series(1, 20000) AS n",
            "DROP TABLE more",
            "CHECKPOINT",
            database="shop",
        )
    start = subject._chains.points()[-1].facts["log"]["start"]
    found = shop.run(
        f"SELECT tli, start_lsn, end_lsn FROM pg_available_wal_summaries() WHERE start_lsn > '{start}' ORDER BY 2"
    )
    tli, begin, end = found[0]
    name = (
        f"{tli:08X}" + "".join(f"{int(half, 16):08X}" for one in (begin, end) for half in one.split("/")) + ".summary"
    )
    (shop.data / "pg_wal" / "summaries" / name).unlink()
    assert subject.plan()["takes"].startswith("an incremental backup")
    second = taken(subject, "r2")
    assert second.facts["chain"] == []
    assert "pg_basebackup ended with code 1" in second.facts["taken"] and "summaries" in second.facts["taken"]
    assert prove(subject, second, place).ok


def test_a_chain_has_an_end(shop: WholeServer, store: BackupStore) -> None:
    subject = driver(store, shop, longest_chain=1)
    assert [len(taken(subject, release).facts["chain"]) for release in ("r1", "r2", "r3", "r4")] == [0, 1, 0, 1]


def test_what_others_build_on_stays_until_they_have_gone(shop: WholeServer, store: BackupStore) -> None:
    subject = driver(store, shop)
    first, second = taken(subject, "r1"), taken(subject, "r2")
    with pytest.raises(StillNeeded, match=rf"{first.id} stays: 1 later one\(s\) build on it, such as {second.id}"):
        subject.expire(first)
    assert store.load_point(first.id) == first
    subject.expire(second)
    subject.expire(first)
    assert store.list_points() == ()


def test_a_gap_in_the_log_stops_the_backup(shop: WholeServer, tmp_path: Path) -> None:
    origin = Origin("whole", str(shop.programs), "databases.whole")

    def fetched(folder: Path) -> tuple[streaming.LogFollower, int]:
        folder.mkdir()
        follower = streaming.LogFollower(
            watcher, origin.program("pg_receivewal"), origin.replication_environment(), folder, "w"
        )
        for _ in range(4):
            shop.run("CREATE TABLE more AS SELECT generate_series(1, 20000) AS n", "DROP TABLE more", database="shop")
        return follower, follower.catch_up()

    with origin.connect("") as watcher:
        for name, damage in (
            ("is missing", Path.unlink),
            ("bytes", lambda path: os.truncate(path, 8192)),
            ("", flip_byte),
        ):
            follower, end = fetched(tmp_path / (name or "flipped"))
            needed = follower.stretch(end)
            damage(tmp_path / (name or "flipped") / needed.files[2])
            with pytest.raises(TemporaryError, match=f"the log that the backup needs has a gap: .*{name}"):
                follower.files(needed, origin.program("pg_waldump"))
            follower.close()
        follower, end = fetched(tmp_path / "whole")
        assert len(follower.files(follower.stretch(end), origin.program("pg_waldump"))) > 3
    assert shop.run("SELECT count(*) FROM pg_replication_slots") == [(0,)]


def test_nothing_is_taken_where_it_could_not_be_restored(shop: WholeServer, store: BackupStore, tmp_path: Path) -> None:
    subject = driver(store, shop)
    folder = shop.folder / "elsewhere"
    folder.mkdir(exist_ok=True)
    if os.geteuid() == 0:
        shutil.chown(folder, as_servers_user()["user"], as_servers_user()["group"])
    shop.run(f"CREATE TABLESPACE elsewhere LOCATION '{folder}'")
    try:
        with pytest.raises(PermanentError, match=r"it has tablespaces \(elsewhere\)"):
            taken(subject, "r1")
    finally:
        shop.run("DROP TABLESPACE elsewhere")
    shop.again("archive_mode = on", "archive_command = 'false'")
    try:
        shop.run("SELECT pg_switch_wal()")
        for _ in range(100):
            if shop.run("SELECT failed_count > 0 FROM pg_stat_archiver") == [(True,)]:
                break
            shop.run("SELECT pg_sleep(0.2)")
        with pytest.raises(TemporaryError, match="archive_command or archive_library of the server fails"):
            taken(subject, "r1")
    finally:
        shop.again("archive_mode = off")
    assert store.list_points() == ()


def test_tables_that_nobody_wrote_to_are_not_read_again_and_all_others_are(
    shop: WholeServer, store: BackupStore, place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    """What makes rows others without a write to their files: a transaction that ends, and another way to read them."""
    caplog.set_level("DEBUG", "airlock.backup.drivers.databases.postgres_cluster")
    shop.run(
        "CREATE TABLE wide AS SELECT n, repeat(sha512(n::text::bytea)::text, 200) AS toasted FROM "
        "generate_series(1, 9) n",
        "CREATE TABLE left_alone AS SELECT generate_series(1, 100) AS n",
        "CREATE TYPE shade AS ENUM ('light', 'dark')",
        "CREATE TABLE shaded AS SELECT 'light'::shade AS shade",
        "VACUUM FREEZE",  # the first reader of a row marks it, which is a write
        database="shop",
    )

    def known(release: str) -> int:
        caplog.clear()
        point = taken(subject, release)
        proof = prove(subject, point, place)
        assert proof.ok, proof.reason
        said = [one.getMessage() for one in caplog.records if "database shop" in one.getMessage()]
        return int(said[0].split(": ")[-1].split()[0])

    subject = driver(store, shop, databases=["shop"])
    assert known("r1") == 0
    everything = known("r2")
    assert everything >= 6
    shop.run("UPDATE wide SET toasted = toasted || 'x' WHERE n = 3", "VACUUM FREEZE wide", database="shop")
    assert known("r3") == everything - 1
    shop.run("TRUNCATE shaded", "INSERT INTO shaded VALUES ('dark')", "VACUUM FREEZE shaded", database="shop")
    assert known("r4") == everything - 1
    shop.run("ALTER TYPE shade RENAME VALUE 'dark' TO 'deep'", database="shop")
    assert known("r5") == 0
    with shop.session("shop", autocommit=False) as other:
        other.execute("DELETE FROM left_alone WHERE n = 7")
        assert known("r6") == everything - 1
        other.commit()
    assert known("r7") == 0
