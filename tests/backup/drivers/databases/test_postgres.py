"""The driver ``postgres`` against a real PostgreSQL 18."""

from __future__ import annotations

import json
import os
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

from airlock.backup.driver import Place
from airlock.backup.drivers.databases.postgres import PostgresDriver
from airlock.backup.store import BackupStore
from airlock.errors import BackupDamaged, InvalidInput, PermanentError, TemporaryError
from airlock.models import Kind, RecoveryPoint, Resource
from sandbox import postgres
from tests.contracts.driver_contract import Case, DriverContract, Useless, digest
from tests.contracts.driver_forms import EDGE_NAMES, Damage, Form
from tests.real_servers import set_connection

SCRATCH = Place(name="proof1")
SCHEMA = """
CREATE SCHEMA sales;
CREATE TYPE public.mood AS ENUM ('calm', 'cross');
CREATE TABLE public.customers (id serial PRIMARY KEY, name text NOT NULL, mood public.mood DEFAULT 'calm',
  grade varchar(3) CHECK (grade IN ('a', 'b', 'c')), weight double precision, seen timestamptz, blob bytea);
CREATE TABLE sales.orders (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, customer int NOT NULL
  REFERENCES public.customers,
  cents int NOT NULL CHECK (cents >= 0), doubled int GENERATED ALWAYS AS (cents * 2) STORED);
CREATE TABLE public."odd ""name" ("a b" text);
CREATE TABLE sales.events (at date NOT NULL, what text) PARTITION BY RANGE (at);
CREATE TABLE sales.events_2026 PARTITION OF sales.events FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
CREATE VIEW sales.totals AS SELECT customer, sum(cents) AS cents FROM sales.orders GROUP BY customer;
CREATE MATERIALIZED VIEW sales.frozen AS SELECT 1 AS one;
CREATE FUNCTION public.twice(x int) RETURNS int LANGUAGE sql AS 'SELECT x * 2';
INSERT INTO public.customers (name, grade, weight, seen, blob) SELECT 'Grüße ' || n, 'b', n / 3.0, now(),
  sha256(n::text::bytea)
  FROM generate_series(1, 500) n;
INSERT INTO sales.orders (customer, cents) SELECT 1 + n % 500, n FROM generate_series(1, 2000) n;
INSERT INTO public."odd ""name" VALUES ('same'), ('same'), (NULL);
INSERT INTO sales.events VALUES ('2026-05-01', 'x');
GRANT USAGE ON SCHEMA sales TO app_reader; GRANT SELECT ON sales.orders TO app_reader WITH GRANT OPTION;
GRANT SELECT (name) ON public.customers TO app_reader; REVOKE EXECUTE ON FUNCTION public.twice FROM PUBLIC;
ALTER TABLE sales.orders OWNER TO app_owner;
ALTER DEFAULT PRIVILEGES FOR ROLE app_owner GRANT SELECT ON TABLES TO app_reader;
ALTER TABLE sales.orders ENABLE ROW LEVEL SECURITY; CREATE POLICY own ON sales.orders TO app_reader USING (cents < 10);
"""


@pytest.fixture
def origin(postgres_server: postgres.Postgres, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    set_connection(
        monkeypatch,
        "test_pg",
        conn_type="postgres",
        host="127.0.0.1",
        port=postgres_server.port,
        login=postgres_server.user,
        password=postgres_server.password,
        schema="postgres",
    )
    with psycopg.connect(postgres_server.dsn(), autocommit=True) as admin:
        for role in ("app_group", "app_owner", "app_reader"):
            admin.execute(f"DO $$ BEGIN CREATE ROLE {role}; EXCEPTION WHEN duplicate_object THEN NULL; END $$")
        admin.execute("GRANT app_group TO app_reader")
        admin.execute("CREATE DATABASE origin")
        admin.execute("REVOKE CONNECT ON DATABASE origin FROM PUBLIC")
        admin.execute("GRANT CONNECT, TEMPORARY ON DATABASE origin TO app_reader")
        admin.execute("""ALTER DATABASE origin SET search_path TO "$user", sales, public""")
        admin.execute("ALTER DATABASE origin SET work_mem TO '8MB'")
    with psycopg.connect(postgres_server.dsn("origin"), autocommit=True) as database:
        database.execute("SET search_path TO public")
        database.execute(SCHEMA)
    yield "origin"
    with psycopg.connect(postgres_server.dsn(), autocommit=True) as admin:
        for name in ("origin", "airlock_proof1"):
            admin.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


def driver(store: BackupStore, database: str = "origin", **options: Any) -> PostgresDriver:
    given = {"connection": "test_pg", "database": database, "programs": str(postgres.binaries()), **options}
    return PostgresDriver(Resource(name="shop_db", kind=Kind.DATABASES, driver="postgres", options=given), store)


def take(subject: PostgresDriver, token: str = "point-1") -> RecoveryPoint:
    return subject.finish(subject.start(token))


def databases(server: postgres.Postgres) -> set[str]:
    with psycopg.connect(server.dsn()) as admin:
        return {row[0] for row in admin.execute("SELECT datname FROM pg_database")}


def test_a_restored_backup_equals_its_origin_in_every_check(
    origin: str,
    store: BackupStore,
    postgres_server: postgres.Postgres,
) -> None:
    subject = driver(store)
    point = take(subject)
    subject.restore(point, SCRATCH)
    checks = subject.prove(point, SCRATCH)
    assert [check for check in checks if not check.ok] == []
    names = {check.name for check in checks}
    assert {
        "schema",
        "tables sales.orders",
        "sequences public.customers_id_seq",
        "roles app_group",
        "database grants",
        "constraints public.customers customers_grade_check",
        'tables public."odd ""name"',
    } <= names
    assert point.facts["tables"]["sales.orders"]["rows"] == 2000
    assert "/" in point.facts["wal_position"]
    subject.discard(SCRATCH)
    subject.discard(SCRATCH)
    assert "airlock_proof1" not in databases(postgres_server)


@pytest.mark.parametrize(
    ("change", "broken"),
    [
        ("UPDATE sales.orders SET cents = cents + 1 WHERE id = 7", "tables sales.orders"),
        ('DELETE FROM public."odd ""name" WHERE ctid = \'(0,1)\'', 'tables public."odd ""name"'),
        ("SELECT setval('public.customers_id_seq', 9)", "sequences public.customers_id_seq"),
        ("GRANT DELETE ON sales.orders TO app_reader", "grants relation sales.orders"),
        ("ALTER TABLE sales.orders DROP CONSTRAINT orders_cents_check", "names of constraints"),
        ("CREATE INDEX extra ON sales.orders (cents)", "schema"),
        ("ALTER TABLE public.customers ALTER COLUMN mood SET DEFAULT 'cross'", "schema"),
        ("REVOKE CONNECT ON DATABASE airlock_proof1 FROM app_reader", "database grants"),
        ("ALTER ROLE app_reader CREATEDB", "roles app_reader"),
    ],
)
def test_a_difference_in_the_scratch_database_fails_the_proof(
    origin: str,
    store: BackupStore,
    postgres_server: postgres.Postgres,
    change: str,
    broken: str,
) -> None:
    subject = driver(store)
    point = take(subject)
    subject.restore(point, SCRATCH)
    with psycopg.connect(postgres_server.dsn("airlock_proof1"), autocommit=True) as scratch:
        scratch.execute(change)
    try:
        assert broken in {check.name for check in subject.prove(point, SCRATCH) if not check.ok}
    finally:
        with psycopg.connect(postgres_server.dsn(), autocommit=True) as admin:
            admin.execute("ALTER ROLE app_reader NOCREATEDB")


def test_facts_and_dump_see_the_same_moment_while_others_write(
    origin: str,
    store: BackupStore,
    postgres_server: postgres.Postgres,
) -> None:
    stop = threading.Event()

    def write_on() -> None:
        with psycopg.connect(postgres_server.dsn("origin"), autocommit=True) as writer:
            while not stop.is_set():
                writer.execute("INSERT INTO sales.orders (customer, cents) VALUES (1, 1)")

    thread = threading.Thread(target=write_on)
    thread.start()
    try:
        subject = driver(store)
        point = take(subject)
    finally:
        stop.set()
        thread.join()
    subject.restore(point, SCRATCH)
    assert [check for check in subject.prove(point, SCRATCH) if not check.ok] == []


def test_a_restore_into_the_origin_brings_back_exactly_what_was_there(
    origin: str,
    store: BackupStore,
    postgres_server: postgres.Postgres,
) -> None:
    subject = driver(store)
    point = take(subject)
    with psycopg.connect(postgres_server.dsn("origin"), autocommit=True) as database:
        database.execute(
            "DROP VIEW sales.totals; DELETE FROM sales.orders WHERE id > 10; ALTER TABLE public.customers ADD more int;"
            "CREATE TABLE public.made_later (c int REFERENCES public.customers); CREATE SCHEMA later;"
            "CREATE TYPE public.kind AS ENUM ('x'); CREATE FUNCTION public.f() RETURNS int LANGUAGE sql AS 'SELECT 1'"
        )
        database.execute("ALTER DATABASE origin SET work_mem TO '1MB'")
    subject.restore(point, Place(origin=True))
    assert [check for check in subject.prove(point, Place(origin=True)) if not check.ok] == []


def test_a_damaged_backup_leaves_the_origin_as_it_was(
    origin: str,
    store: BackupStore,
    postgres_server: postgres.Postgres,
) -> None:
    subject = driver(store)
    point = take(subject)
    with psycopg.connect(postgres_server.dsn("origin"), autocommit=True) as database:
        database.execute("UPDATE sales.orders SET cents = 1")
    path = Path(point.objects[0].path)
    content = bytearray(path.read_bytes())
    content[-40] ^= 1
    path.write_bytes(content)
    with pytest.raises(BackupDamaged):
        subject.restore(point, Place(origin=True))
    with psycopg.connect(postgres_server.dsn("origin")) as database:
        assert database.execute("SELECT count(*), sum(cents) FROM sales.orders").fetchone() == (2000, 2000)


def test_a_missing_role_is_refused_by_name(
    origin: str,
    store: BackupStore,
    postgres_server: postgres.Postgres,
) -> None:
    with psycopg.connect(postgres_server.dsn("origin"), autocommit=True) as database:
        database.execute("CREATE ROLE passing; GRANT SELECT ON sales.orders TO passing")
    subject = driver(store)
    point = take(subject)
    with psycopg.connect(postgres_server.dsn("origin"), autocommit=True) as database:
        database.execute("REVOKE ALL ON sales.orders FROM passing; DROP ROLE passing")
    with pytest.raises(PermanentError, match="no role passing"):
        subject.restore(point, SCRATCH)
    assert "airlock_proof1" not in databases(postgres_server)


def test_the_same_token_gives_the_same_point_and_a_restore_may_be_repeated(
    origin: str,
    store: BackupStore,
) -> None:
    subject = driver(store)
    assert take(subject) == take(subject)
    point = take(subject)
    subject.restore(point, SCRATCH)
    subject.restore(point, SCRATCH)
    assert all(check.ok for check in subject.prove(point, SCRATCH))


def test_inspect_tells_absence_and_notices_writes(
    origin: str,
    store: BackupStore,
    postgres_server: postgres.Postgres,
) -> None:
    assert not driver(store, "nowhere").inspect().present
    before = driver(store).inspect()
    assert before.present and before.size_bytes and before.detail["database"] == "origin"
    with psycopg.connect(postgres_server.dsn("origin"), autocommit=True) as database:
        database.execute("UPDATE sales.orders SET cents = cents + 1 WHERE id = 7")
    assert driver(store).inspect().fingerprint != before.fingerprint


def test_a_server_that_is_down_is_temporary_and_a_missing_database_is_not(
    origin: str,
    store: BackupStore,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(PermanentError, match=r"databases\.shop_db.*nowhere"):
        take(driver(store, "nowhere"), "point-2")
    with pytest.raises(PermanentError, match="pg_dump is not in /nonexistent"):
        take(driver(store, programs="/nonexistent"), "point-3")
    with pytest.raises(InvalidInput, match="origin"):
        driver(store).discard(Place(origin=True))
    set_connection(
        monkeypatch, "test_pg", conn_type="postgres", host="127.0.0.1", port=1, login="a", password="hidden-word"
    )
    with pytest.raises(TemporaryError, match=r"databases\.shop_db") as caught:
        driver(store).inspect()
    assert "hidden-word" not in str(caught.value)


def test_the_password_is_in_no_argument_of_a_program(
    origin: str,
    store: BackupStore,
    postgres_server: postgres.Postgres,
    tmp_path: Path,
) -> None:
    seen = tmp_path / "arguments"
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("pg_dump", "pg_dumpall", "pg_restore", "psql"):
        (folder / name).write_text(f'#!/bin/sh\necho "$0 $*" >> {seen}\nexec {postgres.binaries()}/{name} "$@"\n')
        (folder / name).chmod(0o755)
    subject = driver(store, programs=str(folder))
    point = take(subject)
    subject.restore(point, SCRATCH)
    text = seen.read_text()
    assert text.count("pg_dump ") == 2 and "psql" in text
    assert postgres_server.password not in text
    assert postgres_server.password not in point.model_dump_json()


def test_pg_dump_ends_when_its_reader_stops(origin: str, store: BackupStore) -> None:
    subject = driver(store)
    with subject._connect("origin") as database:
        stream = subject._dump(database, "origin", "--format=plain")
        next(stream)
        stream.close()
    children = subprocess.run(["ps", "--ppid", str(os.getpid()), "-o", "comm="], capture_output=True, text=True).stdout
    assert "pg_dump" not in children


@pytest.mark.campaign
class TestContract(DriverContract):
    @pytest.fixture
    def case(self, origin: str, store: BackupStore, postgres_server: postgres.Postgres) -> Case:
        def run(database: str, *statements: str) -> None:
            with psycopg.connect(postgres_server.dsn(database), autocommit=True, client_encoding="utf8") as opened:
                for statement in statements:
                    opened.execute(statement)

        def dump(*arguments: str) -> bytes:
            command = [postgres.binaries() / "pg_dump", *arguments, postgres_server.dsn("origin")]
            return subprocess.run(command, check=True, capture_output=True).stdout

        def rows() -> str:
            # a dump quotes its own random token
            return digest([line for line in dump().splitlines() if b"restrict" not in line])

        def data() -> list[bytes]:
            return sorted(line for line in dump("--data-only").splitlines() if b"restrict" not in line)

        def standing() -> list[Any]:
            with psycopg.connect(postgres_server.dsn()) as admin:
                return admin.execute(
                    "SELECT datacl::text, datconnlimit, setconfig FROM pg_database d LEFT JOIN pg_db_role_setting s ON "
                    "s.setdatabase = d.oid WHERE datname = 'origin'"
                ).fetchall()

        def otherwise() -> None:
            run("postgres", "DROP DATABASE origin WITH (FORCE)",
                "CREATE DATABASE origin TEMPLATE template0 ENCODING 'SQL_ASCII' LOCALE 'C' OWNER app_owner")
            run("origin", 'CREATE VIEW "odd ""name" AS SELECT 1 AS "a b"', "CREATE SCHEMA sales",
                "CREATE TYPE sales.orders AS (id int)", "CREATE SEQUENCE public.customers")

        def in_bytes() -> None:
            run("postgres", "DROP DATABASE origin WITH (FORCE)",
                "CREATE DATABASE origin TEMPLATE template0 ENCODING 'SQL_ASCII' LOCALE 'C'")  # fmt: skip
            run("origin", SCHEMA, "INSERT INTO public.\"odd \"\"name\" VALUES (E'\\xe4\\xff')")

        def table(name: str) -> str:
            return sql.SQL("CREATE TABLE {} ({} int)").format(*[sql.Identifier(name)] * 2).as_string(None)

        def without(*arguments: str) -> Callable[[bytes], bytes]:
            return lambda _: dump("--format=custom", "--compress=none", *arguments)

        # so that the size of the database does not change by itself
        run("postgres", "ALTER SYSTEM SET autovacuum = off", "SELECT pg_reload_conf()")
        return Case(
            driver=driver(store),
            change=lambda: run(
                "origin", "UPDATE sales.orders SET cents = cents + 1", "CREATE TABLE IF NOT EXISTS later (a int)"
            ),
            spoil=lambda place: run(f"airlock_{place.name}", "DELETE FROM sales.orders WHERE id = 5"),
            origin=rows,
            useless=(
                Useless("grants", "grants", "database.dump", without("--no-privileges")),
                Useless("a view", "names of owners", "database.dump", without("--exclude-table=sales.totals")),
                Useless("rows", "tables sales.orders", "database.dump", without("--exclude-table-data=sales.orders")),
                Useless("no dump", "pg_restore", "database.dump", lambda _: b"SELECT 1;"),
                Useless("grants of the database", "database grants", "database.json",
                        lambda content: json.dumps(json.loads(content) | {"grants": None}).encode()),
                Useless("no properties", "database.json", "database.json", lambda _: b"{"),
                Useless(
                    "a role",
                    "no role app_reader",
                    before=lambda: run("postgres", "ALTER ROLE app_reader RENAME TO app_gone"),
                    after=lambda: run("postgres", "ALTER ROLE app_gone RENAME TO app_reader"),
                ),
            ),
            left_over=lambda place: sorted(name for name in databases(postgres_server) if name.startswith("airlock_")),
            secrets=("Grüße 77", postgres_server.password),
            restored=data,
            damages={
                "emptied": Damage(lambda: run("origin", "DROP SCHEMA sales CASCADE", "TRUNCATE public.customers")),
                "added": Damage(lambda: run("origin", "CREATE TABLE later AS SELECT 1 AS a", "SELECT lo_create(4711)")),
                "settings": Damage(
                    lambda: run("postgres", "ALTER DATABASE origin RESET ALL", "GRANT ALL ON DATABASE origin TO PUBLIC",
                                "ALTER DATABASE origin CONNECTION LIMIT 9"),
                    origin=standing,
                ),
                "gone": Damage(lambda: run("postgres", "DROP DATABASE origin WITH (FORCE)"), origin=data),
                "taken": Damage(otherwise, origin=data),
                "linked": "a database and what is in it have no links",
            },
            forms={
                "text that is not UTF-8": Form(in_bytes),
                "names at the edges": Form(lambda: run("origin", *map(table, EDGE_NAMES))),
                "modes and owners": Form(lambda: run("origin", "ALTER TABLE public.customers OWNER TO app_owner",
                                                     "REVOKE ALL ON public.customers FROM app_owner")),
                "disappears while it is read": Form(during=lambda: run("origin", "DELETE FROM sales.orders")),
                "grows while it is read": Form(
                    during=lambda: run("origin", "INSERT INTO sales.orders (customer, cents) SELECT 1, 1 FROM "
                                                 "generate_series(1, 5000)", "CREATE TABLE meanwhile (a int)")
                ),
                "empty": Form(lambda: run("origin", "TRUNCATE sales.orders, public.customers, sales.events")),
                "huge": Form(lambda: run("origin",
                                         "INSERT INTO public.\"odd \"\"name\" SELECT repeat('x', 30000000)",
                                         "CREATE TABLE many AS SELECT generate_series(1, 200000) AS n",
                                         "SELECT lo_from_bytea(4712, repeat('y', 5000000)::bytea)")),
                "deeply nested": Form(
                    lambda: run("origin",
                                "CREATE TABLE deep AS SELECT (repeat('[', 3000) || repeat(']', 3000))::jsonb AS j",
                                "CREATE VIEW v0 AS SELECT 1 AS a", *(f"CREATE VIEW v{n + 1} AS SELECT a FROM v{n}"
                                                                     for n in range(60)))
                ),
            },
        )  # fmt: skip
