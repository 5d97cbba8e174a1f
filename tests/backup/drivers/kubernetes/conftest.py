"""A namespace of a test's own on the API server, and the driver on it."""

from __future__ import annotations

import json
import secrets
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any

import pytest

from airlock.backup.driver import Place
from airlock.backup.drivers.kubernetes.manifests import ManifestsDriver
from airlock.backup.run import prove
from airlock.backup.store import BackupStore
from airlock.models import Kind, Proof, RecoveryPoint, Resource
from sandbox import kubernetes_api
from tests.contracts.driver_contract import recorded_as_they_are
from tests.real_servers import set_connection

ORIGIN = Place(origin=True)
ROOT = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
OPEN = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
IMAGE = "registry.shop.test/shop:1.0"


class Home:
    """One namespace, its objects and its driver."""

    def __init__(self, server: kubernetes_api.Kubernetes, store: BackupStore, name: str) -> None:
        self.server, self.store, self.name = server, store, name
        self.scratch = Place(name=f"s{name[-8:]}")

    def status(self, method: str, path: str, body: Any = None, form: str = "application/json") -> tuple[int, Any]:
        """The answer to one request, whatever it is. A path without a slash before it lies in the namespace."""
        if not path.startswith("/"):
            version, _, rest = path.rpartition(":")
            root = "/api/v1" if not version else f"/apis/{version}"
            path = f"{root}/namespaces/{self.name}/{rest}"
        request = urllib.request.Request(
            f"{self.server.url}{path}", None if body is None else json.dumps(body).encode(), method=method,
            headers={"Authorization": f"Bearer {self.server.token}", "Content-Type": form},
        )  # fmt: skip
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.status, json.loads(answer.read() or b"null")
        except urllib.error.HTTPError as error:
            text = error.read()
            return error.code, json.loads(text) if text.startswith(b"{") else text.decode()

    def ask(self, method: str, path: str, body: Any = None, form: str = "application/json") -> Any:
        status, answer = self.status(method, path, body, form)
        assert status < 300, f"{method} {path}: {status} {answer}"
        return answer

    def make(self, path: str, name: str, **fields: Any) -> Any:
        metadata = {"name": name, **fields.pop("metadata", {})}
        return self.ask("POST", path, {"metadata": metadata, **fields})

    def patch(self, path: str, patch: Any) -> Any:
        return self.ask("PATCH", path, patch, "application/merge-patch+json")

    def get(self, path: str) -> Any:
        return self.ask("GET", path)

    def exists(self, path: str) -> bool:
        return self.status("GET", path)[0] == 200

    def gone(self, path: str) -> None:
        """Delete, and wait until it is gone."""
        self.ask("DELETE", path)
        self.until(lambda: not self.exists(path))

    def until(self, true: Callable[[], Any], seconds: float = 40) -> None:
        end = time.monotonic() + seconds
        while not true():
            assert time.monotonic() < end, "it did not become true"
            time.sleep(0.1)

    def driver(self, **options: Any) -> ManifestsDriver:
        given = {"connection": "test_kubernetes", "namespace": self.name, **options}
        resource = Resource(name="objects", kind=Kind.KUBERNETES, driver="manifests", options=given)
        return ManifestsDriver(resource, self.store)

    def take(self, **options: Any) -> RecoveryPoint:
        subject = self.driver(**options)
        return subject.finish(subject.start(f"point-{secrets.token_hex(4)}"))

    def proven(self, point: RecoveryPoint, **options: Any) -> Proof:
        """Prove in a scratch place, which is discarded."""
        subject = self.driver(**options)
        try:
            return prove(subject, point, self.scratch)
        finally:
            subject.discard(self.scratch)

    def restore(self, point: RecoveryPoint, **options: Any) -> None:
        self.driver(**options).restore(point, ORIGIN)

    def wrong(self, point: RecoveryPoint, **options: Any) -> list[str]:
        """What at the origin is not as it was."""
        checks = self.driver(**options).prove(point, ORIGIN)
        recorded_as_they_are(checks)
        return [f"{c.name}: {c.expected} / {c.found}" for c in checks if not c.ok]


def pod(**more: Any) -> dict[str, Any]:
    return {"containers": [{"name": "main", "image": IMAGE}], **more}


def workload(labels: dict[str, str] | None = None, replicas: int = 0, **more: Any) -> dict[str, Any]:
    labels = labels or {"app": "shop"}
    template = {"metadata": {"labels": labels}, "spec": pod()}
    return {"replicas": replicas, "selector": {"matchLabels": labels}, "template": template, **more}


@pytest.fixture
def home(
    kubernetes_server: kubernetes_api.Kubernetes, store: BackupStore, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Home]:
    set_connection(
        monkeypatch, "test_kubernetes", conn_type="kubernetes",
        extra={"kube_config_path": str(kubernetes_server.kubeconfig)},
    )  # fmt: skip
    # the first import of Airflow sets up logging anew, and a test would no longer see what is logged
    import_module("airflow.providers.cncf.kubernetes.hooks.kubernetes")
    found = Home(kubernetes_server, store, f"home-{secrets.token_hex(4)}")
    found.ask("POST", "/api/v1/namespaces", {"metadata": {"name": found.name}})
    found.until(lambda: found.exists("serviceaccounts/default") and found.exists("configmaps/kube-root-ca.crt"))
    yield found
    found.status("DELETE", f"/api/v1/namespaces/{found.name}")


@pytest.fixture
def shop(home: Home) -> Home:
    """The namespace with the shop's objects in it, as far as this server has their kinds."""
    for (version, plural), document in kubernetes_api.objects(home.name):
        where = f"{'' if version == 'api/v1' else version}:{plural}"
        if home.status("GET", where)[0] == 200:
            home.ask("POST", where.removeprefix(":"), document)
    return home


def define(home: Home, group: str, kind: str, *versions: str, status: bool = False) -> str:
    """Define a kind of *group*, with a sub-resource *status* or without; return the name of the definition."""
    plural = f"{kind.lower()}es" if kind.endswith("s") else f"{kind.lower()}s"
    name = f"{plural}.{group}"
    more = {"subresources": {"status": {}}} if status else {}
    served = [{"name": v, "served": True, "storage": v == versions[-1], "schema": OPEN, **more} for v in versions]
    spec = {"group": group, "scope": "Namespaced", "versions": served,
            "names": {"plural": plural, "singular": kind.lower(), "kind": kind, "listKind": f"{kind}List"}}  # fmt: skip
    definition = {"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
                  "metadata": {"name": name}, "spec": spec}  # fmt: skip
    if home.exists(f"{ROOT}/{name}"):
        live = home.get(f"{ROOT}/{name}")
        home.ask("PUT", f"{ROOT}/{name}", {**live, "spec": spec})
    else:
        home.ask("POST", ROOT, definition)
    home.until(lambda: all(home.status("GET", f"{group}/{v}:{plural}")[0] == 200 for v in versions))

    def discovered(version: str) -> bool:
        """Discovery follows the definitions a moment later."""
        status, found = home.status("GET", f"/apis/{group}/{version}")
        return status == 200 and any(entry["name"] == plural for entry in found.get("resources", ()))

    home.until(lambda: all(discovered(version) for version in versions))
    return name


@pytest.fixture
def group(home: Home) -> Iterator[str]:
    found = f"{home.name}.example.com"
    yield found
    for item in home.get(ROOT)["items"]:
        if item["spec"]["group"] == found:
            home.ask("DELETE", f"{ROOT}/{item['metadata']['name']}")
