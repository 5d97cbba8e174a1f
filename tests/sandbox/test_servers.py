"""Each server starts alone on a given port and folder, is seeded, and leaves nothing behind."""

from __future__ import annotations

import os
import stat
import subprocess
import time
from pathlib import Path

import psycopg
import pytest

from airlock.errors import TemporaryError
from sandbox import broker, moto, openbao, postgres, processes, reach, shop_database


def test_postgres_keeps_its_data_and_takes_a_new_password(open_folder: Path) -> None:
    folder, port = open_folder / "kept", reach.free_port()
    with postgres.start(folder, port, "first", databases=["shop_staging"]) as server:
        shop_database.ensure_role(server, shop_database.ROLE, "app")
        assert shop_database.seed(server, "staging")
        assert not shop_database.seed(server, "staging")
    assert not reach.listens(port)
    with postgres.start(folder, port, "it's another", databases=["shop_staging"]) as server:
        with psycopg.connect(server.dsn("shop_staging")) as connection:
            assert connection.execute("SELECT count(*) FROM orders").fetchone() == (shop_database.ORDERS["staging"],)
        with pytest.raises(psycopg.OperationalError, match="password"):
            psycopg.connect(server.dsn().replace("it%27s%20another", "first"))


def test_the_shop_may_write_orders_and_nothing_else(open_folder: Path) -> None:
    with postgres.start(open_folder / "shop", reach.free_port(), databases=["shop_prod"]) as server:
        shop_database.ensure_role(server, shop_database.ROLE, "app-secret")
        shop_database.seed(server, "prod")
        url = f"postgresql://{shop_database.ROLE}:app-secret@127.0.0.1:{server.port}/shop_prod"
        with psycopg.connect(url, autocommit=True) as shop:
            columns = "customer_id, item, quantity, price_cents"
            insert = f"INSERT INTO orders ({columns}) VALUES (1, 'cup', %s, 5) RETURNING id"
            assert shop.execute(insert, (1,)).fetchone() == (shop_database.ORDERS["prod"] + 1,)
            with pytest.raises(psycopg.errors.CheckViolation):
                shop.execute(insert, (0,))
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                shop.execute("DROP TABLE orders")
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                shop.execute("CREATE TABLE mine (id integer)")


def test_postgres_after_a_hard_end(open_folder: Path) -> None:
    folder, port = open_folder / "ended", reach.free_port()
    server = postgres.start(folder, port, "secret", databases=["kept"])
    os.kill(server.pid, 9)
    os.waitpid(server.pid, 0)
    server.stop()
    with postgres.start(folder, port, "secret") as server, psycopg.connect(server.dsn("kept")) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has folders that an unprivileged user cannot reach")
def test_postgres_as_root_below_a_private_folder(tmp_path: Path) -> None:
    private = tmp_path / "private"
    private.mkdir(mode=0o700)
    with postgres.start(private / "data", reach.free_port()) as server, psycopg.connect(server.dsn()) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)
        place = Path(str(connection.execute("SHOW data_directory").fetchone()[0]))  # type: ignore[index]
    assert place.is_relative_to("/var/tmp")
    assert stat.S_IMODE(private.stat().st_mode) == 0o700
    subprocess.run(["rm", "-rf", "--", str(place.parent)], check=True)


def test_openbao_policy_allows_scratch_mounts_only(tmp_path: Path) -> None:
    with openbao.start(tmp_path / "bao", reach.free_port(), "root-token") as server:
        headers = {"X-Vault-Token": server.backup_token}
        read = reach.call("GET", f"{server.url}/v1/shop-prod/data/app", headers=headers)
        assert read["data"]["metadata"]["version"] == 2
        kv = {"type": "kv", "options": {"version": "2"}}
        reach.call("POST", f"{server.url}/v1/sys/mounts/airlock-scratch-1", kv, headers)
        reach.call("POST", f"{server.url}/v1/airlock-scratch-1/data/a", {"data": {"b": 1}}, headers)
        reach.call("DELETE", f"{server.url}/v1/sys/mounts/airlock-scratch-1", None, headers)
        beyond = (("DELETE", "sys/mounts/shop-prod"), ("POST", "sys/mounts/other"), ("GET", "sys/policies/acl"))
        for method, path in beyond:
            with pytest.raises(OSError, match="403"):
                reach.call(method, f"{server.url}/v1/{path}", kv if method == "POST" else None, headers)


def test_openbao_does_not_take_the_port_after_its_own(tmp_path: Path) -> None:
    with openbao.start(tmp_path / "bao", reach.free_port()) as server:
        assert not reach.listens(server.port + 1)


def test_moto_is_seeded(tmp_path: Path) -> None:
    with moto.start(tmp_path / "moto", reach.free_port()) as server:
        records = server.client("route53").list_resource_record_sets(HostedZoneId=server.zone_id)["ResourceRecordSets"]
        assert {record["Type"] for record in records} >= {"A", "MX", "TXT", "CNAME", "SRV"}
        roles = {role["RoleName"] for role in server.client("iam").list_roles()["Roles"]}
        assert roles == {"shop-app", "shop-deploy", "shop-reports"}
        balancing = server.client("elbv2")
        for _, arn in server.load_balancers:
            listener = balancing.describe_listeners(LoadBalancerArn=arn)["Listeners"][0]["ListenerArn"]
            assert len(balancing.describe_rules(ListenerArn=listener)["Rules"]) == 4


def test_a_server_on_a_busy_port_is_refused_with_its_log(tmp_path: Path) -> None:
    with openbao.start(tmp_path / "one", reach.free_port()) as first:
        with pytest.raises(TemporaryError, match="address already in use"):
            openbao.start(tmp_path / "two", first.port)
        assert reach.listens(first.port)


def test_the_broker_keeps_what_is_queued_and_its_password_is_on_no_command_line(tmp_path: Path) -> None:
    import psutil
    import redis

    port = reach.free_port()
    server = broker.start(tmp_path / "broker of tasks", port, "its-secret")
    with redis.Redis("127.0.0.1", port, password="its-secret") as queue:
        queue.lpush("tasks", "one", "two")
    with pytest.raises(redis.AuthenticationError), redis.Redis("127.0.0.1", port) as stranger:
        stranger.ping()
    process = psutil.Process(server.pid)
    assert "its-secret" not in " ".join(process.cmdline())
    assert {one.laddr.ip for one in process.net_connections() if one.status == psutil.CONN_LISTEN} == {"127.0.0.1"}
    assert stat.S_IMODE((tmp_path / "broker of tasks/redis.conf").stat().st_mode) == 0o600
    time.sleep(1.5)  # it writes to disk once a second
    os.kill(server.pid, 9)
    os.waitpid(server.pid, 0)
    server.stop()
    with broker.start(tmp_path / "broker of tasks", port, "its-secret"), redis.Redis(
            "127.0.0.1", port, password="its-secret") as queue:  # fmt: skip
        assert queue.lrange("tasks", 0, -1) == [b"two", b"one"]
    assert processes.names(tmp_path / "broker of tasks") == []
