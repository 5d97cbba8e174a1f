"""A kube config that cannot be used is a permanent error that says why, and repeats nothing of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from airlock.errors import PermanentError
from tests.backup.drivers.kubernetes.conftest import Home
from tests.real_servers import set_connection

TOKEN = "token-that-nobody-sees"
CLUSTER: dict[str, Any] = {"server": "http://127.0.0.1:1"}


def config(cluster: dict[str, Any] | None = None, user: Any = None, **more: Any) -> str:
    return yaml.safe_dump({
        "apiVersion": "v1", "kind": "Config", "current-context": "c",
        "clusters": [{"name": "c", "cluster": CLUSTER if cluster is None else cluster}],
        "users": [{"name": "u", "user": {"token": TOKEN} if user is None else user}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}], **more,
    })  # fmt: skip


PLUGIN = {"apiVersion": "client.authentication.k8s.io/v1", "interactiveMode": "Never"}
BROKEN = {
    "no YAML": f"users: {TOKEN}\na: [b",
    "a tab": f"a:\n\t- {TOKEN}",
    "a list": f"- {TOKEN}",
    "a word": TOKEN,
    "nothing": "",
    "no context": config(contexts=[]),
    "another current context": config(**{"current-context": "z"}),
    "no server": config({}),
    "a context that is a word": config(contexts=[TOKEN]),
    "users as a map": config(users={"u": {"token": TOKEN}}),
    "a plugin that is not installed": config(user={"exec": {**PLUGIN, "command": "no-such-plugin"}}),
    "a plugin that fails": config(user={"exec": {**PLUGIN, "command": "false"}}),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_kube_config_is_permanent_and_not_repeated(
    home: Home, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    path = tmp_path / "config"
    path.write_text(BROKEN[name])
    set_connection(monkeypatch, "test_kubernetes", conn_type="kubernetes", extra={"kube_config_path": str(path)})
    with pytest.raises(PermanentError, match="kube config") as told:
        home.driver().inspect()
    assert TOKEN not in str(told.value)
    if "plugin" in name:
        assert "plugin for credentials" in str(told.value)


def test_bytes_that_are_no_text_are_no_kube_config(home: Home, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "config"
    path.write_bytes(b"\xff\xfe\x00a: b")
    set_connection(monkeypatch, "test_kubernetes", conn_type="kubernetes", extra={"kube_config_path": str(path)})
    with pytest.raises(PermanentError, match="kube config"):
        home.driver().inspect()


def said(status: Any, **more: Any) -> str:
    return json.dumps({"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", **more,
                       **({"status": status} if status is not None else {})})  # fmt: skip


PLUGINS = {
    "no JSON": f"echo {TOKEN}",
    "nothing": "true",
    "no status": f"echo '{said(None)}'",
    "an empty status": f"echo '{said({})}'",
    "no token": f"echo '{said({'token': ''})}'",
    "a list": "echo '[]'",
    "another version": f"echo '{said({'token': TOKEN}, apiVersion='client.authentication.k8s.io/v1beta1')}'",
    "a failure after its answer": f"echo '{said({'token': TOKEN})}'; exit 3",
    "a certificate that is none": f"echo '{said({'clientCertificateData': 'x', 'clientKeyData': 'y'})}'",
    "bytes that are no text": "printf '\\377\\376'",
}


@pytest.mark.parametrize("name", PLUGINS)
def test_a_plugin_that_gives_no_credentials_is_named_and_not_repeated(
    home: Home, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    plugin = tmp_path / "plugin"
    plugin.write_text(f"#!/bin/sh\n{PLUGINS[name]}\n")
    plugin.chmod(0o700)
    path = tmp_path / "config"
    path.write_text(config({"server": home.server.url}, user={"exec": {**PLUGIN, "command": str(plugin)}}))
    set_connection(monkeypatch, "test_kubernetes", conn_type="kubernetes", extra={"kube_config_path": str(path)})
    with pytest.raises(PermanentError, match="kube config") as told:
        home.driver().inspect()
    assert TOKEN not in str(told.value)


ELSEWHERE = {
    "a file that is not there": {"kube_config_path": "/no/such/config"},
    "a folder": {"kube_config_path": "/"},
    "text that is no config": {"kube_config": "a: [b"},
    "JSON that is no config": {"kube_config": '["' + TOKEN + '"]'},
    "another context": {"kube_config": yaml.safe_load(config()), "cluster_context": "elsewhere"},
    "no cluster around it": {"in_cluster": True},
}


@pytest.mark.parametrize("name", ELSEWHERE)
def test_a_connection_without_a_usable_config_says_so(home: Home, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    set_connection(monkeypatch, "test_kubernetes", conn_type="kubernetes", extra=ELSEWHERE[name])
    with pytest.raises(PermanentError, match="kube config") as told:
        home.driver().inspect()
    assert TOKEN not in str(told.value)
