"""The plugin for credentials that a kube config names: which one it is, and a config in which it cannot take for ever.

The client of Kubernetes starts the plugin itself, and waits for it, and for whatever holds its output, without a limit.
A kube config holds secrets: it stays in memory, and no line of it is ever repeated. Knows no server.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import yaml

from airlock.child_program import limited_in_time

MOST_SECONDS = 60.0
_PREFIX = "extra__kubernetes__"
_WHERE = ("kube_config", "kube_config_path")
_FILES = ("certificate-authority", "client-certificate", "client-key", "tokenFile")
"""What a kube config names relative to its own folder."""


def plugin_of(extra: dict[str, Any]) -> dict[str, Any]:
    """Return the ``exec`` entry of the user that the connection's kube config selects; empty if there is none, or the
    config cannot be read."""
    try:
        config, _ = _read(extra)
        plugin = _user(config, extra).get("exec")
    except (OSError, yaml.YAMLError, LookupError, TypeError, AttributeError, ValueError, StopIteration):
        return {}
    return plugin if isinstance(plugin, dict) else {}


def limited_config(extra: dict[str, Any]) -> dict[str, Any] | None:
    """Return the connection's kube config with its plugin limited in time; ``None`` where it names none."""
    plugin = plugin_of(extra)
    if not isinstance(plugin.get("command"), str) or not isinstance(plugin.get("args") or [], list):
        return None
    read, folder = _read(extra)
    config = copy.deepcopy(read)
    for section, kind in (("clusters", "cluster"), ("users", "user")):
        for entry in config.get(section) or []:
            _absolute(entry.get(kind) or {}, folder)
    entry = _user(config, extra)["exec"]
    command = entry["command"]
    if "/" in command:
        command = str(folder / command)
    wrapped = limited_in_time([command, *map(str, entry.get("args") or [])], MOST_SECONDS)
    entry["command"], entry["args"] = wrapped[0], wrapped[1:]
    return config


def without_config(extra: dict[str, Any]) -> dict[str, Any]:
    """Return what a connection says beside its kube config."""
    return {name: value for name, value in extra.items() if name.removeprefix(_PREFIX) not in _WHERE}


def _read(extra: dict[str, Any]) -> tuple[dict[str, Any], Path]:
    """Return the kube config, and the folder that its paths are relative to."""
    given, path = _field(extra, "kube_config"), _field(extra, "kube_config_path")
    if not path and (given or _field(extra, "in_cluster")):
        config: Any = yaml.safe_load(given) if isinstance(given, str) else given
        return config, Path()
    place = Path(str(path or "~/.kube/config")).expanduser()
    return yaml.safe_load(place.read_text()), place.absolute().parent


def _field(extra: dict[str, Any], name: str) -> Any:
    return extra.get(name) or extra.get(f"{_PREFIX}{name}")


def _user(config: dict[str, Any], extra: dict[str, Any]) -> dict[str, Any]:
    context = _field(extra, "cluster_context") or config["current-context"]
    user = next(entry["context"]["user"] for entry in config["contexts"] if entry["name"] == context)
    found: dict[str, Any] = next(entry["user"] for entry in config["users"] if entry["name"] == user)
    return found


def _absolute(entry: dict[str, Any], folder: Path) -> None:
    for name in _FILES:
        if isinstance(entry.get(name), str):
            entry[name] = str(folder / entry[name])
