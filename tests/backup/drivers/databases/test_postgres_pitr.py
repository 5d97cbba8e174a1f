"""The driver ``postgres_pitr`` against a real PostgreSQL 18: the contract."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

from airlock.backup import archive
from airlock.backup.driver import Place
from airlock.backup.drivers.databases.postgres_pitr import PostgresPitrDriver
from airlock.backup.drivers.databases.postgres_restored import BASE, KEY, LOG
from airlock.backup.drivers.databases.postgres_scratch_server import Account, ScratchServer, account
from airlock.backup.store import BackupStore
from airlock.models import Kind, Resource
from tests.backup.drivers.databases.test_postgres import SCHEMA
from tests.backup.drivers.databases.whole_server import PASSWORD, WholeServer, whole_server
from tests.contracts.driver_contract import Case, DriverContract, Useless, digest
from tests.contracts.driver_forms import EDGE_NAMES, Damage, Form
from tests.real_servers import set_connection

pytestmark = pytest.mark.campaign


@pytest.fixture(scope="module")
def server(open_folder: Path) -> Iterator[WholeServer]:
    with whole_server(open_folder, "--wal-segsize=1") as found:
        yield found


@pytest.fixture
def shop(server: WholeServer, monkeypatch: pytest.MonkeyPatch) -> WholeServer:
    """The server, with one database that holds something, and roles."""
    set_connection(
        monkeypatch,
        "whole",
        conn_type="postgres",
        host="127.0.0.1",
        port=server.port,
        login="chief",
        password=PASSWORD,
        schema="postgres",
    )
    for (name,) in server.run(
        "SELECT datname FROM pg_database WHERE datname NOT IN ('postgres', 'template0', 'template1')"
    ):
        server.run(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))
    for role in ("app_owner", "app_reader"):
        server.run(f"DO $$ BEGIN CREATE ROLE {role}; EXCEPTION WHEN duplicate_object THEN NULL; END $$")
    server.run("CREATE DATABASE shop", "ALTER DATABASE shop SET work_mem TO '8MB'")
    server.run(SCHEMA, "CREATE UNLOGGED TABLE public.cache AS SELECT 1 AS a", database="shop")
    return server


def driver(store: BackupStore, server: WholeServer, **options: Any) -> PostgresPitrDriver:
    given = {"connection": "whole", "programs": str(server.programs), **options}
    return PostgresPitrDriver(Resource(name="whole", kind=Kind.DATABASES, driver="postgres_pitr", options=given), store)


def way_back(server: WholeServer) -> dict[str, Any]:
    return {"data_directory": str(server.data), "stop": server.stop, "start": server.start}


def inside(server: WholeServer, place: Place, *statements: str) -> list[tuple[Any, ...]]:
    """Run *statements* in the database shop of what was restored into *place*, by a server of its own."""
    user = account("", "test")
    scratch = ScratchServer(Path(place.folder), str(server.programs / "postgres"), user, "test")
    with (
        scratch.running("chief", {"max_prepared_transactions": "5"}),
        psycopg.connect(**scratch.parameters("chief", "shop"), autocommit=True) as session,
    ):
        for statement in statements:
            found = session.execute(statement)
        return found.fetchall() if found.description else []


def left_over(place: Place) -> list[str]:
    """What is left of a scratch server: its socket, or a process that works in its folder."""
    scratch = ScratchServer(Path(place.folder), "", Account(), "test")
    found = [str(scratch.socket)] if scratch.socket.exists() else []
    for process in Path("/proc").glob("[0-9]*/cwd"):
        try:
            at = str(process.readlink())
        except OSError:
            continue
        found += [str(process)] if at.startswith(place.folder) else []
    return found


def without_members(content: bytes, keep: Callable[[tarfile.TarInfo], bool], change: Callable[[bytes], bytes]) -> bytes:
    """Return an archive with the members that *keep* lets through, their content as *change* makes it."""
    out = io.BytesIO()
    with tarfile.open(fileobj=io.BytesIO(content)) as old, tarfile.open(fileobj=out, mode="w") as new:
        for member in old:
            if keep(member):
                data = change(old.extractfile(member).read()) if member.isfile() else b""
                member.size = len(data)
                new.addfile(member, io.BytesIO(data))
    return out.getvalue()


def damaged_page(content: bytes) -> bytes:
    """Return the files of a server in one of which a bit is another one."""
    found = bytearray(content)
    at = found.index(b"Gr\xc3\xbc\xc3\x9fe 77")
    found[at] ^= 1
    return bytes(found)


class TestPostgresPitr(DriverContract):
    @pytest.fixture
    def scratch_root(self, open_folder: Path) -> Path:
        return open_folder / "scratch"

    @pytest.fixture
    def case(self, store: BackupStore, shop: WholeServer) -> Case:
        def run(*statements: str, database: str = "shop") -> None:
            shop.run(*statements, database=database)

        def look() -> str:
            rows = []
            for (name,) in shop.run("SELECT datname FROM pg_database WHERE datallowconn ORDER BY 1"):
                for (table,) in shop.run(
                    "SELECT oid::regclass::text FROM pg_class WHERE relkind = 'r' AND relpersistence = "
                    "'p' AND relnamespace <> 'information_schema'::regnamespace AND relname !~ '^pg_' "
                    "AND relname !~ '^sql_' ORDER BY 1",
                    database=name,
                ):
                    rows.append(
                        [name, table, shop.run(f"SELECT md5(t::text::bytea) FROM {table} t ORDER BY 1", database=name)]
                    )
            rows.append(
                shop.run(
                    "SELECT datname, datacl::text, setconfig::text FROM pg_database d LEFT JOIN "
                    "pg_db_role_setting s ON s.setdatabase = d.oid ORDER BY 1, 3"
                )
            )
            rows.append(shop.run("SELECT rolname, rolpassword FROM pg_authid WHERE rolname !~ '^pg_' ORDER BY 1"))
            return digest(rows)

        def table(name: str) -> str:
            return sql.SQL("CREATE TABLE {} ({} int)").format(*[sql.Identifier(name)] * 2).as_string(None)

        def in_bytes() -> None:
            run(
                "DROP DATABASE shop",
                "CREATE DATABASE shop TEMPLATE template0 ENCODING 'SQL_ASCII' LOCALE 'C'",
                database="postgres",
            )
            run(SCHEMA, 'INSERT INTO public."odd ""name" VALUES (E\'\\xe4\\xff\')')

        first = "sales.orders (customer, cents) SELECT 1, 1 FROM generate_series(1, 20000)"
        return Case(
            driver=driver(store, shop, **way_back(shop)),
            change=lambda: run("UPDATE sales.orders SET cents = cents + 1", "CREATE TABLE IF NOT EXISTS later (a int)"),
            spoil=lambda place: inside(shop, place, "DELETE FROM sales.orders WHERE id = 5"),
            origin=look,
            useless=(
                Useless("no archive", "archive", BASE, lambda _: b"SELECT 1;"),
                Useless("a page", "pg_verifybackup", BASE, damaged_page),
                Useless(
                    "a file",
                    "pg_verifybackup",
                    BASE,
                    lambda content: without_members(content, lambda one: one.name != "global/pg_filenode.map", bytes),
                ),
                Useless("no log", "is missing", LOG, lambda _: archive.end()),
                Useless(
                    "half a segment",
                    "1048576 bytes",
                    LOG,
                    lambda content: without_members(content, lambda _: True, lambda data: data[: len(data) // 2]),
                ),
                Useless(
                    "an empty log",
                    "does not come up",
                    LOG,
                    lambda content: without_members(content, lambda _: True, lambda data: bytes(len(data))),
                ),
                Useless("no key", KEY, KEY, lambda _: b"{"),
                Useless(
                    "another key", "database postgres comment", KEY, lambda _: json.dumps({"digest_key": "00"}).encode()
                ),
            ),
            left_over=left_over,
            secrets=("Grüße 77", PASSWORD),
            restored=look,
            damages={
                "emptied": Damage(lambda: run("DROP DATABASE shop WITH (FORCE)", database="postgres")),
                "added": Damage(lambda: run("CREATE DATABASE later", "CREATE ROLE someone", database="postgres")),
                "settings": Damage(
                    lambda: run(
                        "ALTER DATABASE shop RESET ALL",
                        "ALTER ROLE app_reader PASSWORD 'x'",
                        "GRANT ALL ON DATABASE shop TO app_reader",
                        database="postgres",
                    )
                ),
                "gone": "a server that is gone has no machine for the driver to act on",
                "taken": "a server and what is in it are taken together: nothing can take the name of a part",
                "linked": "a data directory that is a link is refused: see test_postgres_pitr_server.py",
            },
            forms={
                "text that is not UTF-8": Form(in_bytes),
                "names at the edges": Form(
                    lambda: run(*map(table, EDGE_NAMES), 'CREATE DATABASE "two words; \'=\\ \U0001f6a2"')
                ),
                "modes and owners": Form(
                    lambda: run(
                        "ALTER TABLE public.customers OWNER TO app_owner",
                        "REVOKE ALL ON public.customers FROM app_owner",
                    )
                ),
                "disappears while it is read": Form(
                    during=lambda: run("DELETE FROM sales.orders", "DROP TABLE sales.events")
                ),
                "grows while it is read": Form(
                    during=lambda: run(f"INSERT INTO {first}", "CREATE TABLE meanwhile (a int)")
                ),
                "empty": Form(lambda: run("TRUNCATE sales.orders, public.customers, sales.events, public.cache")),
                "huge": Form(
                    lambda: run(
                        'INSERT INTO public."odd ""name" SELECT repeat(\'x\', 30000000)',
                        "CREATE TABLE many AS SELECT generate_series(1, 200000) AS n",
                        "SELECT lo_from_bytea(4712, repeat('y', 5000000)::bytea)",
                    )
                ),
                "deeply nested": Form(
                    lambda: run(
                        "CREATE TABLE deep AS SELECT (repeat('[', 3000) || repeat(']', 3000))::jsonb AS j",
                        "CREATE VIEW v0 AS SELECT 1 AS a",
                        *(f"CREATE VIEW v{n + 1} AS SELECT a FROM v{n}" for n in range(60)),
                    )
                ),
            },
        )
