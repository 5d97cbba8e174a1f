"""The driver ``postgres``: what a dump tells in other words than the database, and what others change while it is
read."""

# ruff: noqa: E501 - SQL reads best in long lines
from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from airlock.backup.driver import Place
from airlock.backup.drivers.databases import postgres_facts
from airlock.backup.drivers.databases.postgres import PostgresDriver
from airlock.backup.drivers.databases.postgres_errors import failure
from airlock.backup.run import prove, restore_origin
from airlock.backup.store import BackupStore
from airlock.errors import PermanentError, TemporaryError
from airlock.models import Kind, RecoveryPoint, Resource
from sandbox import postgres
from tests.real_servers import set_connection

ORIGIN, SCRATCH = Place(origin=True), Place(name="proof1")
FORMS = {
    "grants that were taken back": "CREATE TABLE t (a int); CREATE SEQUENCE q; CREATE SCHEMA s; CREATE FUNCTION f() "
    "RETURNS int LANGUAGE sql AS 'SELECT 1'; GRANT SELECT, INSERT (a) ON t TO inside; REVOKE ALL ON t FROM inside; GRANT "
    "ALL ON SEQUENCE q TO inside; REVOKE ALL ON SEQUENCE q FROM inside; GRANT ALL ON SCHEMA s TO inside; REVOKE ALL ON "
    "SCHEMA s FROM inside; GRANT ALL ON FUNCTION f TO inside; REVOKE ALL ON FUNCTION f FROM inside",
    "a column added to a parent": "CREATE TABLE p (a int); CREATE TABLE q (b text); CREATE TABLE c (z int) INHERITS (p, q); "
    "ALTER TABLE p ADD late int; INSERT INTO c VALUES (1, 'x', 3, 4); CREATE TABLE d (b text, a int); ALTER TABLE d "
    "INHERIT q; INSERT INTO d VALUES ('y', 5)",
    "partitions by the hash of an enum": "CREATE TYPE mood AS ENUM ('calm', 'cross', 'sad'); CREATE TABLE h (m mood, n int) "
    "PARTITION BY HASH (m); CREATE TABLE h0 (n int, m mood); ALTER TABLE h ATTACH PARTITION h0 FOR VALUES WITH (MODULUS "
    "2, REMAINDER 0); CREATE TABLE h1 PARTITION OF h FOR VALUES WITH (MODULUS 2, REMAINDER 1); INSERT INTO h SELECT m, 1 "
    "FROM unnest(enum_range(NULL::mood)) m",
    "no schema public": "DROP SCHEMA public; CREATE SCHEMA s; CREATE TABLE s.t (a int)",
    "a schema public made anew": "DROP SCHEMA public; CREATE SCHEMA public; CREATE TABLE public.t (a int)",
    "no procedural language": "DROP EXTENSION plpgsql; CREATE TABLE t (a int)",
    "triggers in every state": "CREATE TABLE t (a int); CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN INSERT "
    "INTO public.t VALUES (9); RETURN NEW; END'; CREATE TRIGGER a AFTER UPDATE ON t EXECUTE FUNCTION f(); CREATE TRIGGER b "
    "AFTER INSERT ON t WHEN (pg_trigger_depth() = 0) EXECUTE FUNCTION f(); CREATE TRIGGER c AFTER DELETE ON t EXECUTE "
    "FUNCTION f(); ALTER TABLE t ENABLE ALWAYS TRIGGER b; ALTER TABLE t DISABLE TRIGGER a; ALTER TABLE t ENABLE REPLICA "
    "TRIGGER c; INSERT INTO t VALUES (1)",
    "foreign keys in a circle": "CREATE TABLE a (id int PRIMARY KEY, b int); CREATE TABLE b (id int PRIMARY KEY, a int "
    "REFERENCES a DEFERRABLE INITIALLY DEFERRED); ALTER TABLE a ADD FOREIGN KEY (b) REFERENCES b NOT VALID; INSERT INTO a "
    "VALUES (1); INSERT INTO b VALUES (1, 1); UPDATE a SET b = 1; CREATE TABLE c (b int REFERENCES b NOT ENFORCED); INSERT "
    "INTO c VALUES (7)",
    "views in a circle, and rules": "CREATE VIEW a AS SELECT 1 x; CREATE VIEW b AS SELECT * FROM a; CREATE OR REPLACE VIEW a "
    "AS SELECT x FROM b; CREATE TABLE t (id int PRIMARY KEY, n text); CREATE VIEW v AS SELECT id, n, count(*) FROM t GROUP "
    "BY id; CREATE RULE r AS ON INSERT TO v DO INSTEAD INSERT INTO t VALUES (NEW.id, NEW.n)",
    "rows without columns": "CREATE TABLE e (); INSERT INTO e DEFAULT VALUES; CREATE TABLE d (a int); INSERT INTO d VALUES "
    "(1); ALTER TABLE d DROP a",
    "row security for all": "CREATE TABLE t (a int); INSERT INTO t VALUES (1), (2); ALTER TABLE t ENABLE ROW LEVEL SECURITY; "
    "ALTER TABLE t FORCE ROW LEVEL SECURITY; CREATE POLICY p ON t USING (a < 2)",
    "text that looks like a dump": "CREATE TABLE t (a int); COMMENT ON COLUMN t.a IS E'x\\n-- Name: t; Type: ACL;\\nb\\na'; CREATE "
    "TABLE \"a\n\\connect postgres\" (\"\\.\" text); INSERT INTO \"a\n\\connect postgres\" VALUES (E'\\\\.\\n\\\\restrict x')",
}  # fmt: skip


def execute(server: postgres.Postgres, *statements: str, name: str = "origin") -> None:
    with psycopg.connect(server.dsn(name), autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement)


@pytest.fixture
def server(postgres_server: postgres.Postgres, monkeypatch: pytest.MonkeyPatch) -> Iterator[postgres.Postgres]:
    set_connection(monkeypatch, "test_pg", conn_type="postgres", host="127.0.0.1", port=postgres_server.port,
                   login=postgres_server.user, password=postgres_server.password, schema="postgres")  # fmt: skip
    execute(postgres_server, "DO $$ BEGIN CREATE ROLE inside; EXCEPTION WHEN duplicate_object THEN NULL; END $$",
            "CREATE DATABASE origin", name="postgres")  # fmt: skip
    yield postgres_server
    execute(postgres_server, "DROP DATABASE IF EXISTS origin WITH (FORCE)",
            "DROP DATABASE IF EXISTS airlock_proof1 WITH (FORCE)", name="postgres")  # fmt: skip


def driver(store: BackupStore) -> PostgresDriver:
    given = {"connection": "test_pg", "database": "origin", "programs": str(postgres.binaries())}
    return PostgresDriver(Resource(name="shop_db", kind=Kind.DATABASES, driver="postgres", options=given), store)


def taken(subject: PostgresDriver) -> RecoveryPoint:
    return subject.finish(subject.start("point-1"))


@pytest.mark.campaign
@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_proven_and_comes_back(server: postgres.Postgres, store: BackupStore, form: str) -> None:
    execute(server, FORMS[form])
    subject = driver(store)
    point = taken(subject)
    proof = prove(subject, point, SCRATCH)
    assert proof.ok, proof.reason
    execute(server, "CREATE SCHEMA later")
    restore_origin(subject, point)
    assert [check.name for check in subject.prove(point, ORIGIN) if not check.ok] == []


@pytest.mark.parametrize(("change", "broken"), [
    ("GRANT SELECT ON t TO inside", "names of grants"), ("REVOKE INSERT ON t FROM CURRENT_USER", "names of grants"),
    ("UPDATE c SET a = 2, late = 1", "tables public.c"), ("CREATE SCHEMA later", "names of schemas"),
    ("UPDATE h SET n = 2 WHERE m = 'calm'", "tables public.h"),
])  # fmt: skip
def test_what_differs_is_still_seen(server: postgres.Postgres, store: BackupStore, change: str, broken: str) -> None:
    execute(server, "CREATE TABLE t (a int)", FORMS["a column added to a parent"],
            FORMS["partitions by the hash of an enum"])  # fmt: skip
    subject = driver(store)
    point = taken(subject)
    execute(server, change)
    assert broken in [check.name for check in subject.prove(point, ORIGIN) if not check.ok]


def test_a_point_of_before_schemas_were_recorded_is_proven(server: postgres.Postgres, store: BackupStore) -> None:
    subject = driver(store)
    point = taken(subject)
    older = point.model_copy(update={"facts": {key: value for key, value in point.facts.items() if key != "schemas"}})
    subject.restore(older, SCRATCH)
    assert all(check.ok for check in subject.prove(older, SCRATCH))


@pytest.mark.parametrize("act", ["TRUNCATE t", "DROP TABLE t", "ALTER TABLE t ALTER a TYPE bigint"])
def test_who_empties_drops_or_rewrites_a_table_waits_until_it_is_read(
    server: postgres.Postgres, store: BackupStore, act: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    execute(server, "CREATE TABLE t (a int)", "INSERT INTO t SELECT generate_series(1, 1000)")
    subject, begun = driver(store), threading.Event()
    read_facts = postgres_facts.read_facts

    def slowly(connection: Any) -> dict[str, Any]:
        begun.set()
        time.sleep(0.5)
        return read_facts(connection)

    monkeypatch.setattr(postgres_facts, "read_facts", slowly)
    thread = threading.Thread(target=lambda: (begun.wait(30), execute(server, act)))
    thread.start()
    point = taken(subject)
    thread.join(30)
    assert point.facts["tables"]["public.t"]["rows"] == 1000
    assert prove(subject, point, SCRATCH).ok


@pytest.mark.campaign
def test_who_waits_for_a_table_before_it_is_dumped_does_not_hold_up_everybody(
    server: postgres.Postgres, store: BackupStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    execute(server, "CREATE TABLE t (a int)")
    thread, begin = threading.Thread(target=lambda: execute(server, "TRUNCATE t")), postgres_facts.begin

    def then_truncate(connection: Any) -> None:
        begin(connection)
        thread.start()
        time.sleep(0.5)

    monkeypatch.setattr(postgres_facts, "begin", then_truncate)
    with pytest.raises(TemporaryError, match="timeout; try again"):
        taken(driver(store))
    thread.join(30)
    assert not thread.is_alive()


def test_what_is_dropped_before_it_can_be_read_is_tried_again(
    server: postgres.Postgres, store: BackupStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    execute(server, "CREATE SEQUENCE q")
    subject, read_facts = driver(store), postgres_facts.read_facts

    def after_a_drop(connection: Any) -> dict[str, Any]:
        connection.execute("SELECT 1").fetchone()  # the moment that is seen
        execute(server, "DROP SEQUENCE q")
        return read_facts(connection)

    monkeypatch.setattr(postgres_facts, "read_facts", after_a_drop)
    with pytest.raises(TemporaryError, match="dropped while it was read; try again"):
        subject.inspect()


def test_what_programs_say_of_it_is_told_apart() -> None:
    gone = 'pg_dump: error: query failed: ERROR:  relation "public.t" does not exist'
    assert isinstance(failure("x", "pg_dump ended", gone), TemporaryError)
    missing = 'pg_dump: error: connection failed: FATAL:  database "t" does not exist'
    assert isinstance(failure("x", "pg_dump ended", missing), PermanentError)


def test_a_name_that_is_found_by_search_path_only_is_explained(server: postgres.Postgres, store: BackupStore) -> None:
    execute(server, "CREATE FUNCTION f(x int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS 'BEGIN RETURN g(x); END'",
            "CREATE FUNCTION g(x int) RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT x'", "CREATE TABLE t (a int)",
            "INSERT INTO t VALUES (1)", "ALTER TABLE t ADD b int GENERATED ALWAYS AS (f(a)) STORED")  # fmt: skip
    subject = driver(store)
    proof = prove(subject, taken(subject), SCRATCH)
    assert not proof.ok
    assert "SET search_path" in proof.reason


@pytest.mark.parametrize("whose", ["DATABASE origin", "ROLE {login} IN DATABASE origin", "ROLE {login}"])
def test_a_role_that_sessions_take_on_by_default_is_not_taken_on(
    server: postgres.Postgres, store: BackupStore, whose: str
) -> None:
    """As the owners of applications are set, so that whatever is made belongs to one role."""
    setting = f"ALTER {whose.format(login=server.user)}"
    execute(server, "CREATE TABLE t (a int)", "INSERT INTO t VALUES (1)", f"{setting} SET role = inside")
    try:
        subject = driver(store)
        point = subject.finish(subject.start("point-1"))
        assert prove(subject, point, SCRATCH).ok
        assert restore_origin(subject, point).ok
    finally:
        with psycopg.connect(server.dsn("postgres"), autocommit=True, options="-c role=none") as connection:
            connection.execute(f"{setting} RESET role")


def test_what_no_dump_tells_is_said(server: postgres.Postgres, store: BackupStore) -> None:
    """After reports of tables that an extension owns, and of functions that were put into pg_catalog."""
    execute(server, "CREATE EXTENSION hstore", "CREATE TABLE mine (a int)", "INSERT INTO mine VALUES (1)",
            "CREATE TABLE empty (a int)", "ALTER EXTENSION hstore ADD TABLE mine",
            "ALTER EXTENSION hstore ADD TABLE empty", "CREATE TABLE information_schema.own (a int)",
            "CREATE FUNCTION pg_catalog.own(int) RETURNS int LANGUAGE sql AS 'SELECT 1'")  # fmt: skip
    subject = driver(store)
    expected = ["rows of extensions' tables that are not declared as settings: public.mine (hstore)",
                "what was put into pg_catalog or information_schema: information_schema.own, own(integer)"]  # fmt: skip
    assert subject.plan()["leaves_out"] == [*subject.capabilities.leaves_out, *expected]
    assert subject.inspect().detail["left_out"] == expected
    assert subject.finish(subject.start("point-1")).facts["left_out"] == expected


@pytest.mark.parametrize("words", [
    'must be able to SET ROLE "owner"', "must be owner of extension plpgsql", "must be owner of database shop",
    "must be superuser", "must be member of role \"owner\"", "permission denied to create subscription",
])  # fmt: skip
def test_what_right_is_missing_is_said(words: str) -> None:
    said = failure("databases.db", "the restore stopped", f"psql:<stdin>:7: ERROR:  42501: {words}")
    assert isinstance(said, PermanentError)
    assert words in str(said)
    assert "held back" not in str(said)
