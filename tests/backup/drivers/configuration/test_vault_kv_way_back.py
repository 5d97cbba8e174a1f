"""The driver ``vault_kv``: settings, odd names and deleted versions are proven, and come back from any damage."""

from __future__ import annotations

import itertools
import json
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import hvac
import pytest
import requests

from airlock.backup.driver import Place
from airlock.backup.drivers.configuration.vault_kv import VaultKvDriver
from airlock.backup.run import prove, restore_origin
from airlock.backup.store import BackupStore
from airlock.errors import InvalidInput, PermanentError, TemporaryError
from airlock.models import Kind, RecoveryPoint, Resource
from sandbox import openbao
from tests.faulty_proxy import Fault, faulty_proxy
from tests.real_servers import set_connection

ORIGIN, SCRATCH = Place(origin=True), Place(name="proof1")
COUNTER = itertools.count()
ODD = ("a b", "50%", "a%2Fb", "a?b", "a#b", "päivä", "+&=", ".hidden", "x" * 200, "deep/" * 20 + "end", "both",
       "both/in", '"quoted"', "{zone}", "config")  # fmt: skip


@pytest.fixture
def kv(openbao_server: openbao.OpenBao, monkeypatch: pytest.MonkeyPatch) -> Any:
    set_connection(monkeypatch, "test_vault", conn_type="vault", host=openbao_server.url, password=openbao_server.token)
    return hvac.Client(url=openbao_server.url, token=openbao_server.token).secrets.kv.v2


@pytest.fixture
def mount(kv: Any) -> str:
    """A mount with all that a mount may hold."""
    name = f"team/way-{next(COUNTER)}"
    hvac.Client(url=kv._adapter.base_uri, token=kv._adapter.token).sys.enable_secrets_engine(
        backend_type="kv", path=name, options={"version": "2"}
    )
    for _ in range(50):
        try:
            kv.configure(max_versions=7, cas_required=True, delete_version_after="96h", mount_point=name)
            break
        except hvac.exceptions.VaultError:
            time.sleep(0.1)
    for path in ODD:
        secret = {"päivä #1": path, "n": 12345678901234567890, "none": None, "deep": {"a": [1]}}
        kv.create_or_update_secret(path, secret, cas=0, mount_point=name)
    kv.create_or_update_secret("strict", {"a": "1"}, cas=0, mount_point=name)
    kv.update_metadata("strict", mount_point=name, max_versions=3, cas_required=True, delete_version_after="240h",
                       custom_metadata={"owner": "till"})  # fmt: skip
    kv.create_or_update_secret("empty", {}, cas=0, mount_point=name)
    for path in ("gone", "gone-kept", "destroyed"):
        kv.create_or_update_secret(path, {"a": "1"}, cas=0, mount_point=name)
    kv.update_metadata("gone-kept", mount_point=name, max_versions=2, cas_required=False)
    kv.update_metadata("only-settings", mount_point=name, custom_metadata={"for": "later"})
    for path in ("gone", "gone-kept"):
        kv.delete_latest_version_of_secret(path, mount_point=name)
    kv.destroy_secret_versions("destroyed", [1], mount_point=name)
    return name


def driver(store: BackupStore, mount: str, **options: Any) -> VaultKvDriver:
    given = {"connection": "test_vault", "mount": mount, **options}
    return VaultKvDriver(Resource(name="secrets", kind=Kind.CONFIGURATION, driver="vault_kv", options=given), store)


def taken(subject: VaultKvDriver) -> RecoveryPoint:
    return subject.finish(subject.start("point-1"))


def wrong(subject: VaultKvDriver, point: RecoveryPoint) -> list[str]:
    return [check.name for check in subject.prove(point, ORIGIN) if not check.ok]


def version(kv: Any, mount: str, path: str) -> int:
    return int(kv.read_secret_metadata(path, mount_point=mount)["data"]["current_version"])


DAMAGES: tuple[Callable[[Any, str], object], ...] = (
    lambda kv, m: kv.configure(max_versions=1, cas_required=False, delete_version_after="1h", mount_point=m),
    lambda kv, m: kv.update_metadata("strict", mount_point=m, max_versions=9, cas_required=False),
    lambda kv, m: kv.update_metadata("strict", mount_point=m, max_versions=3, cas_required=True,
                                     delete_version_after="240h", custom_metadata={}),
    lambda kv, m: kv.delete_metadata_and_all_versions("strict", mount_point=m),
    lambda kv, m: kv.delete_latest_version_of_secret("a?b", mount_point=m),
    lambda kv, m: kv.destroy_secret_versions("50%", [1], mount_point=m),
    lambda kv, m: kv.create_or_update_secret("gone", {"b": "2"}, cas=version(kv, m, "gone"), mount_point=m),
    lambda kv, m: kv.undelete_secret_versions("gone-kept", [1], mount_point=m),
    lambda kv, m: kv.create_or_update_secret("only-settings", {"b": "2"}, cas=0, mount_point=m),
    lambda kv, m: [kv.create_or_update_secret("later/one", {"b": "2"}, cas=0, mount_point=m),
                   kv.update_metadata("later/one", mount_point=m, max_versions=4, custom_metadata={"x": "y"})],
    lambda kv, m: [kv.delete_metadata_and_all_versions(path, mount_point=m) for path in ODD],
)  # fmt: skip


def test_all_is_proven_and_comes_back_from_every_damage(kv: Any, store: BackupStore, mount: str) -> None:
    subject = driver(store, mount)
    point = taken(subject)
    assert set(ODD) <= set(subject.stored_documents(point))
    proof = prove(subject, point, SCRATCH)
    subject.discard(SCRATCH)
    assert proof.ok, proof.reason
    for number, damage in enumerate(DAMAGES):
        damage(kv, mount)
        assert wrong(subject, point), number
        restore_origin(subject, point)
        assert wrong(subject, point) == [], number
    held = kv.read_secret_metadata("strict", mount_point=mount)["data"]
    assert (held["cas_required"], held["max_versions"], held["delete_version_after"]) == (True, 3, "240h0m0s")
    kv.undelete_secret_versions("later/one", [1], mount_point=mount)  # what came later can still be had


def test_below_a_path_the_settings_of_the_mount_are_left_alone(kv: Any, store: BackupStore, mount: str) -> None:
    kv.create_or_update_secret("a b/c", {"x": "1"}, cas=0, mount_point=mount)
    subject = driver(store, mount, path="a b")
    point = taken(subject)
    assert set(subject.stored_documents(point)) == {"a b/c"}
    kv.configure(max_versions=1, mount_point=mount)
    restore_origin(subject, point)
    assert wrong(subject, point) == []
    assert kv.read_configuration(mount)["data"]["max_versions"] == 1


@contextmanager
def refusing(server: openbao.OpenBao, monkeypatch: pytest.MonkeyPatch, why: str) -> Iterator[None]:
    """A server that takes every write but that of the secret ``strict``."""
    refusal = json.dumps({"errors": [why]}).encode()
    with faulty_proxy(server.url) as proxy:
        set_connection(monkeypatch, "test_vault", conn_type="vault", host=proxy.url, password=server.token)
        proxy.decide = lambda method, path: (
            Fault(status=400, body=refusal, content_type="application/json")
            if method in ("POST", "PUT") and path.endswith("/data/strict") else None
        )  # fmt: skip
        yield


def test_another_writer_in_between_is_not_overwritten_and_tried_again(
    kv: Any, store: BackupStore, mount: str, openbao_server: openbao.OpenBao, monkeypatch: pytest.MonkeyPatch
) -> None:
    point = taken(driver(store, mount))
    kv.create_or_update_secret("strict", {"a": "2"}, cas=1, mount_point=mount)
    with (
        refusing(openbao_server, monkeypatch, "check-and-set parameter did not match the current version"),
        pytest.raises(TemporaryError, match="somebody else wrote it"),
    ):
        restore_origin(driver(store, mount), point)


def client_of(kv: Any) -> hvac.Client:
    return hvac.Client(url=kv._adapter.base_uri, token=kv._adapter.token)


def test_a_mount_that_is_gone_is_made_anew(
    kv: Any, store: BackupStore, mount: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    subject = driver(store, mount)
    point = taken(subject)
    client_of(kv).sys.disable_secrets_engine(mount)
    assert not subject.inspect().present
    restore_origin(subject, point)
    assert wrong(subject, point) == []
    assert "is made anew" in caplog.text


@pytest.mark.parametrize(("sort", "options", "said"), [
    ("kv", {"version": "1"}, "KV version 1"), ("transit", {}, "of the type transit"),
])  # fmt: skip
def test_a_mount_of_another_sort_is_refused_by_name_and_not_written_to(
    kv: Any, store: BackupStore, mount: str, sort: str, options: dict[str, str], said: str
) -> None:
    subject = driver(store, mount)
    point = taken(subject)
    sys = client_of(kv).sys
    sys.disable_secrets_engine(mount)
    sys.enable_secrets_engine(backend_type=sort, path=mount, options=options)
    for act in (subject.inspect, lambda: restore_origin(subject, point)):
        with pytest.raises(InvalidInput, match=said):
            act()


@pytest.mark.campaign
def test_secrets_lie_as_deep_as_people_put_them(kv: Any, store: BackupStore, mount: str) -> None:
    deep = "d/" * 600
    kv.create_or_update_secret(f"{deep}end", {"a": "1"}, cas=0, mount_point=mount)
    kv.create_or_update_secret("large", {"a": "x" * 700_000}, cas=0, mount_point=mount)
    subject = driver(store, mount)
    point = taken(subject)
    proof = prove(subject, point, SCRATCH)
    assert proof.ok, proof.reason
    kv.delete_metadata_and_all_versions(f"{deep}end", mount_point=mount)
    restore_origin(subject, point)
    assert wrong(subject, point) == []
    subject.discard(SCRATCH)


def test_one_path_that_is_denied_is_named(
    kv: Any, store: BackupStore, mount: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = client_of(kv)
    rules = f'''path "sys/mounts" {{ capabilities = ["read"] }}
    path "{mount}/*" {{ capabilities = ["read", "list"] }}
    path "{mount}/data/strict" {{ capabilities = ["deny"] }}'''
    client.sys.create_or_update_policy(name="but-one", policy=rules)
    token = client.auth.token.create(policies=["but-one"])["auth"]["client_token"]
    set_connection(monkeypatch, "test_vault", conn_type="vault", host=kv._adapter.base_uri, password=token)
    with pytest.raises(PermanentError, match=f"read {mount}/strict: permission denied"):
        driver(store, mount).inspect()


def test_what_is_set_on_a_mount_comes_back_with_it_and_by_itself(kv: Any, store: BackupStore, mount: str) -> None:
    """After reports of vault's ``secrets tune`` and of migrations that lose descriptions and leases."""
    sys = client_of(kv).sys
    given = {"description": "the shop's secrets", "max_lease_ttl": 7200, "listing_visibility": "unauth",
             "audit_non_hmac_request_keys": ["id"], "passthrough_request_headers": ["X-Request"]}  # fmt: skip
    sys.tune_mount_configuration(path=mount, **given)
    subject = driver(store, mount)
    point = taken(subject)
    proof = prove(subject, point, SCRATCH)
    subject.discard(SCRATCH)
    assert proof.ok, proof.reason

    def held() -> dict[str, Any]:
        told = sys.read_mount_configuration(path=mount)["data"]
        return {key: told.get(key) for key in given}

    assert held() == given
    for damage in (
        lambda: sys.tune_mount_configuration(path=mount, description="x", listing_visibility="hidden", max_lease_ttl=9,
                                             audit_non_hmac_request_keys=["id", "more"]),
        lambda: sys.disable_secrets_engine(mount),
        lambda: sys.tune_mount_configuration(path=mount, audit_non_hmac_response_keys=["later"]),
    ):  # fmt: skip
        damage()
        restore_origin(subject, point)
        assert held() == given
        assert wrong(subject, point) == []


def test_a_connection_by_whole_address_reads_its_own_namespace(
    kv: Any, store: BackupStore, mount: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mount of the same name lies in another namespace, as teams of one server have them."""
    client = client_of(kv)
    client.adapter.post("/v1/sys/namespaces/squad")
    inside = hvac.Client(url=client.url, token=client.token, namespace="squad")
    inside.sys.enable_secrets_engine(backend_type="kv", path=mount, options={"version": "2"})
    for _ in range(50):
        try:
            inside.secrets.kv.v2.create_or_update_secret("inside", {"a": "1"}, mount_point=mount)
            break
        except hvac.exceptions.VaultError:
            time.sleep(0.1)
    set_connection(monkeypatch, "test_vault", conn_type="vault", host=client.url, password=client.token,
                   extra={"client_kwargs": {"namespace": "squad"}})  # fmt: skip
    subject = driver(store, mount)
    point = taken(subject)
    assert set(subject.stored_documents(point)) == {"inside", "/config"}
    inside.secrets.kv.v2.delete_metadata_and_all_versions("inside", mount_point=mount)
    restore_origin(subject, point)
    assert wrong(subject, point) == []
    assert kv.read_secret_metadata("strict", mount_point=mount)


def test_a_connection_by_whole_address_takes_no_other_log_in(
    kv: Any, store: BackupStore, mount: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_connection(monkeypatch, "test_vault", conn_type="vault", host=kv._adapter.base_uri, login="role",
                   password="secret id", extra={"auth_type": "approle"})  # fmt: skip
    with pytest.raises(InvalidInput, match="'approle'.*use_tls"):
        driver(store, mount).inspect()


@pytest.mark.parametrize("depth", [990, 3000, 9000])
def test_a_value_that_is_nested_too_deep_is_refused_in_words(
    kv: Any, store: BackupStore, mount: str, depth: int
) -> None:
    address, nested = f"{kv._adapter.base_uri}/v1/{mount}/data/deepest", "[" * depth + "]" * depth
    body = f'{{"options": {{"cas": 0}}, "data": {{"a": {nested}}}}}'
    requests.post(address, data=body, headers={"X-Vault-Token": kv._adapter.token}, timeout=30).raise_for_status()
    with pytest.raises(InvalidInput, match=f"read {mount}/deepest.* nested deeper"):
        driver(store, mount).inspect()


def test_what_is_not_taken_is_said(kv: Any, store: BackupStore, mount: str) -> None:
    subject = driver(store, mount, path="both")
    point = taken(subject)
    assert set(subject.stored_documents(point)) == {"both/in"}
    assert point.facts["left_out"] == ["the secret both itself, which is beside the folder both/ and not in it"]
    assert any("before its latest" in words for words in point.facts["leaves_out"])
    assert set(point.facts["left_out"]) <= set(subject.plan()["leaves_out"])
    assert driver(store, mount).inspect().detail["left_out"] == []


@pytest.mark.parametrize("name", ["Payments:Data", "bonus&growth", "a b", "50%", "a?b#c", "p\u00e4iv\u00e4", "_x/{a}"])
def test_mounts_have_the_names_that_people_gave_them(kv: Any, store: BackupStore, name: str) -> None:
    """After a report of mounts that were gone from sight because of such a name."""
    client_of(kv).sys.enable_secrets_engine(backend_type="kv", path=name, options={"version": "2"})
    subject = driver(store, name)
    subject._wait_until_ready(name)
    kv.create_or_update_secret("k", {"a": "1"}, mount_point=name)
    point = taken(subject)
    assert prove(subject, point, SCRATCH).ok
    subject.discard(SCRATCH)
    client_of(kv).sys.disable_secrets_engine(name)
    restore_origin(subject, point)
    assert wrong(subject, point) == []


def test_a_number_that_a_server_cannot_read_is_not_quoted(
    kv: Any, store: BackupStore, mount: str, openbao_server: openbao.OpenBao, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Servers differ in what numbers they keep, and name the one that they refuse."""
    point = taken(driver(store, mount))
    kv.create_or_update_secret("strict", {"a": "2"}, cas=1, mount_point=mount)
    said = "failed to decode JSON input: json: cannot unmarshal number 4929e999 into Go value"
    with (
        refusing(openbao_server, monkeypatch, said),
        pytest.raises(PermanentError, match="cannot unmarshal number into Go value") as caught,
    ):
        restore_origin(driver(store, mount), point)
    assert "4929" not in str(caught.value)
