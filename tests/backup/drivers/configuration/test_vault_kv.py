"""The driver ``vault_kv`` against a real OpenBao, directly and behind a proxy that fails."""

from __future__ import annotations

import json
import logging
import secrets
from typing import Any

import hvac
import pytest

from airlock.backup.driver import Place
from airlock.backup.drivers.configuration.vault_kv import VaultKvDriver
from airlock.backup.store import BackupStore
from airlock.errors import InvalidInput, PermanentError, TemporaryError
from airlock.models import Kind, RecoveryPoint, Resource
from sandbox import openbao
from tests.contracts.driver_contract import Case, DriverContract, Useless, digest, documents, without
from tests.contracts.driver_forms import Damage, Form
from tests.faulty_proxy import Fault, faulty_proxy
from tests.real_servers import set_connection

SCRATCH = Place(name="proof1")
ORIGIN = Place(origin=True)


@pytest.fixture(autouse=True)
def connections(openbao_server: openbao.OpenBao, monkeypatch: pytest.MonkeyPatch) -> None:
    set_connection(
        monkeypatch, "test_vault", conn_type="vault", host=openbao_server.url, password=openbao_server.backup_token
    )
    set_connection(
        monkeypatch,
        "test_hook",
        conn_type="vault",
        host="127.0.0.1",
        port=openbao_server.port,
        password=openbao_server.backup_token,
    )


@pytest.fixture
def root(openbao_server: openbao.OpenBao) -> Any:
    return hvac.Client(url=openbao_server.url, token=openbao_server.token)


def driver(store: BackupStore, **options: Any) -> VaultKvDriver:
    given = {"connection": "test_vault", "mount": "shop-prod", **options}
    return VaultKvDriver(Resource(name="secrets", kind=Kind.CONFIGURATION, driver="vault_kv", options=given), store)


def take(subject: VaultKvDriver, token: str = "point-1") -> RecoveryPoint:
    return subject.finish(subject.start(token))


@pytest.mark.parametrize("connection", ["test_vault", "test_hook"])
def test_every_key_is_compared_after_a_restore_and_nothing_is_left(
    store: BackupStore, root: Any, connection: str
) -> None:
    subject = driver(store, connection=connection)
    point = take(subject)
    subject.restore(point, SCRATCH)
    checks = subject.prove(point, SCRATCH)
    assert [check for check in checks if not check.ok] == []
    assert {"content of payment/provider#api_key", "content of app#SESSION_KEY", "content of mail/smtp"} <= {
        check.name for check in checks
    }
    subject.discard(SCRATCH)
    subject.discard(SCRATCH)
    assert "airlock-scratch-proof1/" not in root.sys.list_mounted_secrets_engines()["data"]


def test_only_the_path_is_taken_with_custom_metadata_and_without_deleted_secrets(store: BackupStore, root: Any) -> None:
    kv = root.secrets.kv.v2
    kv.create_or_update_secret("payment/gone", {"a": "1"}, mount_point="shop-prod")
    kv.delete_latest_version_of_secret("payment/gone", mount_point="shop-prod")
    kv.create_or_update_secret("payment", {"beside": "the folder"}, mount_point="shop-prod")
    kv.update_metadata("payment/webhooks", mount_point="shop-prod", custom_metadata={"owner": "till"})
    subject = driver(store, path="payment")
    point = take(subject)
    assert set(subject.stored_documents(point)) == {"payment/provider", "payment/webhooks"}
    subject.restore(point, SCRATCH)
    assert all(check.ok for check in subject.prove(point, SCRATCH))
    held = kv.read_secret_metadata("payment/webhooks", mount_point="airlock-scratch-proof1")["data"]
    assert held["custom_metadata"] == {"owner": "till"}
    subject.discard(SCRATCH)


def test_one_changed_missing_or_added_key_fails_the_proof(store: BackupStore, root: Any) -> None:
    subject = driver(store)
    point = take(subject)
    subject.restore(point, SCRATCH)
    kv = root.secrets.kv.v2
    values = kv.read_secret_version("mail/smtp", mount_point="airlock-scratch-proof1", raise_on_deleted_version=True)
    changed = {**values["data"]["data"], "port": 25, "more": 1}
    del changed["host"]
    kv.create_or_update_secret("mail/smtp", changed, mount_point="airlock-scratch-proof1")
    broken = {check.name for check in subject.prove(point, SCRATCH) if not check.ok}
    assert broken == {
        "names of documents",
        "content of mail/smtp",
        "content of mail/smtp#host",
        "content of mail/smtp#port",
    }
    subject.discard(SCRATCH)


def test_a_restore_into_the_origin_writes_new_versions_and_removes_later_secrets(store: BackupStore, root: Any) -> None:
    kv = root.secrets.kv.v2
    subject = driver(store, mount="shop-staging")
    point = take(subject)
    before = kv.read_secret_version("app", mount_point="shop-staging", raise_on_deleted_version=True)["data"]
    kv.create_or_update_secret("app", {"SESSION_KEY": "other"}, mount_point="shop-staging")
    kv.create_or_update_secret("later/one", {"a": 1}, mount_point="shop-staging")
    kv.delete_metadata_and_all_versions("mail/smtp", mount_point="shop-staging")
    subject.restore(point, ORIGIN)
    assert [check for check in subject.prove(point, ORIGIN) if not check.ok] == []
    after = kv.read_secret_version("app", mount_point="shop-staging", raise_on_deleted_version=True)["data"]
    assert after["data"] == before["data"]
    assert after["metadata"]["version"] == before["metadata"]["version"] + 2
    kv.undelete_secret_versions("later/one", [1], mount_point="shop-staging")
    subject.restore(point, ORIGIN)
    assert (
        kv.read_secret_version("app", mount_point="shop-staging", raise_on_deleted_version=True)["data"]["metadata"]
        == after["metadata"]
    )


def test_no_value_is_in_facts_logs_or_the_stored_bytes(
    store: BackupStore, root: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    subject = driver(store)
    point = take(subject)
    subject.restore(point, SCRATCH)
    seen = subject.inspect().model_dump_json() + point.model_dump_json() + caplog.text
    seen += json.dumps([check.model_dump() for check in subject.prove(point, SCRATCH)])
    subject.discard(SCRATCH)
    for path, document in subject.stored_documents(point).items():
        for value in document.get("data", {}).values():
            if isinstance(value, str) and len(value) > 8:
                assert value not in seen, path
    assert take(subject, "point-2").facts != point.facts  # each point has a key of its own


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (Fault(status=429), TemporaryError),
        (Fault(status=503, body=b'{"errors": ["Vault is sealed"]}', content_type="application/json"), TemporaryError),
        (Fault(status=502, body=b"<html>bad gateway</html>"), TemporaryError),
        (Fault(status=200, body=b"<html>log in to the wifi</html>"), TemporaryError),
        (Fault(drop=True), TemporaryError),
        (Fault(status=403, body=b'{"errors": ["permission denied"]}', content_type="application/json"), PermanentError),
    ],
)
def test_failing_answers_are_named_as_what_they_are(
    store: BackupStore,
    openbao_server: openbao.OpenBao,
    monkeypatch: pytest.MonkeyPatch,
    fault: Fault,
    error: type[Exception],
) -> None:
    with faulty_proxy(openbao_server.url) as proxy:
        set_connection(
            monkeypatch, "test_vault", conn_type="vault", host=proxy.url, password=openbao_server.backup_token
        )
        proxy.always(fault)
        with pytest.raises(error, match=r"configuration\.secrets") as caught:
            driver(store).inspect()
    assert openbao_server.backup_token not in str(caught.value)


def test_a_slow_server_is_waited_for(
    store: BackupStore, openbao_server: openbao.OpenBao, monkeypatch: pytest.MonkeyPatch
) -> None:
    with faulty_proxy(openbao_server.url) as proxy:
        set_connection(
            monkeypatch, "test_vault", conn_type="vault", host=proxy.url, password=openbao_server.backup_token
        )
        proxy.always(Fault(delay=0.1))
        assert driver(store).inspect().present


def test_bad_options_and_empty_places(store: BackupStore) -> None:
    with pytest.raises(InvalidInput, match="nothing is there"):
        take(driver(store, path="no/such/path"))
    with pytest.raises(InvalidInput, match="mount"):
        driver(store, mount="../sys")
    with pytest.raises(InvalidInput, match="origin"):
        driver(store).discard(ORIGIN)
    assert not driver(store, mount="elsewhere").inspect().present
    with pytest.raises(InvalidInput, match="nothing is there"):
        take(driver(store, mount="elsewhere"))


class TestContract(DriverContract):
    @pytest.fixture
    def case(self, store: BackupStore, root: Any) -> Case:
        kv = root.secrets.kv.v2
        for path in kv.list_secrets("", mount_point="shop-staging")["data"]["keys"]:
            if path.startswith("later-"):
                kv.delete_metadata_and_all_versions(path, mount_point="shop-staging")
        secret = secrets.token_hex(12)
        kv.create_or_update_secret("app", {"SESSION_KEY": secret}, mount_point="shop-staging")

        def change() -> None:
            kv.create_or_update_secret("app", {"SESSION_KEY": secrets.token_hex(12)}, mount_point="shop-staging")
            kv.create_or_update_secret(f"later-{secrets.token_hex(4)}", {"a": 1}, mount_point="shop-staging")

        def spoil(place: Place) -> None:
            kv.create_or_update_secret("app", {"SESSION_KEY": "x"}, mount_point=f"airlock-scratch-{place.name}")

        def left_over(place: Place) -> list[str]:
            return [name for name in root.sys.list_mounted_secrets_engines()["data"] if name.startswith("airlock-")]

        def held(folder: str = "") -> list[Any]:
            keys = kv.list_secrets(folder, mount_point="shop-staging")["data"]["keys"]
            found: list[Any] = [one for key in keys if key.endswith("/") for one in held(folder + key)]
            for path in (folder + key for key in keys if not key.endswith("/")):
                answer = kv.read_secret_version(path, mount_point="shop-staging", raise_on_deleted_version=False)
                found.append([path, answer["data"]])
            return found

        def kept() -> list[Any]:
            return [one for one in without(held(), "metadata") if one[1:] != [{"data": None}]]

        def settings() -> list[Any]:
            told = kv.read_secret_metadata("app", mount_point="shop-staging")["data"]
            return [kv.read_configuration("shop-staging")["data"], told["max_versions"], told["custom_metadata"]]

        useless = (
            Useless("a secret", "names of documents", "documents.json", documents(lambda d: d.pop("app"))),
            Useless(
                "a key", "content of app", "documents.json", documents(lambda d: d["app"]["data"].clear())
            ),
            Useless("no values", "cannot be used", "documents.json", documents(lambda d: d["app"].clear())),
            Useless("no documents", "no documents", "documents.json", lambda _: b"{}"),
            Useless("no JSON", "no documents", "documents.json", lambda _: b"\x00"),
        )
        return Case(
            driver=driver(store, mount="shop-staging"),
            change=change,
            spoil=spoil,
            origin=lambda: digest(held()),
            useless=useless,
            left_over=left_over,
            secrets=(secret,),
            restored=kept,
            damages={
                "emptied": Damage(lambda: [kv.delete_metadata_and_all_versions(path, mount_point="shop-staging")
                                           for path in driver(store, mount="shop-staging").export(ORIGIN)
                                           if path != "/config"], origin=kept),
                "added": Damage(lambda: kv.create_or_update_secret("later-z", {"a": 1}, mount_point="shop-staging")),
                "settings": Damage(lambda: [kv.configure(max_versions=2, mount_point="shop-staging"),
                                            kv.update_metadata("app", max_versions=1, custom_metadata={"a": "b"},
                                                               mount_point="shop-staging")], origin=settings),
                "taken": Damage(lambda: [kv.delete_metadata_and_all_versions("app", mount_point="shop-staging"),
                                         kv.create_or_update_secret("app/inside", {"a": "1"},
                                                                    mount_point="shop-staging")], origin=kept),
                "linked": "a secret has no links",
                "gone": "a mount belongs to who runs Vault: its place, policies and audit are no part of its secrets",
            },
            forms={
                "text that is not UTF-8": "names and values are JSON",
                "names at the edges": "tried in test_vault_kv_way_back.py",
                "modes and owners": "who may read a secret is said by Vault's policies, which are no part of it",
                "disappears while it is read": Form(
                    during=lambda: kv.delete_metadata_and_all_versions("app", mount_point="shop-staging")),
                "grows while it is read": Form(
                    during=lambda: kv.create_or_update_secret("later-y", {"a": 1}, mount_point="shop-staging")),
                "empty": Form(lambda: kv.create_or_update_secret("later-empty", {}, mount_point="shop-staging")),
                "huge": Form(lambda: kv.create_or_update_secret("later-huge", {"a": "x" * 300_000},
                                                                mount_point="shop-staging")),
                "deeply nested": Form(lambda: kv.create_or_update_secret(
                    "later-deep", {"a": json.loads("[" * 100 + "]" * 100)}, mount_point="shop-staging")),
            },
        )  # fmt: skip
