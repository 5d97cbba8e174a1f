"""An emulator of the Kubernetes API as a process of its own on loopback, with the shop's objects in it.

Written on aiohttp, the web framework below ``kmock``, not on ``kmock`` itself: that keeps objects as it was given them,
and everything a backup must cope with (discovery, pages, server-set fields, owners of fields, server-side apply, dry
run, the end of a namespace) would have had to be put in front of it, which leaves nothing of it in use. Not emulated:
watches, pods, controllers, admission. The manifests driver is written for a real server.
"""

from __future__ import annotations

import base64
import os
import secrets
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from airlock.errors import TemporaryError
from sandbox import processes, reach

NAMESPACES = ("shop-prod", "shop-staging")


@dataclass(frozen=True)
class Kubernetes(processes.Server):
    """A running emulator; ``kubeconfig`` is the file that clients read."""

    port: int = 0
    token: str = ""
    kubeconfig: Path = Path()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


def start(
    folder: Path, port: int, token: str | None = None, run: Path | None = None, kubeconfig: Path | None = None
) -> Kubernetes:
    """Start the emulator, write its kubeconfig (mode 600) and seed both namespaces. Also a context manager.

    :raises TemporaryError: it did not start; the message has the tail of its log
    """
    folder.mkdir(parents=True, exist_ok=True)
    bearer = token or secrets.token_urlsafe(18)
    config = kubeconfig or folder / "kubeconfig.yaml"
    root = str(Path(__file__).resolve().parents[1])
    path = os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))
    server = processes.start(
        processes.Program(
            name="kubernetes",
            command=(sys.executable, "-m", "sandbox.cluster.http", str(port)),
            log=folder / "kubernetes.log" if run is None else run.parent / "log" / "kubernetes.log",
            ready=lambda: reach.answers(f"http://127.0.0.1:{port}/readyz"),
            environment={**os.environ, "PYTHONPATH": path, "AIRLOCK_KUBERNETES_TOKEN": bearer},
            folder=folder,
            grace=3,
        ),
        run or folder,
    )
    url = f"http://127.0.0.1:{port}"
    try:
        write_kubeconfig(config, url, bearer)
        seed(url, bearer)
    except OSError as error:
        server.stop()
        raise TemporaryError(f"the Kubernetes emulator at 127.0.0.1:{port} could not be seeded: {error}") from error
    return Kubernetes(**{**vars(server), "port": port, "token": bearer, "kubeconfig": config})


def elsewhere(folder: Path, port: int, token: str) -> Kubernetes:
    """Return the API server that somebody else runs on *port* of 127.0.0.1; it is neither seeded nor stopped."""
    config = folder / "kubeconfig.yaml"
    write_kubeconfig(config, f"http://127.0.0.1:{port}", token)
    return Kubernetes(name="kubernetes", pid=0, born="", mark="", log=folder / "log", file=folder / "none", port=port,
                      token=token, kubeconfig=config)  # fmt: skip


def write_kubeconfig(path: Path, url: str, token: str) -> None:
    """Write a kubeconfig with one context, readable by its owner only."""
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "sandbox", "cluster": {"server": url}}],
        "users": [{"name": "airlock", "user": {"token": token}}],
        "contexts": [{"name": "sandbox", "context": {"cluster": "sandbox", "user": "airlock", "namespace": "default"}}],
        "current-context": "sandbox",
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as stream:
        yaml.safe_dump(document, stream)


def seed(url: str, token: str) -> None:
    """Create the shop's namespaces and objects as ``kubectl`` would have: each field owned by ``shop-pipeline``."""
    headers = {"Authorization": f"Bearer {token}"}
    for namespace in NAMESPACES:
        labels = {"team": "shop-team", "environment": namespace.removeprefix("shop-")}
        body = {"metadata": {"name": namespace, "labels": labels}}
        reach.call("POST", f"{url}/api/v1/namespaces?fieldManager=shop-pipeline", body, headers)
        for address, document in objects(namespace):
            prefix = address[0] if address[0] == "api/v1" else f"apis/{address[0]}"
            place = f"{url}/{prefix}/namespaces/{namespace}/{address[1]}?fieldManager=shop-pipeline"
            reach.call("POST", place, document, headers)


def objects(namespace: str) -> Iterator[tuple[tuple[str, str], dict[str, Any]]]:
    """Yield the shop's objects: version and plural, and what is sent to create them."""
    count = 3 if namespace.endswith("prod") else 1
    yield ("api/v1", "serviceaccounts"), _named("shop")
    settings = {"SHOP_LOCALE": "de_DE", "SHOP_PAGE_SIZE": "50", "banner.html": "<p>Grüße aus dem Laden</p>\n"}
    yield ("api/v1", "configmaps"), {**_named("shop-settings"), "data": settings}
    binary = base64.b64encode(bytes(range(64))).decode()
    yield ("api/v1", "configmaps"), {**_named("shop-logo"), "binaryData": {"logo.bin": binary}}
    for number in range(12):  # more than fits on a small page
        yield ("api/v1", "configmaps"), {**_named(f"shop-page-{number:02d}"), "data": {"title": f"Page {number}"}}
    password = {"username": "shop_app", "password": secrets.token_urlsafe(12)}
    yield ("api/v1", "secrets"), {**_named("shop-database"), "type": "Opaque", "stringData": password}
    yield ("apps/v1", "deployments"), _deployment("shop", count)
    yield ("apps/v1", "deployments"), _deployment("shop-worker", 1)
    ports = [{"name": "http", "port": 80, "targetPort": 8080}]
    yield ("api/v1", "services"), {**_named("shop"), "spec": {"selector": {"app": "shop"}, "ports": ports}}
    headless = {"clusterIP": "None", "selector": {"app": "shop-worker"}, "ports": [{"name": "metrics", "port": 9000}]}
    yield ("api/v1", "services"), {**_named("shop-worker"), "spec": headless}
    backend = {"service": {"name": "shop", "port": {"name": "http"}}}
    rule = {"host": f"{namespace}.test", "http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": backend}]}}
    tls = [{"hosts": [f"{namespace}.test"], "secretName": "shop-tls"}]
    yield ("networking.k8s.io/v1", "ingresses"), {**_named("shop"), "spec": {"rules": [rule], "tls": tls}}
    reference = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "shop"}
    load = {
        "type": "Resource",
        "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 70}},
    }
    scaling = {"scaleTargetRef": reference, "minReplicas": count, "maxReplicas": count * 3, "metrics": [load]}
    yield ("autoscaling/v2", "horizontalpodautoscalers"), {**_named("shop"), "spec": scaling}
    permit = [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get", "list", "watch"]}]
    yield ("rbac.authorization.k8s.io/v1", "roles"), {**_named("shop-reader"), "rules": permit}
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "shop-reader"}
    subject = {"kind": "ServiceAccount", "name": "shop", "namespace": namespace}
    yield (
        ("rbac.authorization.k8s.io/v1", "rolebindings"),
        {**_named("shop-reader"), "roleRef": role, "subjects": [subject]},
    )


def _named(name: str) -> dict[str, Any]:
    return {"metadata": {"name": name, "labels": {"app": "shop", "owner": "shop-team"}}}


def _deployment(name: str, count: int) -> dict[str, Any]:
    source = {"valueFrom": {"secretKeyRef": {"name": "shop-database", "key": "password"}}}
    container = {
        "name": "shop",
        "image": "registry.shop.test/shop:1.0",
        "env": [{"name": "PORT", "value": "8080"}, {"name": "DATABASE_PASSWORD", **source}],
        "envFrom": [{"configMapRef": {"name": "shop-settings"}}],
        "ports": [{"name": "http", "containerPort": 8080}],
        "readinessProbe": {"httpGet": {"path": "/health", "port": "http"}, "periodSeconds": 5},
        "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}, "limits": {"memory": "128Mi"}},
    }
    template = {
        "metadata": {"labels": {"app": name}},
        "spec": {"serviceAccountName": "shop", "containers": [container]},
    }
    return {
        **_named(name),
        "spec": {"replicas": count, "selector": {"matchLabels": {"app": name}}, "template": template},
    }
