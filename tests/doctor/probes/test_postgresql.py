"""Rights at a real PostgreSQL: what a role may do, taken away one by one."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from airlock.backup.drivers.databases.postgres import PostgresDriver, PostgresOptions
from airlock.doctor.finding import Finding, Gravity, Subject
from airlock.doctor.probes import postgresql
from airlock.errors import AirlockError
from sandbox import postgres
from tests.real_servers import postgres_server, set_connection

__all__ = ["postgres_server"]
ROLE, SECRET = "least", "hunter2"
GIVEN = {
    "createdb": ("ALTER ROLE least CREATEDB", "ALTER ROLE least NOCREATEDB", "may not create databases"),
    "signal": ("GRANT pg_signal_backend TO least", "REVOKE pg_signal_backend FROM least", "may not end sessions"),
    "owner": ("GRANT shop_owner TO least", "REVOKE shop_owner FROM least", "is no member of shop_owner"),
}


@pytest.fixture(scope="module")
def server(postgres_server: postgres.Postgres) -> Iterator[postgres.Postgres]:
    with psycopg.connect(postgres_server.dsn("postgres"), autocommit=True) as admin:
        admin.execute("CREATE ROLE shop_owner")
        admin.execute(f"CREATE ROLE {ROLE} LOGIN PASSWORD '{SECRET}'")
        admin.execute("CREATE DATABASE cafe OWNER shop_owner")
        for give, _, _ in GIVEN.values():
            admin.execute(give)
    with psycopg.connect(postgres_server.dsn("cafe"), autocommit=True) as inside:
        inside.execute("CREATE TABLE orders (id int)")
        inside.execute("ALTER TABLE orders OWNER TO shop_owner")
    yield postgres_server


def asked(server: postgres.Postgres, monkeypatch: pytest.MonkeyPatch, password: str = SECRET) -> list[Finding]:
    set_connection(monkeypatch, "p", conn_type="postgres", host="127.0.0.1", port=server.port, login=ROLE,
                   password=password, schema="cafe")  # fmt: skip
    bound = PostgresDriver.needs.bound(PostgresOptions(connection="p", database="cafe"))
    return list(postgresql.ask(Subject("resources", "databases.cafe"), "p", "cafe", bound.permissions, ()))


def test_a_role_with_what_is_declared_is_fine(server: postgres.Postgres, monkeypatch: pytest.MonkeyPatch) -> None:
    assert {one.gravity for one in asked(server, monkeypatch)} == {Gravity.FINE}


@pytest.mark.parametrize("name", sorted(GIVEN))
def test_each_right_that_is_missing_is_named_with_how_to_give_it(
    server: postgres.Postgres, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    give, take, said = GIVEN[name]
    with psycopg.connect(server.dsn("postgres"), autocommit=True) as admin:
        admin.execute(take)
        try:
            found = [one for one in asked(server, monkeypatch) if one.gravity is Gravity.FAULT]
        finally:
            admin.execute(give)
    assert any(said in one.what for one in found), found
    assert all("least" in one.mend or "owner" in one.mend for one in found)


def test_a_table_that_the_role_may_not_read_is_named(
    server: postgres.Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    with psycopg.connect(server.dsn("cafe"), autocommit=True) as inside:
        inside.execute("CREATE TABLE hidden (id int)")
        try:
            found = [one.what for one in asked(server, monkeypatch) if one.gravity is Gravity.FAULT]
        finally:
            inside.execute("DROP TABLE hidden")
    assert any("may not read hidden" in one for one in found), found


def test_a_wrong_password_is_told_without_it(server: postgres.Postgres, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(AirlockError) as told:
        asked(server, monkeypatch, "hunter3")
    assert "password authentication failed" in str(told.value)
    assert "hunter3" not in str(told.value)


def test_a_server_that_takes_the_connection_and_says_nothing_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    import socket

    from airlock.doctor.asking import Question, ask_all

    with socket.create_server(("127.0.0.1", 0)) as silent:
        set_connection(monkeypatch, "p", conn_type="postgres", host="127.0.0.1", port=silent.getsockname()[1],
                       login=ROLE, password=SECRET, schema="cafe")  # fmt: skip
        subject = Subject("migrations", "p")
        (found,) = ask_all([Question(subject, "asked", lambda one: postgresql.connects(one, "p"), seconds=15)])
    assert found.gravity is Gravity.FAULT


def test_programs_older_than_the_server_are_a_fault(server: postgres.Postgres, monkeypatch: pytest.MonkeyPatch,
                                                    tmp_path) -> None:  # fmt: skip
    from airlock.models.needs import Program, Stage

    (tmp_path / "pg_dump").write_text("#!/bin/sh\necho 'pg_dump (PostgreSQL) 12.22 (Debian 12.22-1)'\n")
    (tmp_path / "pg_dump").chmod(0o755)
    set_connection(monkeypatch, "p", conn_type="postgres", host="127.0.0.1", port=server.port, login=ROLE,
                   password=SECRET, schema="cafe")  # fmt: skip
    program = Program(name="pg_dump", folder=str(tmp_path), stages=(Stage.BACKUP,))
    found = postgresql.ask(Subject("resources", "databases.cafe"), "p", "cafe", (), (program,))
    (fault,) = [one for one in found if one.gravity is Gravity.FAULT]
    assert "has version 12, and the server has version" in fault.what
