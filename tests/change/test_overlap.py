"""What two services share, by what it really is; and secrets that stand where an id of a connection belongs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from airlock.commands.main import main
from airlock.connections import visible
from airlock.errors import InvalidInput
from airlock.service.reading import load_file
from tests.commands.test_services_and_plan import ENVOY, PLAN
from tests.service_data import DELIVERY, TEXT, write

KEYS = (
    ("runtime_key: a", "runtime_key: z"),
    ("runtime_key: b", "runtime_key: y"),
)
SLOTS = (
    ('a: {address: "http://127.0.0.1:1"', 'a: {address: "http://127.0.0.1:3"'),
    ('b: {address: "http://127.0.0.1:2"', 'b: {address: "http://127.0.0.1:4"'),
)
OWN_SLOTS = (
    ("admin: http://127.0.0.1:1", "admin: http://127.0.0.1:5"),
    ("    folder: FOLDER/slots", "    folder: FOLDER/bar/slots"),
    ("fallback_folder: FOLDER/slots", "fallback_folder: FOLDER/bar/slots"),
    *KEYS,
    *SLOTS,
)
SETTINGS = "name: settings\n        kind: configuration\n        driver: env_file\n        options: {path: FOLDER/.env}"


def text_of(service: str, resource: str, *changes: tuple[str, str]) -> str:
    text = TEXT.replace(DELIVERY, ENVOY).replace(SETTINGS, resource)
    assert resource in text
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new)
    return text.replace("service: cafe", f"service: {service}")


def check(
    folder: Path, one: str, other: str, *changes: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> tuple[int, str]:
    """Check two services whose targets differ by *changes*, with one resource each."""
    write(folder, text_of("cafe", one))
    write(folder, text_of("bar", other, *(changes or OWN_SLOTS)), "bar.yaml")
    code = main(["services", "check", str(folder / "services")])
    return code, " ".join(capsys.readouterr().out.split())


def resource(kind: str, driver: str, options: str) -> str:
    return f"name: it\n        kind: {kind}\n        driver: {driver}\n        options: {{{options}}}"


@pytest.fixture(autouse=True)
def known(monkeypatch: pytest.MonkeyPatch) -> None:
    shop = {"conn_type": "postgres", "host": "DB.example", "login": "a", "password": "hidden"}
    vault = {"conn_type": "vault", "host": "http://vault.example"}
    aws = {"conn_type": "aws", "login": "AKIA", "extra": {"account_id": "123456789012", "region_name": "eu-central-1"}}
    given = {
        "owner": shop,
        "other": {**shop, "host": "db.example.", "login": "b", "port": 5432},
        "vault": vault,
        "vault2": vault,
        "aws": aws,
        "aws2": {**aws, "login": "ASIA"},
        "elsewhere": {**shop, "host": "db2.example"},
        "none": {"conn_type": "http"},
        "signing": {},
        "key": {},
    }
    for name, value in given.items():
        monkeypatch.setenv(f"AIRFLOW_CONN_{name.upper()}", json.dumps({"conn_type": "generic", **value}))


@pytest.mark.parametrize(
    ("one", "other", "shared"),
    [
        (
            resource("databases", "postgres", "connection: owner, database: shop"),
            resource("databases", "postgres", "connection: other, database: shop"),
            "postgresql://db.example:5432/shop",
        ),
        (
            resource("databases", "postgres", "connection: owner, database: shop"),
            resource("databases", "postgres", "connection: elsewhere, database: shop"),
            "",
        ),
        (
            resource("databases", "postgres", "connection: owner, database: shop"),
            resource("databases", "postgres", "connection: owner, database: bar"),
            "",
        ),
        (
            resource("storage", "directory", "path: FOLDER/data"),
            resource("storage", "directory", "path: FOLDER/data/"),
            "/data",
        ),
        (
            resource("storage", "directory", "path: FOLDER/data"),
            resource("configuration", "env_file", "path: FOLDER/data/x/.env"),
            "/data/x/.env",
        ),
        (
            resource("storage", "directory", "path: FOLDER/data"),
            resource("storage", "directory", "path: FOLDER/link/deep"),
            "/data/deep",
        ),
        (
            resource("storage", "directory", "path: FOLDER/data"),
            resource("storage", "directory", "path: FOLDER/data2"),
            "",
        ),
        (
            resource("configuration", "vault_kv", "connection: vault, mount: shop"),
            resource("configuration", "vault_kv", "connection: vault2, mount: shop, path: api"),
            "vault://vault.example:8200/shop/api",
        ),
        (
            resource("configuration", "vault_kv", "connection: vault, mount: shop"),
            resource("configuration", "vault_kv", "connection: vault2, mount: bar"),
            "",
        ),
        (
            resource("network", "aws_route53", "connection: aws, zone: shop.example"),
            resource("network", "aws_route53", "connection: aws2, zone: Shop.example."),
            "route53/shop.example",
        ),
        (
            resource("network", "aws_elbv2", "connection: aws, load_balancers: [a, b]"),
            resource("network", "aws_elbv2", "connection: aws2, load_balancers: [b, c]"),
            "eu-central-1/b",
        ),
        (
            resource("security", "aws_iam", "connection: aws, name_prefix: shop-"),
            resource("security", "aws_iam", "connection: aws2, name_prefix: shop-prod-"),
            "shop-prod-*",
        ),
        (
            resource("security", "aws_iam", "connection: aws, name_prefix: shop-"),
            resource("security", "aws_iam", "connection: aws2, name_prefix: bar-"),
            "",
        ),
    ],
)
def test_what_two_services_share_is_shown(tmp_path, capsys, one, other, shared):
    (tmp_path / "data").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "data")
    code, said = check(tmp_path, one, other, capsys=capsys)
    assert code == 0, said
    assert ("shared: " in said) == bool(shared), said
    assert shared in said and "hidden" not in said
    if shared:
        assert "bar live" in said and "cafe live" in said


ENV = resource("configuration", "env_file", "path: FOLDER/.env")
BAR = resource("configuration", "env_file", "path: FOLDER/bar.env")


@pytest.mark.parametrize(
    ("changes", "what", "shared"),
    [
        ([("description", "description")], "target", "http://127.0.0.1:1/"),
        (
            [
                ("folder: FOLDER/slots", "folder: FOLDER/bar"),
                ("admin: http://127.0.0.1:1", "admin: http://LOCALHOST:1"),
                *SLOTS,
            ],
            "router",
            "envoy://127.0.0.1:1/a",
        ),
        (
            [
                ("folder: FOLDER/slots", "folder: FOLDER/slots/deeper"),
                ("admin: http://127.0.0.1:1", "admin: http://127.0.0.1:5"),
                *SLOTS,
            ],
            "target",
            "/slots/deeper",
        ),
        (
            [
                ("folder: FOLDER/slots", "folder: FOLDER/bar"),
                ("admin: http://127.0.0.1:1", "admin: http://127.0.0.1:5"),
                *KEYS,
            ],
            "target",
            "http://127.0.0.1:1/",
        ),
    ],
)
def test_one_target_or_router_of_two_services_is_refused_with_its_line(tmp_path, capsys, changes, what, shared):
    code, said = check(tmp_path, ENV, BAR, *changes, capsys=capsys)
    assert code == 2
    assert f"environments.live.{what}: bar live {what} and cafe live {what} are the same" in said
    assert shared in said and f"give each a {what} of its own" in said and ".yaml:" in said


def test_one_server_that_shifts_for_two_services_is_shown_and_not_refused(tmp_path, capsys):
    changes = (("folder: FOLDER/slots", "folder: FOLDER/bar"), *KEYS, *SLOTS)
    code, said = check(tmp_path, ENV, BAR, *changes, capsys=capsys)
    assert code == 0
    assert "shared: bar live router and cafe live router" in said and "envoy://127.0.0.1:1" in said


SECRET = "s3cr3t-Hunter2"


@pytest.mark.parametrize(
    "given",
    [
        f"postgresql://owner:{SECRET}@db.example/shop",
        f"host=db.example user=owner password={SECRET}",
        f'{{"conn_type": "postgres", "password": "{SECRET}"}}',
        f"owner {SECRET}",
        f"owner:{SECRET}",
        f"{SECRET}@db",
        f"owner/{SECRET}",
        f"ghp_{SECRET}",
        f"hvs.{SECRET}CAESIJ",
        f"glpat-{SECRET}",
        f"{SECRET}==",
        f" {SECRET}",
        f"{SECRET}\n",
        f"ünïcode{SECRET}",
        "",
    ],
)
def test_a_connection_is_an_id_and_nothing_else_and_no_secret_is_said_again(tmp_path, capsys, given):
    for place in ("resource", "signing", "target"):
        text = text_of("cafe", resource("databases", "postgres", "connection: owner, database: shop"))
        old = {
            "resource": "connection: owner",
            "signing": "signing_connection: signing",
            "target": "supervisor_connection: none",
        }[place]
        folder = write(tmp_path, text.replace(old, f"{old.split(':')[0]}: {json.dumps(given)}")).parent
        assert main(["services", "check", str(folder)]) == 2
        assert main([*PLAN, "--folder", str(folder)]) == 2
        said = capsys.readouterr()
        assert ".yaml:" in said.out
        assert "is no id of an Airflow connection" in said.out or "has a password in an address" in said.out
        assert SECRET not in said.out + said.err


@pytest.mark.parametrize(
    "given", ["{password: s3cr3t-Hunter2}", "[s3cr3t-Hunter2]", "12345678901234", "!!binary s3cr3tHunter2aa"]
)
def test_what_is_no_text_is_not_said_again_either(tmp_path, capsys, given):
    text = text_of("cafe", ENV).replace("signing_connection: signing", f"signing_connection: {given}")
    assert main(["services", "check", str(write(tmp_path, text).parent)]) == 2
    said = "".join(capsys.readouterr())
    assert "signing_connection" in said
    assert "s3cr3t" not in said and "12345678901234" not in said


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("admin: http://127.0.0.1:1", f"admin: http://root:{SECRET}@127.0.0.1:1"),
        ("ledger: FOLDER/ledger", f"ledger: s3://KEY:{SECRET}@bucket/ledger"),
        ("path: FOLDER/.env", f"path: https://:{SECRET}@git.example/x"),
        ("description: A coffee house.", f"description: see postgresql://a:{SECRET}@b/c"),
    ],
)
def test_a_password_in_an_address_is_refused_wherever_it_stands(tmp_path, capsys, old, new):
    folder = write(tmp_path, text_of("cafe", ENV, (old, new))).parent
    assert main(["services", "check", str(folder)]) == 2
    said = "".join(capsys.readouterr())
    assert "has a password in an address" in said and SECRET not in said
    with pytest.raises(InvalidInput) as raised:
        load_file(folder / "cafe.yaml")
    assert SECRET not in str(raised.value)


def test_connections_that_are_not_known_are_named_where_they_can_be_seen(tmp_path, capsys, monkeypatch):
    text = text_of(
        "cafe",
        resource("databases", "postgres", "connection: ownr, database: shop"),
        ("signing_connection: signing", "signing_connection: sining"),
    )
    folder = write(tmp_path, text).parent
    assert visible()
    assert main(["services", "check", str(folder)]) == 2
    said = capsys.readouterr().out
    assert "resources.0.options.connection: Airflow has no connection 'ownr'" in said
    assert "signing_connection: Airflow has no connection 'sining'" in said
    (tmp_path / "cafe-1.1.bin").write_bytes(b"coffee")
    assert main([*PLAN, "--folder", str(folder)]) == 1
    said = capsys.readouterr().out
    assert "would be refused: Airflow has no connection 'ownr'" in said and "'sining'" in said
    monkeypatch.setattr("os.environ", {"PATH": "/bin"})
    assert not visible()
    assert main(["services", "check", str(folder)]) == 0
