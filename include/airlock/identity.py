"""What a resource really is: an address that is the same through whichever service, driver name or connection id.

Written like a URL, so that one thing inside another can be told: ``file:///srv/uploads`` holds
``file:///srv/uploads/logo.png``. Links are not followed: what they point to may change in mid-release. Holds no secret
and asks no server; connections are read for their address alone.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from airlock.connections import connection

_LOOPBACK = {"localhost", "::1", "[::1]", "ip6-localhost"}
_LARGEST = 1 << 20
_AWS_ROLE = re.compile(r"arn:[a-z-]+:iam::(\d{12}):role/")


def file_identity(path: object) -> str:
    """Return what the file or folder *path* is; an address of an object store stays as it is."""
    text = str(path)
    if "://" in text and not text.startswith("file://"):
        return text.rstrip("/")
    return "file://" + os.path.normpath(Path("/") / text.removeprefix("file://"))


def server_identity(scheme: str, connection_id: str, default_port: int, *inside: str) -> str:
    """Return what *inside* (a database, a path) is on the server of an Airflow connection.

    :raises UnknownName: Airflow has no such connection
    """
    given = connection(connection_id)
    return f"{scheme}://{address_identity(given.host or '', given.port or default_port)}{_below(inside)}"


def address_identity(address: object, port: int | None = None) -> str:
    """Return ``host:port`` of *address*, which may be a URL; the host in lower case, loopback by one name."""
    text = str(address)
    parts = urlsplit(text if "://" in text else f"//{text}")
    host = (parts.hostname or "").lower().rstrip(".")
    known = parts.port or port or {"http": 80, "https": 443}.get(parts.scheme)
    return f"{'127.0.0.1' if host in _LOOPBACK else host}:{known or ''}"


def aws_identity(connection_id: str, service: str, *inside: str) -> str:
    """Return what *inside* is in the AWS account of an Airflow connection: the account of the role that it takes, else
    ``account_id`` of its extra, else the login; and the endpoint, where another one than Amazon's is named.

    :raises UnknownName: Airflow has no such connection
    """
    given = connection(connection_id)
    extra = given.extra_dejson
    role = _AWS_ROLE.match(str(extra.get("role_arn", "")))
    account = role[1] if role else str(extra.get("account_id") or given.login or connection_id)
    endpoint = extra.get("endpoint_url")
    where = address_identity(endpoint) if endpoint else "amazonaws.com"
    region = "" if service in ("iam", "route53") else str(extra.get("region_name", ""))
    return f"aws://{where}{_below((account, service, region))}{_below(inside)}"


def _below(parts: tuple[str, ...]) -> str:
    return "".join(f"/{part.strip('/')}" for part in parts if part.strip("/"))


def kubernetes_identity(connection_id: str, namespace: str) -> str:
    """Return what *namespace* is in the cluster of an Airflow connection: by the address of its API server, as the kube
    config says; by the config's place where it cannot be read.

    :raises UnknownName: Airflow has no such connection
    """
    extra = connection(connection_id).extra_dejson
    given = {name.removeprefix("extra__kubernetes__"): value for name, value in extra.items() if value}
    if given.get("in_cluster"):
        return f"kubernetes://in-cluster/{namespace}"
    path = str(given.get("kube_config_path") or Path("~/.kube/config").expanduser())
    server = _api_server(given.get("kube_config"), path, str(given.get("cluster_context") or ""))
    return f"kubernetes://{address_identity(server) if server else path.strip('/')}/{namespace}"


def _api_server(config: object, path: str, context: str) -> str:
    try:
        if not config:
            with Path(path).open(encoding="utf-8") as stream:
                config = stream.read(_LARGEST)
        found: Any = yaml.safe_load(config) if isinstance(config, str) else config
        wanted = context or found["current-context"]
        cluster = next(one["context"]["cluster"] for one in found["contexts"] if one["name"] == wanted)
        return str(next(one["cluster"]["server"] for one in found["clusters"] if one["name"] == cluster))
    except (OSError, yaml.YAMLError, LookupError, TypeError, StopIteration, ValueError):
        return ""
