"""What a resource really is: the same by whichever name, other by whatever makes it another one."""

from __future__ import annotations

import json

import pytest

from airlock import registry
from airlock.backup.drivers.databases.postgres import PostgresOptions
from airlock.errors import UnknownName
from airlock.identity import address_identity, aws_identity, file_identity, kubernetes_identity, server_identity
from airlock.service.touched import touched
from tests.flow.operators.test_approval import FORM
from tests.real_servers import set_connection
from tests.recompute.flown import delivered
from tests.service_data import environment


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ("/srv/app/.env", "file:///srv/app/.env"),
        ("/srv//app/../app/.env", "file:///srv/app/.env"),
        ("file:///srv/app", "file:///srv/app"),
        ("s3://bucket/state/", "s3://bucket/state"),
    ],
)
def test_files(given, found):
    assert file_identity(given) == found


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ("http://LOCALHOST:9901", "127.0.0.1:9901"),
        ("https://db.example.", "db.example:443"),
        ("db.example", "db.example:"),
        ("[::1]:5432", "127.0.0.1:5432"),
    ],
)
def test_addresses(given, found):
    assert address_identity(given) == found


def test_the_same_database_by_two_connections_is_one(monkeypatch):
    set_connection(monkeypatch, "one", conn_type="postgres", host="DB.example", login="a", password="secret-a")
    set_connection(monkeypatch, "other", conn_type="postgres", host="db.example", port=5432, login="b", password="b")
    set_connection(monkeypatch, "third", conn_type="postgres", host="db.example", port=5433, password="b")
    (found,) = PostgresOptions(connection="one", database="shop").identities()
    assert found == "postgresql://db.example:5432/shop" == server_identity("postgresql", "other", 5432, "shop")
    assert server_identity("postgresql", "third", 5432, "shop") != found
    with pytest.raises(UnknownName):
        server_identity("postgresql", "nowhere", 5432, "shop")


def test_aws_accounts_are_told_apart_and_keys_of_one_account_are_not(monkeypatch):
    role = {"role_arn": "arn:aws:iam::123456789012:role/deploy"}
    set_connection(monkeypatch, "a", conn_type="aws", login="AKIA1", extra=role)
    set_connection(monkeypatch, "b", conn_type="aws", login="AKIA2", extra={"account_id": "123456789012"})
    set_connection(monkeypatch, "c", conn_type="aws", login="AKIA3", extra={"account_id": "210987654321"})
    first = aws_identity("a", "route53", "Z1")
    assert first == "aws://amazonaws.com/123456789012/route53/Z1" == aws_identity("b", "route53", "Z1")
    assert aws_identity("c", "route53", "Z1") != first


def test_a_cluster_is_told_by_its_api_server(monkeypatch, tmp_path):
    config = tmp_path / "config"
    config.write_text(json.dumps({
        "current-context": "x", "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        "clusters": [{"name": "c", "cluster": {"server": "https://k8s.example:6443"}}],
    }))
    set_connection(monkeypatch, "k", conn_type="kubernetes", extra={"kube_config_path": str(config)})
    set_connection(monkeypatch, "lost", conn_type="kubernetes", extra={"kube_config_path": "/nowhere/config"})
    assert kubernetes_identity("k", "shop") == "kubernetes://k8s.example:6443/shop"
    assert kubernetes_identity("lost", "shop") == "kubernetes://nowhere/config/shop"


def test_every_driver_says_what_it_touches_and_targets_do_too():
    tables = ((registry.DRIVERS, "driver"), (registry.TARGETS, "target"), (registry.ROUTERS, "router"))
    without = [name for table, what in tables for name in table
               if "identities" not in vars(registry.resolve(table, what, name).Options)]
    assert not without, f"only the very same options would conflict: {without}"


def test_a_release_touches_its_target_and_resources_and_a_rollback_its_target(tmp_path):
    from airlock.change.rfc import rfc_from_form

    cafe = environment(tmp_path, *delivered(tmp_path))
    rfc = rfc_from_form(FORM, "rita", cafe)
    found = touched(cafe, rfc)
    assert found == (
        "envoy://127.0.0.1:1/k", "envoy://127.0.0.1:1/l", f"file://{tmp_path}", f"file://{tmp_path}/.env",
        "http://127.0.0.1:1/", "http://127.0.0.1:2/",
    )
    back = touched(cafe, rfc.model_copy(update={"change_type": "rollback"}))
    assert f"file://{tmp_path}/.env" not in back
