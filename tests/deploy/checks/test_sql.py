"""The check ``sql`` against a real PostgreSQL, also one that falls silent."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import psycopg
import pytest

from airlock.deploy.check import open_check
from airlock.errors import InvalidInput
from airlock.models import Answer, CheckResult, PlannedCheck
from sandbox import postgres
from tests.contracts.check_contract import SECRET, Case, Cases, CheckContract, run
from tests.real_servers import set_connection

COUNT = "SELECT count(*) FROM guests"


@pytest.fixture(scope="module")
def database(postgres_server: postgres.Postgres) -> postgres.Postgres:
    with psycopg.connect(postgres_server.dsn(), autocommit=True) as session:
        session.execute("CREATE TABLE guests (id serial PRIMARY KEY, mail text, cents numeric, kind char(4))")
        session.execute("INSERT INTO guests (mail, cents, kind) VALUES (%s, 12.50, 'a'), ('b', 0.1, 'b')", [SECRET])
        session.execute("CREATE FUNCTION told() RETURNS int LANGUAGE plpgsql AS $$ DECLARE said text; BEGIN "
                        "SELECT mail INTO said FROM guests LIMIT 1; RAISE EXCEPTION 'mail %', said; END $$")
        session.execute("CREATE FUNCTION spoiled() RETURNS int LANGUAGE plpgsql AS $$ BEGIN "
                        "INSERT INTO guests (mail) VALUES ('new'); RETURN 1; END $$")
        session.execute("CREATE SEQUENCE numbers")
    return postgres_server


def connect(monkeypatch: pytest.MonkeyPatch, server: postgres.Postgres, name: str = "shop", **other: Any) -> None:
    set_connection(monkeypatch, name, **{
        "conn_type": "postgres", "host": "127.0.0.1", "port": server.port, "login": server.user,
        "password": server.password, "schema": "postgres", **other})


@pytest.fixture(autouse=True)
def shop(database: postgres.Postgres, monkeypatch: pytest.MonkeyPatch) -> None:
    connect(monkeypatch, database)
    connect(monkeypatch, database, "gone", port=9)
    connect(monkeypatch, database, "other", conn_type="mysql")


def asked(query: str, **options: Any) -> CheckResult:
    return run("sql", Case({"connection": "shop", "query": query, **options}))


class TestSql(CheckContract):
    name = "sql"

    @pytest.fixture
    def cases(self) -> Cases:
        mail = {"connection": "shop", "query": "SELECT mail FROM guests WHERE id = 1"}
        return Cases(
            good=Case({**mail, "value": {"not_equals": "nobody"}, "rows": {"equals": 1}}),
            bad=Case({**mail, "value": {"equals": "nobody"}}),
            away=Case({"connection": "gone", "query": COUNT, "value": {"equals": 2}}),
            silent=Case({"connection": "shop", "query": "SELECT mail, pg_sleep(600) FROM guests",
                         "rows": {"equals": 1}, "within_seconds": 0.3}),
        )


@pytest.mark.parametrize(
    ("query", "value", "answer"),
    [
        (COUNT, {"equals": 2}, "pass"), (COUNT, {"equals": 3}, "fail"), (COUNT, {"equals": "2"}, "fail"),
        (COUNT, {"at_least": 1, "at_most": 2}, "pass"), (COUNT, {"at_most": 1}, "fail"),
        (f"{COUNT} WHERE mail = 'nobody'", {"equals": 0}, "pass"),
        ("SELECT cents FROM guests WHERE id = 2", {"equals": 0.1}, "pass"),
        ("SELECT 0.1::float8", {"equals": 0.1}, "pass"), ("SELECT 0.1::real", {"equals": 0.1}, "pass"),
        ("SELECT true", {"equals": True}, "pass"), ("SELECT false", {"equals": True}, "fail"),
        ("SELECT 't'", {"equals": True}, "fail"), ("SELECT 1", {"equals": True}, "fail"),
        ("SELECT 'NaN'::numeric", {"at_least": 0}, "fail"), ("SELECT 'Infinity'::float8", {"at_least": 0}, "fail"),
        ("SELECT 9007199254740993", {"equals": 9007199254740992}, "fail"),
        ("SELECT 'ok'", {"equals": "ok"}, "pass"), ("SELECT '2026-01-02'::date", {"equals": "2026-01-02"}, "pass"),
        ("SELECT 'infinity'::timestamptz", {"equals": "infinity"}, "pass"), ("SELECT ''", {}, "pass"),
        ("SELECT '100%'", {"equals": "100%"}, "pass"), ("SELECT 1; ", {"equals": 1}, "pass"),
        ("SELECT 1 -- one", {"equals": 1}, "pass"), ("VALUES (1)", {"equals": 1}, "pass"),
        ("WITH one AS (SELECT 1) SELECT * FROM one", {"equals": 1}, "pass"),
        ("SELECT NULL", {}, "inconclusive"), ("SELECT NULL::int", {"at_most": 5}, "inconclusive"),
        ("SELECT max(cents) FROM guests WHERE id > 9", {"not_equals": 5}, "inconclusive"),
        ("SELECT mail FROM guests WHERE id > 9", {"equals": "x"}, "inconclusive"),
        ("SELECT mail FROM guests", {}, "error"), ("SELECT id, mail FROM guests WHERE id = 1", {}, "error"),
    ],
)  # fmt: skip
def test_only_the_one_value_that_fits_passes(query: str, value: dict[str, Any], answer: str) -> None:
    result = asked(query, value=value)
    assert result.verdict.answer == answer, result.verdict.sentence


@pytest.mark.parametrize(
    ("query", "rows", "answer"),
    [
        ("SELECT mail FROM guests", {"equals": 2}, "pass"), ("SELECT mail FROM guests", {"at_most": 1}, "fail"),
        ("SELECT mail FROM guests WHERE false", {"equals": 0}, "pass"),
        ("SELECT mail FROM guests WHERE false", {"at_least": 1}, "fail"),
        ("SELECT FROM guests", {"equals": 2}, "pass"),
        ("SELECT repeat('x', 100000) FROM generate_series(1, 20000)", {"equals": 20000}, "pass"),
        ("SELECT 1 FROM generate_series(1, 1000005)", {"at_least": 1000000}, "pass"),
        ("SELECT 1 FROM generate_series(1, 1000005)", {"equals": 1000000}, "fail"),
    ],
)  # fmt: skip
def test_rows_are_counted_by_the_server(query: str, rows: dict[str, int], answer: str) -> None:
    result = asked(query, rows=rows)
    assert result.verdict.answer == answer, result.verdict.sentence


@pytest.mark.parametrize(
    "query",
    [
        "INSERT INTO guests (mail) VALUES ('x') RETURNING 1", "DELETE FROM guests RETURNING 1",
        "WITH gone AS (DELETE FROM guests RETURNING id) SELECT count(*) FROM gone", "SELECT spoiled()",
        "SELECT nextval('numbers')", "SELECT 1; DROP TABLE guests", "SELECT 1; COMMIT; DROP TABLE guests",
        "SELECT set_config('transaction_read_only', 'off', false)", "SELECT 1 INTO other FROM guests",
        "SELECT 1 FROM guests FOR UPDATE", "COPY guests TO STDOUT", "CALL nothing()", "SET SESSION x.y = 1",
        "SELECT 1) TO STDOUT; --", "SELECT lo_create(0)", "CREATE TABLE other ()", "EXPLAIN ANALYZE DELETE FROM guests",
        "SELECT no_such_column FROM guests", "SELECT 1 FROM no_such_table", "nonsense", "SELECT 1 / 0",
        "SELECT mail::int FROM guests", "SELECT told()",
    ],
)  # fmt: skip
def test_what_is_no_plain_question_is_an_error_and_changes_nothing(database: postgres.Postgres, query: str) -> None:
    with psycopg.connect(database.dsn(), autocommit=True) as session:
        state = "SELECT (SELECT count(*) FROM guests), (SELECT is_called FROM numbers), count(*) FROM pg_class"
        before = session.execute(state).fetchone()
        result = asked(query, value={"not_equals": "x"})
        assert session.execute(state).fetchone() == before
        assert not session.execute("SELECT 1 FROM pg_locks WHERE mode = 'RowShareLock'").fetchall()
    assert result.verdict.answer is Answer.ERROR, result.verdict.sentence
    assert SECRET not in result.model_dump_json()


def test_a_query_that_waits_for_a_lock_is_ended(database: postgres.Postgres) -> None:
    with psycopg.connect(database.dsn()) as session:
        session.execute("LOCK TABLE guests IN ACCESS EXCLUSIVE MODE")
        result = asked(COUNT, value={"equals": 2}, within_seconds=0.3)
    assert result.verdict.answer is Answer.ERROR


def test_nothing_is_left_on_the_server_and_no_session_setting_outlives_the_check(database: postgres.Postgres) -> None:
    asked("SELECT pg_sleep(600)", value={}, within_seconds=0.3)
    with psycopg.connect(database.dsn(), autocommit=True) as session:
        left = session.execute("SELECT query FROM pg_stat_activity WHERE query LIKE '%pg_sleep(600)%' "
                               "AND pid <> pg_backend_pid() AND state = 'active'").fetchall()
    assert left == []


@contextmanager
def falling_silent(port: int, after_bytes: int) -> Iterator[int]:
    """A line to the server that passes on so many bytes of its answers, and then nothing more, without closing."""
    held: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with suppress(OSError):
                while True:
                    client, _ = listener.accept()
                    server = socket.create_connection(("127.0.0.1", port))
                    held.extend((client, server))
                    threading.Thread(target=pump, args=(client, server, 1 << 30), daemon=True).start()
                    threading.Thread(target=pump, args=(server, client, after_bytes), daemon=True).start()

        def pump(one: socket.socket, other: socket.socket, most: int) -> None:
            with suppress(OSError):
                while most > 0 and (data := one.recv(4096)):
                    other.sendall(data[:most])
                    most -= len(data)

        threading.Thread(target=serve, daemon=True).start()
        try:
            yield int(listener.getsockname()[1])
        finally:
            for one in held:
                one.close()


@pytest.mark.parametrize("after_bytes", [pytest.param(600, marks=pytest.mark.campaign), 700, 900, 1100])
def test_a_server_that_falls_silent_does_not_hold_the_task(
    database: postgres.Postgres, monkeypatch: pytest.MonkeyPatch, after_bytes: int
) -> None:
    monkeypatch.setattr("airlock.deploy.checks.sql._GRACE_SECONDS", 0.5)
    with falling_silent(database.port, after_bytes) as port:
        connect(monkeypatch, database, port=port)
        result = asked("SELECT repeat('x', 5000)", value={}, within_seconds=0.5)
    assert result.verdict.answer is Answer.ERROR


@pytest.mark.parametrize(("name", "says"), [("other", "only PostgreSQL"), ("nowhere", "no connection 'nowhere'")])
def test_a_connection_that_cannot_be_asked_is_an_error(name: str, says: str) -> None:
    result = run("sql", Case({"connection": name, "query": COUNT, "value": {"equals": 2}}))
    assert (result.verdict.answer, says in result.verdict.sentence) == (Answer.ERROR, True)


def test_a_password_that_is_refused_is_not_repeated(
    database: postgres.Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect(monkeypatch, database, password="wrong-and-secret")
    result = asked(COUNT, value={"equals": 2})
    assert result.verdict.answer is Answer.ERROR
    assert "wrong-and-secret" not in json.dumps(result.model_dump(mode="json"))


@pytest.mark.parametrize(
    "wrong",
    [{"query": ""}, {"query": "  "}, {"value": None}, {"value": {"equals": [1]}}, {"rows": {}},
     {"rows": {"equals": -1}}, {"rows": {"equals": 5_000_000}}, {"rows": {"equals": "2"}}, {"within_seconds": 0},
     {"connection": "postgresql://u:p@h/d"}, {"value": {"at_least": 2, "at_most": 1}}],
)  # fmt: skip
def test_wrong_options_stop(wrong: dict[str, Any]) -> None:
    options = {"connection": "shop", "query": COUNT, "value": {"equals": 2}, **wrong}
    with pytest.raises(InvalidInput):
        open_check(PlannedCheck(name="sql", options=options))


@pytest.mark.parametrize("seconds", [0.0001, 0.0004, 0.001])
def test_the_smallest_time_limit_is_one(seconds: float) -> None:
    """For PostgreSQL, a limit of 0 ms is none."""
    assert asked("SELECT pg_sleep(3)::text", rows={"equals": 1}, within_seconds=seconds).verdict.answer is Answer.ERROR
