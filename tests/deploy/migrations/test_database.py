"""Migrations on a real PostgreSQL: all or nothing, once, also when a session ends in the middle."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from airlock.change.way_back import concurrent_index, judge
from airlock.deploy.migrations.database import MigrationDatabase
from airlock.errors import PermanentError, TemporaryError
from airlock.models import Migration, Reversal
from sandbox import postgres, reach, shop_database
from tests.real_servers import postgres_server, set_connection

__all__ = ["postgres_server"]
COLUMN = Migration(
    name="0001_note", up="ALTER TABLE orders ADD COLUMN note text", down="ALTER TABLE orders DROP COLUMN note"
)
INDEX = Migration(
    name="0002_index", up="CREATE INDEX CONCURRENTLY by_item ON orders (item)", down="DROP INDEX CONCURRENTLY by_item"
)
HALF = "SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass('by_item')"


@pytest.fixture
def admin(postgres_server: postgres.Postgres, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A session on a new database ``shop`` with the table ``orders``; the connection ``migrations`` is its owner's."""
    shop_database.ensure_role(postgres_server, "owner", "s3cret")
    with psycopg.connect(postgres_server.dsn(), autocommit=True) as server:
        server.execute("DROP DATABASE IF EXISTS shop WITH (FORCE)")
        server.execute("CREATE DATABASE shop OWNER owner")
    set_connection(
        monkeypatch, "migrations", conn_type="postgres", host="127.0.0.1", port=postgres_server.port, login="owner",
        password="s3cret",
    )  # fmt: skip
    with psycopg.connect(postgres_server.dsn("shop"), autocommit=True) as session:
        session.execute("CREATE TABLE orders (id serial, item text); ALTER TABLE orders OWNER TO owner")
        session.execute("INSERT INTO orders (item) SELECT 'lamp' FROM generate_series(1, 500)")
        session.execute("GRANT ALL ON SCHEMA public TO owner")
        yield session


def database(lock: float = 1.0, statement: float = 30) -> MigrationDatabase:
    return MigrationDatabase("migrations", "shop", lock, statement)


def apply(migration: Migration, release: str = "r1", **timeouts: float) -> bool:
    return database(**timeouts).apply(migration, release, concurrent_index(migration.up))


def undo(migration: Migration, release: str = "r1") -> bool:
    return database().undo(migration, release, concurrent_index(migration.down or ""))


def columns(admin: Any) -> set[str]:
    rows = admin.execute("SELECT attname FROM pg_attribute WHERE attrelid = 'orders'::regclass AND attnum > 0")
    return {row[0] for row in rows if not row[0].startswith("....")}


def index(admin: Any) -> bool | None:
    row = admin.execute(HALF).fetchone()
    return None if row is None else row[0]


def test_a_migration_is_applied_once_and_undone_once(admin: Any) -> None:
    assert database().applied() == {}
    assert apply(COLUMN)
    assert not apply(COLUMN)
    assert not apply(COLUMN, "r2"), "by whomever"
    assert columns(admin) == {"id", "item", "note"}
    kept = database().applied()["0001_note"]
    assert (kept.digest, kept.release, kept.finished) == (COLUMN.up_digest, "r1", True)
    assert not undo(COLUMN, "r2"), "only what the release itself applied"
    assert undo(COLUMN)
    assert not undo(COLUMN)
    assert columns(admin) == {"id", "item"}
    assert database().applied() == {}
    assert apply(COLUMN, "r3")


def test_a_migration_that_was_changed_is_refused(admin: Any) -> None:
    apply(COLUMN)
    changed = COLUMN.model_copy(update={"up": COLUMN.up + " DEFAULT ''"})
    with pytest.raises(PermanentError, match="changed after it was applied"):
        apply(changed, "r2")


def test_a_migration_that_fails_changes_nothing(admin: Any) -> None:
    failing = COLUMN.model_copy(update={"up": f"{COLUMN.up}; INSERT INTO orders (id) VALUES ('hunter2')"})
    with pytest.raises(PermanentError, match="invalid input syntax.*SQLSTATE 22P02.*nothing was changed"):
        apply(failing)
    assert columns(admin) == {"id", "item"}
    assert database().applied() == {}
    assert apply(COLUMN), "the next one finds no lock"


def test_what_the_server_shows_of_rows_is_not_told(admin: Any) -> None:
    secret = Migration(name="0001_x", up="CREATE UNIQUE INDEX u ON orders (item)")
    with pytest.raises(PermanentError) as caught:
        apply(secret)
    assert "lamp" not in str(caught.value)


@pytest.mark.parametrize(
    "up",
    ["ALTER TABLE orders ALTER item TYPE int USING item::int",
     "ALTER TABLE orders ALTER item TYPE date USING item::date",
     "SELECT (item || '99999999999')::int FROM orders", "SELECT item::numeric::int2 FROM (SELECT '123456' item) x",
     "DO $$ BEGIN RAISE EXCEPTION 'bad: %', (SELECT item FROM orders LIMIT 1); END $$",
     "DO $$ BEGIN RAISE EXCEPTION USING ERRCODE = '57P01', MESSAGE = (SELECT item FROM orders LIMIT 1); END $$",
     "SELECT item::jsonb FROM orders", "SELECT item::int[] FROM orders"],
)  # fmt: skip
def test_no_value_of_a_row_is_told(admin: Any, up: str) -> None:
    with pytest.raises((PermanentError, TemporaryError), match="SQLSTATE|made again") as caught:
        apply(Migration(name="0001_x", up=up))
    told = "".join(traceback.format_exception(caught.value))
    assert "lamp" not in told.replace(up, "")
    assert "123456" not in told.replace(up, "")


def test_a_way_back_that_fails_changes_nothing(admin: Any) -> None:
    apply(COLUMN)
    wrong = COLUMN.model_copy(update={"down": "ALTER TABLE orders DROP COLUMN note; DROP TABLE nowhere"})
    with pytest.raises(PermanentError, match="nowhere"):
        undo(wrong)
    assert "note" in columns(admin)
    assert "0001_note" in database().applied()
    with pytest.raises(PermanentError, match="no SQL back"):
        undo(COLUMN.model_copy(update={"down": None}))


def test_a_lock_that_cannot_be_had_in_time_passes(admin: Any, postgres_server: postgres.Postgres) -> None:
    with psycopg.connect(postgres_server.dsn("shop")) as other:
        other.execute("UPDATE orders SET item = 'kettle' WHERE id = 1")
        with pytest.raises(TemporaryError, match="lock timeout.*made again"):
            apply(COLUMN, lock=0.2)
        assert columns(admin) == {"id", "item"}
        with pytest.raises(TemporaryError):
            apply(INDEX, lock=0.2)
        with pytest.raises(TemporaryError, match="lock timeout"):  # for PostgreSQL, a limit of 0 ms is none
            apply(COLUMN, lock=0.0004, statement=5)
        other.rollback()
    assert apply(COLUMN)
    assert apply(INDEX)
    assert index(admin) is True


def test_a_statement_that_takes_too_long_is_ended_for_good(admin: Any) -> None:
    slow = Migration(name="0001_slow", up="SELECT pg_sleep(20)")
    with pytest.raises(PermanentError, match="statement_timeout_seconds"):
        apply(slow, statement=0.2)


@pytest.mark.parametrize("fails", [False, True])
def test_the_next_begins_although_the_server_has_not_ended_the_session_before(
    admin: Any, monkeypatch: pytest.MonkeyPatch, fails: bool
) -> None:
    lingering: list[Any] = []
    end = psycopg.Connection.close
    with monkeypatch.context() as patch:
        patch.setattr(psycopg.Connection, "close", lambda session: lingering.append(session))  # noqa: PLW0108 - a method
        if fails:
            with pytest.raises(PermanentError):
                apply(Migration(name="0001_note", up="ALTER TABLE orders ADD COLUMN note text; SELECT 1 / 0"))
        assert apply(COLUMN)
        assert undo(COLUMN)
        assert len(lingering) == 2 + fails
    for session in lingering:
        end(session)


def test_one_session_at_a_time_migrates(admin: Any) -> None:
    slow = Migration(name="0001_slow", up="SELECT pg_sleep(2)")
    first = threading.Thread(target=apply, args=(slow,))
    first.start()
    time.sleep(0.7)
    with pytest.raises(TemporaryError, match="another session migrates"):
        apply(COLUMN)
    first.join()
    assert apply(COLUMN)


def test_a_migration_may_not_end_its_transaction(admin: Any) -> None:
    sly = Migration(name="0001_sly", up="ALTER TABLE orders ADD note text; COMMIT; BEGIN")
    with pytest.raises(PermanentError, match="ended its own transaction"):
        apply(sly)
    assert database().applied() == {}


def test_an_index_is_made_and_dropped_without_a_transaction(admin: Any) -> None:
    assert apply(INDEX)
    assert index(admin) is True
    assert not apply(INDEX)
    assert undo(INDEX)
    assert index(admin) is None
    assert not undo(INDEX)


@pytest.mark.parametrize("reached", ["announced", "half made", "made"])
def test_an_index_whose_session_was_ended_in_the_middle_is_finished(admin: Any, reached: str) -> None:
    apply(COLUMN)  # makes the table of what was applied
    admin.execute("INSERT INTO airlock.migrations VALUES ('0002_index', %s, 'r1', false)", [INDEX.up_digest])
    if reached != "announced":
        admin.execute(INDEX.up)
    if reached == "half made":
        admin.execute("UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'by_item'::regclass")
    assert not database().applied()["0002_index"].finished
    assert apply(INDEX)
    assert index(admin) is True
    assert database().applied()["0002_index"].finished


@pytest.mark.parametrize("reached", ["announced", "half made", "dropped"])
def test_the_way_back_of_an_index_is_finished_too(admin: Any, reached: str) -> None:
    apply(INDEX)
    if reached == "half made":
        admin.execute("UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'by_item'::regclass")
    if reached == "dropped":
        admin.execute("DROP INDEX by_item")
    assert undo(INDEX)
    assert index(admin) is None
    assert database().applied() == {}


def test_an_index_that_cannot_be_made_leaves_nothing(admin: Any) -> None:
    unique = INDEX.model_copy(update={"up": "CREATE UNIQUE INDEX CONCURRENTLY by_item ON orders (item)"})
    with pytest.raises(PermanentError, match="unique index"):
        apply(unique)
    assert index(admin) is None
    assert database().applied() == {}


def test_somebody_elses_index_is_not_taken_for_its_own(admin: Any) -> None:
    admin.execute("CREATE INDEX by_item ON orders (item)")
    with pytest.raises(PermanentError, match="is there already"):
        apply(INDEX)
    assert database().applied() == {}
    assert apply(INDEX.model_copy(update={"up": "CREATE INDEX CONCURRENTLY IF NOT EXISTS by_item ON orders (item)"}))


@pytest.mark.parametrize("schema", ['"odd ""Schema"', "public"])
def test_names_may_be_odd(admin: Any, schema: str) -> None:
    if schema != "public":
        admin.execute(f"CREATE SCHEMA {schema} AUTHORIZATION owner")
        admin.execute(f"CREATE TABLE {schema}.\"T x\" (a int); ALTER TABLE {schema}.\"T x\" OWNER TO owner")
    else:
        admin.execute('CREATE TABLE "T x" (a int); ALTER TABLE "T x" OWNER TO owner')
    odd = Migration(
        name="0001_odd", up=f'CREATE INDEX CONCURRENTLY "I ""q" ON {schema}."T x" (a)',
        down=f'DROP INDEX CONCURRENTLY {schema}."I ""q"',
    )  # fmt: skip
    assert apply(odd)
    assert not apply(odd)
    assert undo(odd)
    assert not undo(odd)


@pytest.mark.campaign
def test_a_killed_process_leaves_all_or_nothing_and_another_goes_on(admin: Any, tmp_path: Path) -> None:
    slow = COLUMN.model_copy(update={"up": f"{COLUMN.up}; SELECT pg_sleep(60)"})
    program = tmp_path / "apply.py"
    program.write_text(
        "import sys\n"
        "from airlock.deploy.migrations.database import MigrationDatabase\n"
        "from airlock.models import Migration\n"
        "migration = Migration.model_validate_json(sys.argv[1])\n"
        "MigrationDatabase('migrations', 'shop', 5, 120).apply(migration, 'r1')\n"
    )
    process = subprocess.Popen([sys.executable, str(program), slow.model_dump_json()], env=os.environ)
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'"
    limit = time.monotonic() + 60
    while admin.execute(waiting).fetchone() != (1,):
        assert process.poll() is None and time.monotonic() < limit
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    while True:  # the server looks every two seconds whether its client is there
        try:
            assert apply(COLUMN)
            break
        except TemporaryError as error:
            assert "another session migrates" in str(error)
            assert time.monotonic() < limit
            time.sleep(0.3)
    assert columns(admin) == {"id", "item", "note"}


def test_a_server_that_is_away_passes_and_a_wrong_password_does_not(
    admin: Any, monkeypatch: pytest.MonkeyPatch, postgres_server: postgres.Postgres
) -> None:
    parameters = {"conn_type": "postgres", "host": "127.0.0.1", "login": "owner"}
    set_connection(monkeypatch, "migrations", **parameters, port=1, password="s3cret")
    with pytest.raises(TemporaryError):
        database().applied()
    set_connection(monkeypatch, "migrations", **parameters, port=postgres_server.port, password="wr0ng")
    with pytest.raises(PermanentError) as caught:
        database().applied()
    assert "wr0ng" not in str(caught.value)


def test_a_role_without_rights_is_told_so(admin: Any, monkeypatch: pytest.MonkeyPatch,
                                          postgres_server: postgres.Postgres) -> None:
    shop_database.ensure_role(postgres_server, "reader", "r3ader")
    set_connection(monkeypatch, "migrations", conn_type="postgres", host="127.0.0.1", port=postgres_server.port,
                   login="reader", password="r3ader")
    with pytest.raises(PermanentError, match="give the role of the connection the right"):
        apply(COLUMN)


def test_what_is_migrated_is_what_is_backed_up(
    admin: Any, monkeypatch: pytest.MonkeyPatch, postgres_server: postgres.Postgres, open_folder: Path
) -> None:
    common = {"conn_type": "postgres", "host": "127.0.0.1", "login": postgres.ADMIN}
    set_connection(monkeypatch, "backup", **common, port=postgres_server.port, password=postgres_server.password)
    database().check_same("backup")
    with postgres.start(open_folder / "other", reach.free_port(), databases=["shop"]) as other:
        set_connection(monkeypatch, "backup", **common, port=other.port, password=other.password)
        with pytest.raises(PermanentError, match="leads to another database than backup"):
            database().check_same("backup")


# --- the way back drops nothing that was there before -----------------------------------------------------------------


def kept_orders(admin: Any) -> int:
    return admin.execute("SELECT count(*) FROM orders").fetchone()[0]


@pytest.mark.parametrize(
    ("up", "down", "named"),
    [
        pytest.param(
            "CREATE TABLE everything (id int, item text) PARTITION BY RANGE (id);"
            "ALTER TABLE orders ALTER id DROP DEFAULT, ALTER id DROP NOT NULL;"
            "ALTER TABLE everything ATTACH PARTITION orders FOR VALUES FROM (0) TO (1000000)",
            "DROP TABLE everything", "table orders", id="a partition",
        ),
        pytest.param("ALTER TABLE orders ADD note text", "ALTER TABLE orders DROP note, DROP item",
                     "column item of table orders", id="a column"),
        pytest.param("CREATE TABLE n (a int); ALTER TABLE orders ALTER id DROP DEFAULT;"
                     "ALTER SEQUENCE orders_id_seq OWNED BY n.a", "DROP TABLE n", "orders_id_seq", id="a sequence"),
        pytest.param("SELECT 1", "DROP TABLE orders CASCADE", "table orders", id="everything"),
    ],
)  # fmt: skip
def test_a_way_back_that_would_drop_what_was_there_before_is_refused(
    admin: Any, up: str, down: str, named: str
) -> None:
    migration = Migration(name="0001_x", up=up, down=down)
    apply(migration)
    with pytest.raises(PermanentError, match=f"would drop what shop held before it: .*{named}"):
        undo(migration)
    assert kept_orders(admin) == 500
    assert "item" in columns(admin)
    assert "0001_x" in database().applied()


def test_an_index_that_was_there_before_is_not_dropped_by_a_way_back(admin: Any) -> None:
    admin.execute("CREATE INDEX by_item ON orders (item)")
    tolerant = INDEX.model_copy(update={"up": "CREATE INDEX CONCURRENTLY IF NOT EXISTS by_item ON orders (item)"})
    apply(tolerant)
    with pytest.raises(PermanentError, match="would drop what shop held before it: index by_item"):
        undo(tolerant)
    assert index(admin) is True


@pytest.mark.parametrize(
    "change",
    ["DELETE FROM orders WHERE id = 1", "UPDATE orders SET item = 'x' WHERE id = 1",
     "WITH gone AS (DELETE FROM orders WHERE id < 9 RETURNING id) INSERT INTO n SELECT id FROM gone",
     "CREATE FUNCTION f() RETURNS void LANGUAGE sql AS 'DELETE FROM orders WHERE id = 1'; SELECT f()"],
)  # fmt: skip
def test_a_migration_that_changed_old_rows_is_not_undone(
    admin: Any, change: str, caplog: pytest.LogCaptureFixture
) -> None:
    migration = Migration(name="0001_x", up=f"CREATE TABLE n (a int); {change}", down="DROP TABLE n")
    apply(migration)
    assert "changes or removes rows of table orders" in caplog.text
    with pytest.raises(PermanentError, match="changed or removed rows of table orders.*nothing was changed"):
        undo(migration)
    assert admin.execute("SELECT to_regclass('n')").fetchone()[0] == "n"


DOES = {
    "empties": ("TRUNCATE kinds", "does not bring back, as shop held it before: table kinds"),
    "adds": ("INSERT INTO kinds VALUES (9)", "added, changed or removed rows of table kinds"),
    "drops": ("DROP TABLE kinds", "would drop what shop held before it: what the migration itself dropped"),
    "alters": ("ALTER TABLE kinds ALTER id SET DEFAULT 3", "as shop held it before: column id of table kinds"),
    "renames": ("ALTER TABLE kinds RENAME TO sorts", "as shop held it before: .*table sorts"),
    "replaces": ("CREATE OR REPLACE VIEW seen AS SELECT 2 AS n", "as shop held it before: rule _RETURN on view seen"),
    "says": ("COMMENT ON TABLE kinds IS 'x'", "as shop held it before: table kinds"),
    "grants": ("GRANT SELECT ON kinds TO PUBLIC", "as shop held it before: table kinds"),
    "takes": ("ALTER SEQUENCE numbers OWNED BY kinds.id", "as shop held it before: sequence numbers"),
    "names": ("ALTER TYPE mood ADD VALUE 'odd'", "as shop held it before: type mood"),
    "switches": ("ALTER TABLE kinds DISABLE TRIGGER late", "as shop held it before: trigger late on table kinds"),
    "large": ("PERFORM lo_from_bytea(0, '\\x00')", "added, changed or removed rows of large objects"),
}
"""What hidden code does to what was there before, and what the way back is told then."""
MAKES = "CREATE TABLE n (a int); INSERT INTO n SELECT done FROM sly"


@pytest.fixture
def hidden(admin: Any) -> Any:
    """Makes the view ``sly``, which does what it is told to do whenever it is read, as no statement shows."""
    admin.execute("CREATE TABLE kinds (id int); INSERT INTO kinds VALUES (1), (2); CREATE SEQUENCE numbers;"
                  "CREATE VIEW seen AS SELECT 1 AS n; CREATE TYPE mood AS ENUM ('good');"
                  "CREATE FUNCTION later() RETURNS trigger LANGUAGE plpgsql AS "
                  "'BEGIN DELETE FROM orders WHERE id = 1; RETURN NEW; END';"
                  "CREATE CONSTRAINT TRIGGER late AFTER UPDATE ON kinds DEFERRABLE INITIALLY DEFERRED "
                  "FOR EACH ROW EXECUTE FUNCTION later()")  # fmt: skip

    def does(what: str) -> None:
        admin.execute(f"CREATE FUNCTION sly_code() RETURNS int LANGUAGE plpgsql SECURITY DEFINER AS $$BEGIN {what}; "
                      "RETURN 1; END$$; CREATE VIEW sly AS SELECT sly_code() AS done")  # fmt: skip
        admin.execute("GRANT SELECT ON sly TO owner")

    return does


@pytest.mark.parametrize(("what", "told"), DOES.values(), ids=DOES)
def test_what_hidden_code_did_to_what_was_there_before_stops_the_way_back(hidden: Any, what: str, told: str) -> None:
    hidden(what)
    migration = Migration(name="0001_x", up=MAKES, down="DROP TABLE n")
    assert judge([migration]).migrations[0].undo, "no statement shows it"
    apply(migration)
    with pytest.raises(PermanentError, match=f"{told}.*nothing was changed"):
        undo(migration)
    assert "0001_x" in database().applied()


def test_what_waits_for_the_end_of_the_transaction_is_seen_too(admin: Any, hidden: Any) -> None:
    hidden("UPDATE kinds SET id = id WHERE false; UPDATE kinds SET id = 3 WHERE id = 1")
    apply(Migration(name="0001_x", up=MAKES))
    assert kept_orders(admin) == 499
    changed = admin.execute("SELECT changed FROM airlock.migrations").fetchone()[0]
    assert changed == ["table kinds", "table orders"]


@pytest.mark.parametrize(
    ("what", "told"),
    [("DELETE FROM orders WHERE id = 1", "adds, changes or removes rows of table orders"),
     ("ALTER TABLE kinds ALTER id SET DEFAULT 3", "as shop held it before: column id of table kinds")],
)  # fmt: skip
def test_a_way_back_that_does_more_by_hidden_code_is_refused(admin: Any, hidden: Any, what: str, told: str) -> None:
    migration = Migration(name="0001_x", up="CREATE TABLE n (a int)", down="DROP TABLE n")
    apply(migration)
    admin.execute(f"CREATE FUNCTION event() RETURNS event_trigger LANGUAGE plpgsql SECURITY DEFINER AS "
                  f"$$BEGIN {what}; END$$; CREATE EVENT TRIGGER e ON sql_drop EXECUTE FUNCTION event()")  # fmt: skip
    with pytest.raises(PermanentError, match=f"{told}.*nothing was changed"):
        undo(migration)
    assert admin.execute("SELECT to_regclass('n')").fetchone()[0] == "n"
    assert kept_orders(admin) == 500


def test_a_way_back_that_leaves_what_was_made_is_refused(admin: Any) -> None:
    migration = Migration(name="0001_x", up="CREATE TABLE n (a int)", down="DROP TABLE n")
    apply(migration)
    admin.execute("ALTER TABLE n RENAME TO m; CREATE TABLE n (somebody text)")
    admin.execute("ALTER TABLE n OWNER TO owner")
    with pytest.raises(PermanentError, match="would leave in shop what the migration made: .*table m"):
        undo(migration)
    assert admin.execute("SELECT to_regclass('n')").fetchone()[0] == "n"


EXACTLY = {
    "a column of every child": ("ALTER TABLE p ADD note text", "ALTER TABLE p DROP note"),
    "a column that a child had already": ("ALTER TABLE p ADD own int", "ALTER TABLE p DROP own"),
    "a column with a long text": ("ALTER TABLE kinds ADD note text DEFAULT 'x'", "ALTER TABLE kinds DROP note"),
    "a table that refers to an old one": (
        "CREATE TABLE n (a int PRIMARY KEY REFERENCES kinds ON DELETE CASCADE); INSERT INTO n SELECT id FROM kinds;"
        "CREATE INDEX i ON n (a); COMMENT ON TABLE n IS 'x'; CREATE VIEW v AS SELECT a FROM n",
        "DROP VIEW v; DROP TABLE n",
    ),
    "a sequence of an old column": ("CREATE SEQUENCE s OWNED BY kinds.id", "DROP SEQUENCE s"),
    "names that are odd": ('CREATE TABLE "Ä""; DROP TABLE kinds;--" (a int)', 'DROP TABLE "Ä""; DROP TABLE kinds;--"'),
}


@pytest.mark.parametrize(("up", "down"), EXACTLY.values(), ids=EXACTLY)
def test_what_is_undone_leaves_everything_as_it_was(
    admin: Any, postgres_server: postgres.Postgres, up: str, down: str
) -> None:
    admin.execute("CREATE TABLE kinds (id int PRIMARY KEY); INSERT INTO kinds VALUES (1), (2);"
                  "CREATE TABLE p (a int); CREATE TABLE c (own int) INHERITS (p); INSERT INTO c VALUES (1, 5)")
    for table in ("kinds", "p", "c"):
        admin.execute(f"ALTER TABLE {table} OWNER TO owner")
    migration = Migration(name="0001_x", up=up, down=down)
    assert judge([migration]).migrations[0].undo
    before = dumped(postgres_server)
    apply(migration)
    assert dumped(postgres_server) != before
    assert undo(migration)
    assert dumped(postgres_server) == before


def dumped(server: postgres.Postgres) -> list[str]:
    command = [str(postgres.binaries() / "pg_dump"), "--inserts", "--exclude-schema=airlock", server.dsn("shop")]
    found = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    return [line for line in found if line and not line.startswith(("--", "\\"))]


def test_a_role_that_may_only_write_its_records_can_migrate(
    admin: Any, monkeypatch: pytest.MonkeyPatch, postgres_server: postgres.Postgres
) -> None:
    apply(COLUMN)
    shop_database.ensure_role(postgres_server, "runner", "rvnner")
    admin.execute("GRANT USAGE ON SCHEMA airlock TO runner; GRANT ALL ON airlock.migrations TO runner;"
                  "GRANT CREATE ON SCHEMA public TO runner")  # fmt: skip
    set_connection(monkeypatch, "migrations", conn_type="postgres", host="127.0.0.1", port=postgres_server.port,
                   login="runner", password="rvnner")
    migration = Migration(name="0002_n", up="CREATE TABLE n (a int)", down="DROP TABLE n")
    assert apply(migration)
    assert undo(migration)


@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII"])
def test_sql_is_utf_8_whatever_the_database_is(
    admin: Any, postgres_server: postgres.Postgres, encoding: str
) -> None:
    with psycopg.connect(postgres_server.dsn(), autocommit=True) as server:
        server.execute("DROP DATABASE shop WITH (FORCE)")
        server.execute(f"CREATE DATABASE shop OWNER owner ENCODING '{encoding}' TEMPLATE template0 LOCALE 'C'")
    up = "CREATE TABLE \"Größe\" (a text); INSERT INTO \"Größe\" VALUES ('é')"
    migration = Migration(name="0001_x", up=up, down='DROP TABLE "Größe"')
    apply(migration)
    with psycopg.connect(postgres_server.dsn("shop"), autocommit=True, client_encoding="UTF8") as session:
        assert session.execute('SELECT a, octet_length(a) FROM "Größe"').fetchone() == (
            "é", 1 if encoding == "LATIN1" else 2)  # fmt: skip
    assert list(database().applied()) == ["0001_x"]
    assert undo(migration)


def test_what_came_after_the_migration_goes_with_what_it_made(admin: Any) -> None:
    migration = Migration(name="0001_x", up="CREATE TABLE n (a int) PARTITION BY LIST (a)", down="DROP TABLE n")
    apply(migration)
    admin.execute("SET ROLE owner; CREATE TABLE n1 PARTITION OF n FOR VALUES IN (1); INSERT INTO n VALUES (1)")
    admin.execute("RESET ROLE")
    admin.execute("CREATE TABLE other (a int); DROP TABLE other; ALTER TABLE orders RENAME item TO thing")
    assert undo(migration)
    assert admin.execute("SELECT to_regclass('n1')").fetchone()[0] is None


def test_a_migration_of_which_nobody_knows_what_was_there_before_is_not_undone(admin: Any) -> None:
    admin.execute("CREATE SCHEMA airlock AUTHORIZATION owner; SET ROLE owner; CREATE TABLE airlock.migrations ("
                  "name text PRIMARY KEY, digest text NOT NULL, release text NOT NULL, finished boolean NOT NULL, "
                  "at timestamptz NOT NULL DEFAULT now()); RESET ROLE")  # fmt: skip
    admin.execute("INSERT INTO airlock.migrations VALUES ('0001_note', %s, 'r1', true)", [COLUMN.up_digest])
    with pytest.raises(PermanentError, match="what shop held before migration 0001_note is not on record"):
        undo(COLUMN)
    later = Migration(name="0002_later", up="ALTER TABLE orders ADD later int", down="ALTER TABLE orders DROP later")
    assert apply(later)
    assert undo(later)


PIECES = {
    "CREATE TABLE n (a int PRIMARY KEY, b text)": "DROP TABLE n",
    "CREATE TABLE m (a int REFERENCES kinds)": "DROP TABLE m",
    "CREATE TABLE IF NOT EXISTS kinds (z int)": "DROP TABLE kinds",
    "CREATE VIEW v AS SELECT id FROM kinds": "DROP VIEW v",
    "CREATE OR REPLACE VIEW seen AS SELECT id, 1 AS one FROM kinds": "DROP VIEW seen",
    "CREATE SEQUENCE s": "DROP SEQUENCE s",
    "CREATE TYPE e AS ENUM ('a')": "DROP TYPE e",
    "ALTER TABLE kinds ADD note text": "ALTER TABLE kinds DROP note",
    "ALTER TABLE parent ADD own int, ADD more text DEFAULT 'x'": "ALTER TABLE parent DROP own, DROP more",
    "ALTER TABLE ONLY kinds ADD IF NOT EXISTS name text": "ALTER TABLE kinds DROP IF EXISTS name",
    "CREATE TABLE w AS SELECT * FROM kinds": "DROP TABLE w",
    "COMMENT ON TABLE kinds IS 'x'": "COMMENT ON TABLE kinds IS NULL",
    "INSERT INTO kinds SELECT id + 10, name FROM kinds": "DELETE FROM kinds WHERE id > 10",
    "CREATE TABLE c (a int); INSERT INTO c SELECT id FROM kinds": "DROP TABLE c",
    "CREATE TABLE d (a int); INSERT INTO d SELECT done FROM empties": "DROP TABLE d",
    "CREATE TABLE f (a int); INSERT INTO f SELECT done FROM names": "DROP TABLE f",
    "ALTER TABLE kinds RENAME name TO called": "ALTER TABLE kinds RENAME called TO name",
    "GRANT SELECT ON kinds TO PUBLIC": "REVOKE SELECT ON kinds FROM PUBLIC",
}
"""SQL forward and the SQL back that somebody wrote for it: some is sound, some is not, of some nobody can see it."""
HELD_BEFORE = (
    "CREATE TABLE kinds (id int PRIMARY KEY, name text); INSERT INTO kinds VALUES (1, 'a'), (2, 'b');"
    "COMMENT ON TABLE kinds IS 'all'; CREATE VIEW seen AS SELECT id FROM kinds;"
    "CREATE TABLE other (a int); INSERT INTO other VALUES (1);"
    "CREATE TABLE parent (a int); CREATE TABLE child (own int) INHERITS (parent); INSERT INTO child VALUES (1, 2);"
    "CREATE FUNCTION empty() RETURNS int LANGUAGE plpgsql AS 'BEGIN TRUNCATE other; RETURN 1; END';"
    "CREATE FUNCTION name() RETURNS int LANGUAGE plpgsql AS 'BEGIN ALTER TABLE other RENAME a TO b; RETURN 1; END';"
    "CREATE VIEW empties AS SELECT empty() AS done; CREATE VIEW names AS SELECT name() AS done"
)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(pieces=st.lists(st.sampled_from(tuple(PIECES)), min_size=1, max_size=3, unique=True))
def test_whatever_is_undone_comes_back_exactly_and_all_else_is_said(
    postgres_server: postgres.Postgres, monkeypatch: pytest.MonkeyPatch, pieces: list[str]
) -> None:
    with psycopg.connect(postgres_server.dsn(), autocommit=True) as server:
        server.execute("DROP DATABASE IF EXISTS shop WITH (FORCE)")
        server.execute("CREATE DATABASE shop")
    with psycopg.connect(postgres_server.dsn("shop"), autocommit=True) as session:
        session.execute(HELD_BEFORE)
    set_connection(monkeypatch, "migrations", conn_type="postgres", host="127.0.0.1", port=postgres_server.port,
                   login=postgres.ADMIN, password=postgres_server.password)
    migration = Migration(name="0001_x", up="; ".join(pieces), down="; ".join(PIECES[one] for one in reversed(pieces)))
    found, before = judge([migration]), dumped(postgres_server)
    try:
        apply(migration)
    except PermanentError:
        assert dumped(postgres_server) == before
        return
    after = dumped(postgres_server)
    if not found.migrations[0].undo:
        assert "cannot undo" in found.reason or found.verdict is not Reversal.REVERSIBLE
        return
    try:
        undo(migration)
    except PermanentError as error:
        assert "nothing was changed" in str(error)
        assert dumped(postgres_server) == after
    else:
        assert dumped(postgres_server) == before
