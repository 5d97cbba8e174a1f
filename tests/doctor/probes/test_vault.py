"""Rights at a real OpenBao: what a token may do, as its policy says, and one that ended."""

from __future__ import annotations

import json
import urllib.request
from typing import Any

import pytest

from airlock.backup.drivers.configuration.vault_kv import VaultKvDriver, VaultKvOptions
from airlock.doctor.finding import Finding, Gravity, Subject
from airlock.doctor.probes import vault
from airlock.models.needs import Permission
from sandbox.openbao import OpenBao
from tests.real_servers import openbao_server, set_connection

__all__ = ["openbao_server"]


def call(server: OpenBao, method: str, path: str, body: Any) -> Any:
    request = urllib.request.Request(f"{server.url}/v1/{path}", json.dumps(body).encode(), method=method,
                                     headers={"X-Vault-Token": server.token})  # fmt: skip
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.loads(answer.read() or b"null")


def permissions(path: str = "") -> tuple[Permission, ...]:
    return VaultKvDriver.needs.bound(VaultKvOptions(connection="v", mount="shop-prod", path=path)).permissions


def policy(given: tuple[Permission, ...]) -> str:
    """The policy that grants exactly what is declared."""
    paths: dict[str, set[str]] = {}
    for one in given:
        paths.setdefault(one.on, set()).update(one.actions)
    return "\n".join(f'path "{on}" {{ capabilities = {json.dumps(sorted(held))} }}' for on, held in paths.items())


def asked(server: OpenBao, monkeypatch: pytest.MonkeyPatch, text: str, **token: Any) -> list[Finding]:
    call(server, "PUT", "sys/policies/acl/of-a-test", {"policy": text})
    made = call(server, "POST", "auth/token/create", {"policies": ["of-a-test"], "no_parent": True, **token})
    set_connection(monkeypatch, "v", conn_type="vault", host=server.url, password=made["auth"]["client_token"])
    found = list(vault.ask(Subject("resources", "configuration.vault"), "v", permissions()))
    assert made["auth"]["client_token"] not in "".join(one.model_dump_json() for one in found)
    return found


def test_what_is_declared_is_enough(openbao_server: OpenBao, monkeypatch: pytest.MonkeyPatch) -> None:
    found = asked(openbao_server, monkeypatch, policy(permissions()), ttl="48h")
    assert [one.gravity for one in found] == [Gravity.FINE, Gravity.FINE]


@pytest.mark.parametrize("index", range(len(permissions())))
def test_each_permission_that_is_missing_is_named(
    openbao_server: OpenBao, monkeypatch: pytest.MonkeyPatch, index: int
) -> None:
    missing = permissions()[index]
    kept = tuple(one for one in permissions() if one.on != missing.on)
    found = [one for one in asked(openbao_server, monkeypatch, policy(kept), ttl="48h") if missing.on in one.what]
    assert found
    assert all(one.gravity is not Gravity.FINE for one in found)
    assert all(f'path "{missing.on}"' in one.mend for one in found)


def test_a_token_that_ends_soon_is_a_warning_and_one_that_ended_a_fault(
    openbao_server: OpenBao, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = asked(openbao_server, monkeypatch, policy(permissions()), ttl="5m", renewable=False)
    assert found[0].gravity is Gravity.WARNING
    set_connection(monkeypatch, "v", conn_type="vault", host=openbao_server.url, password="hunter2")
    first = next(iter(vault.ask(Subject("resources", "configuration.vault"), "v", permissions())))
    assert first.gravity is Gravity.FAULT
    assert "hunter2" not in first.model_dump_json()
