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


HANGING = {
    "it never ends": "sleep 600",
    "it bears no signal": "trap '' TERM INT; while :; do sleep 1; done",
    "what it started holds its output": f"echo '{said({'token': TOKEN})}'; sleep 600 & exit 3",
    "what it started has left it": f"echo '{said({'token': ''})}'; setsid sleep 600 & exit 0",
    "it waits for input": "cat",
}


@pytest.mark.parametrize("name", HANGING)
@pytest.mark.parametrize("by", ["path", "text", "prefixed"])
def test_a_plugin_that_hangs_does_not_hold_its_task(
    home: Home, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, by: str
) -> None:
    monkeypatch.setattr("airlock.backup.drivers.kubernetes.credential_plugin.MOST_SECONDS", 1.0)
    path = kube_config(tmp_path, home, HANGING[name])
    extra = {"path": {"kube_config_path": str(path)}, "text": {"kube_config": path.read_text()},
             "prefixed": {"extra__kubernetes__kube_config_path": str(path)}}[by]
    set_connection(monkeypatch, "test_kubernetes", conn_type="kubernetes", extra=extra)
    with pytest.raises(PermanentError, match="gave no credentials, or was not done in") as told:
        home.driver().inspect()
    assert TOKEN not in str(told.value)


def kube_config(folder: Path, home: Home, script: str, **user: Any) -> Path:
    """Write a kube config whose plugin does *script*."""
    (folder / "bin").mkdir()
    plugin = folder / "bin" / "plugin"
    plugin.write_text(f"#!/bin/sh\n{script}\n")
    plugin.chmod(0o700)
    path = folder / "config"
    path.write_text(config({"server": home.server.url}, user={"exec": {**PLUGIN, "command": str(plugin), **user}}))
    return path


def test_a_plugin_that_answers_is_used_with_its_arguments_and_environment(
    home: Home, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Relative to the folder of its config, as for kubectl."""
    seen = tmp_path / "seen"
    script = f'echo "$1 $LEVEL ${{KUBERNETES_EXEC_INFO%%,*}}" > {seen}; echo \'{said({"token": home.server.token})}\''
    path = kube_config(tmp_path, home, script, args=["get token"], env=[{"name": "LEVEL", "value": "high"}])
    path.write_text(path.read_text().replace(str(tmp_path / "bin/plugin"), "bin/plugin"))
    set_connection(monkeypatch, "test_kubernetes", conn_type="kubernetes", extra={"kube_config_path": str(path)})
    assert home.driver().inspect().present
    assert seen.read_text().startswith('get token high {"apiVersion":')
