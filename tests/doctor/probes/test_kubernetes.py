"""Rights at an API server: the ClusterRole that is shipped is enough, less is named."""

from __future__ import annotations

import json
import urllib.request
import uuid
from pathlib import Path
from typing import Any

import pytest

from airlock.backup.drivers.kubernetes.least_rights import cluster_role
from airlock.backup.drivers.kubernetes.manifests import ManifestsDriver, ManifestsOptions
from airlock.doctor.finding import Finding, Gravity, Subject
from airlock.doctor.probes import kubernetes
from airlock.models.needs import Permission, Stage, System
from sandbox import kubernetes_api
from tests.real_servers import kubernetes_server, set_connection

__all__ = ["kubernetes_server"]
RBAC = "/apis/rbac.authorization.k8s.io/v1"


def call(server: kubernetes_api.Kubernetes, path: str, body: Any) -> Any:
    request = urllib.request.Request(
        f"{server.url}{path}", json.dumps(body).encode(), method="POST",
        headers={"Authorization": f"Bearer {server.token}", "Content-Type": "application/json"},
    )  # fmt: skip
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.loads(answer.read())


def asked(
    server: kubernetes_api.Kubernetes, monkeypatch: pytest.MonkeyPatch, folder: Path, rules: list[dict[str, Any]],
    permissions: tuple[Permission, ...] | None = None,
) -> list[Finding]:  # fmt: skip
    """Ask for *permissions*, else those of the driver, as a new service account that may do what *rules* say."""
    name = f"doctor-{uuid.uuid4().hex[:8]}"
    call(server, "/api/v1/namespaces", {"metadata": {"name": name}})
    call(server, f"/api/v1/namespaces/{name}/serviceaccounts", {"metadata": {"name": name}})
    call(server, f"{RBAC}/clusterroles", {"metadata": {"name": name}, "rules": rules})
    call(server, f"{RBAC}/clusterrolebindings", {
        "metadata": {"name": name}, "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": name}],
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name},
    })  # fmt: skip
    wanted = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"audiences": []}}
    token = call(server, f"/api/v1/namespaces/{name}/serviceaccounts/{name}/token", wanted)["status"]["token"]
    kubernetes_api.write_kubeconfig(folder / name, server.url, token)
    set_connection(monkeypatch, "k", conn_type="kubernetes", extra={"kube_config_path": str(folder / name)})
    bound = ManifestsDriver.needs.bound(ManifestsOptions(connection="k", namespace=name))
    subject = Subject("resources", "kubernetes.manifests")
    found = list(kubernetes.ask(subject, "k", name, permissions or bound.permissions))
    assert token not in "".join(one.model_dump_json() for one in found)
    return found


def shipped() -> list[dict[str, Any]]:
    import yaml

    return list(yaml.safe_load(cluster_role())["rules"])


def test_the_role_that_is_shipped_is_enough(
    kubernetes_server: kubernetes_api.Kubernetes, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert {one.gravity for one in asked(kubernetes_server, monkeypatch, tmp_path, shipped())} == {Gravity.FINE}


def test_a_verb_that_is_missing_everywhere_is_named(
    kubernetes_server: kubernetes_api.Kubernetes, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    rules = shipped()
    rules[0] = {**rules[0], "verbs": [verb for verb in rules[0]["verbs"] if verb != "patch"]}
    (fault,) = [one for one in asked(kubernetes_server, monkeypatch, tmp_path, rules) if one.gravity is Gravity.FAULT]
    assert "patch" in fault.what
    assert "delete" not in fault.what
    assert "docs/kubernetes.md" in fault.mend


def test_rights_on_every_resource_by_its_name_are_as_good_as_a_star(
    kubernetes_server: kubernetes_api.Kubernetes, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from airlock.backup.drivers.kubernetes.cluster import Cluster

    kubernetes_api.write_kubeconfig(tmp_path / "admin", kubernetes_server.url, kubernetes_server.token)
    set_connection(monkeypatch, "a", conn_type="kubernetes", extra={"kube_config_path": str(tmp_path / "admin")})
    served = Cluster("a", "admin").served(lambda _: False).resources()
    verbs = ["list", "get", "create", "update", "patch", "delete"]
    names = {(one.group, one.plural) for one in served} | {
        ("", "namespaces"), ("apiextensions.k8s.io", "customresourcedefinitions"),
        ("apiregistration.k8s.io", "apiservices")}  # fmt: skip
    rules = [{"apiGroups": [group], "resources": [plural], "verbs": verbs} for group, plural in sorted(names)]
    found = asked(kubernetes_server, monkeypatch, tmp_path, rules)
    # what only spares an account from holding every right itself is no fault
    assert {one.gravity for one in found} == {Gravity.FINE, Gravity.NOTE}


def test_no_review_is_about_a_star(
    kubernetes_server: kubernetes_api.Kubernetes, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Some authorizers say yes to it when only something is granted."""
    from airlock.backup.drivers.kubernetes.cluster import Cluster

    bodies: list[Any] = []
    call_of = Cluster.call

    def heard(self: Cluster, method: str, path: str, query: Any = None, body: Any = None, *rest: Any) -> Any:
        bodies.append(body)
        return call_of(self, method, path, query, body, *rest)

    monkeypatch.setattr(Cluster, "call", heard)
    asked(kubernetes_server, monkeypatch, tmp_path, shipped())
    reviews = [body["spec"]["resourceAttributes"] for body in bodies if body and "spec" in body]
    assert len(reviews) > 10
    assert not [one for one in reviews if "*" in one.values()]


def test_nothing_at_all_is_a_fault_that_names_every_verb(
    kubernetes_server: kubernetes_api.Kubernetes, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    found = asked(kubernetes_server, monkeypatch, tmp_path, [])
    (fault,) = [one for one in found if one.gravity is Gravity.FAULT]
    assert "list" in fault.what


def test_what_is_needed_always_is_no_note_because_something_seldom_needs_it_too(
    kubernetes_server: kubernetes_api.Kubernetes, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    always = Permission(system=System.KUBERNETES, actions=("get",), on="secrets", stages=(Stage.BACKUP,))
    seldom = always.model_copy(update={"seldom": "where a Role is restored"})
    for wanted, gravity in (((always, seldom), Gravity.FAULT), ((seldom, always), Gravity.FAULT),
                            ((seldom,), Gravity.NOTE)):  # fmt: skip
        found = asked(kubernetes_server, monkeypatch, tmp_path, [], wanted)
        assert [one.gravity for one in found if "secrets" in one.what] == [gravity]
