"""What an artifact carries is a stranger's: all of it is checked, and every fault is a sentence."""

from __future__ import annotations

import pytest

from airlock.change.migrations import pending, read_migrations
from airlock.errors import InvalidInput
from airlock.models import CarriedFile, Migration

UP = "ALTER TABLE orders ADD COLUMN note text"


def carried(files: dict[str, str | bytes]) -> list[CarriedFile]:
    return [CarriedFile(name=name, content=content.encode() if isinstance(content, str) else content)
            for name, content in files.items()]


def migration(name: str, up: str = UP, down: str | None = None) -> Migration:
    return Migration(name=name, up=up, down=down)


def test_migrations_are_read_in_their_order() -> None:
    files = {"0002_b.up.sql": "SELECT 2", "0001_a.down.sql": "SELECT 0", "0001_a.up.sql": "SELECT 'ü'"}
    first, second = read_migrations(carried(files), "cafe.zip")
    assert (first.name, first.up, first.down) == ("0001_a", "SELECT 'ü'", "SELECT 0")
    assert (second.name, second.down) == ("0002_b", None)
    assert first.up_digest != second.up_digest


def test_an_artifact_without_migrations_carries_none() -> None:
    assert read_migrations((), "cafe.zip") == ()


@pytest.mark.parametrize(
    ("files", "fault"),
    [
        ({"0001_a.upp.sql": ""}, "0001_a.upp.sql: is no name such as"),
        ({"0001_a.up.sql": "", "README": ""}, "README: is no name such as"),
        ({"sub/0001_a.up.sql": ""}, "is no name such as"),
        ({"../0001_a.up.sql": ""}, "is no name such as"),
        ({"0001_A.up.sql": ""}, "is no name such as"),
        ({"0001_\u202ea.up.sql": ""}, "is no name such as"),
        ({"0001_a.down.sql": ""}, "0001_a: has SQL back but no SQL forward"),
        ({"0001_a.up.sql": "", "0001_b.up.sql": ""}, "0001_a: its number is used twice; 0001_b: its number"),
        ({"0001_a.up.sql": b"SELECT '\xff'"}, "is no UTF-8 text"),
        ({"0001_a.up.sql": "SELECT 1\0; DROP TABLE t"}, "NUL"),
        ({"0001_a.up.sql": " " * 300_000}, "longer than 256 KiB"),
    ],
)
def test_a_file_that_is_not_as_it_must_be_is_refused(files: dict[str, str | bytes], fault: str) -> None:
    with pytest.raises(InvalidInput, match="correct the artifact") as caught:
        read_migrations(carried(files), "cafe.zip")
    assert fault in str(caught.value)
    assert "\u202e" not in str(caught.value)


def test_a_file_that_is_there_twice_is_refused() -> None:
    with pytest.raises(InvalidInput, match="is there twice"):
        read_migrations([*carried({"0001_a.up.sql": "SELECT 1"}), *carried({"0001_a.up.sql": "SELECT 2"})], "cafe.zip")


def test_what_the_database_lacks_is_pending() -> None:
    carried = (migration("0001_a"), migration("0002_b"))
    assert pending(carried, {}) == (carried, ())
    assert pending(carried, {"0001_a": carried[0].up_digest}) == ((carried[1],), ())
    applied = {"0001_a": carried[0].up_digest, "0002_b": carried[1].up_digest, "0003_c": "sha256:x"}
    assert pending(carried, applied) == ((), ("0003_c",))


@pytest.mark.parametrize(
    ("carried", "applied", "fault"),
    [
        ([migration("0001_a")], {"0001_a": "sha256:" + "1" * 64}, "0001_a: was changed after it was applied"),
        ([migration("0001_a"), migration("0002_b")], {"0002_b": migration("0002_b").up_digest}, "comes before 0002_b"),
        ([migration("0001_a")], {"0009_z": "sha256:x"}, "comes before 0009_z"),
        ([migration("0001_a", "SELECT 1; COMMIT")], {}, "0001_a.up.sql: statement 2 begins or ends a transaction"),
        ([migration("0001_a", UP, "BEGIN")], {}, "0001_a.down.sql: statement 1 begins"),
        ([migration("0001_a", "VACUUM orders")], {}, "cannot be run in a transaction"),
        ([migration("0001_a", "CREATE DATABASE x")], {}, "cannot be run in a transaction"),
        *(([migration("0001_a", text)], {}, "statement 1 names the schema 'airlock', in which Airlock keeps")
          for text in ("INSERT INTO airlock.migrations VALUES ('9999_z')", 'ALTER TABLE "airlock".migrations ADD x int',
                       "WITH gone AS (DELETE FROM airlock.migrations RETURNING *) INSERT INTO old SELECT * FROM gone",
                       "DROP TABLE IF EXISTS old, airlock.migrations", "DROP SCHEMA airlock CASCADE",
                       "CREATE SCHEMA IF NOT EXISTS airlock", "CREATE VIEW airlock.v AS SELECT 1")),
        ([migration("0001_a", f"CREATE INDEX CONCURRENTLY i ON o (a); {UP}")], {}, "migration of its own"),
        ([migration("0001_a", "CREATE INDEX CONCURRENTLY ON o (a)")], {}, "with a name for the index"),
        ([migration("0001_a", "DROP INDEX CONCURRENTLY i, j")], {}, "migration of its own"),
        ([migration("0001_a", "REINDEX TABLE CONCURRENTLY o")], {}, "CONCURRENTLY"),
        ([migration("0001_a", "ALTER TABLE o DETACH PARTITION p CONCURRENTLY")], {}, "CONCURRENTLY"),
        ([migration("0001_a", "CREATE ROLE r LOGIN PASSWORD 'hunter2'")], {}, "statement 1 holds a password"),
        ([migration("0001_a", "CREATE USER MAPPING FOR x SERVER y OPTIONS (user 'a', password 'hunter2')")], {},
         "holds a password"),
        ([migration(f"{n:04}_a", "-" + "-" * 200_000) for n in range(6)], {}, "longer than 1 MiB"),
    ],
)  # fmt: skip
def test_what_cannot_be_run_is_refused_before_anybody_is_asked(
    carried: list[Migration], applied: dict[str, str], fault: str
) -> None:
    with pytest.raises(InvalidInput) as caught:
        pending(carried, applied)
    assert fault in str(caught.value)
    assert "hunter2" not in str(caught.value)
