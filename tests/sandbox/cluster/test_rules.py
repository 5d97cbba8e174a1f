"""The emulated cluster refuses, counts and follows as a real API server does, and says so in its words."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from sandbox.cluster.access import Access
from sandbox.cluster.extensions import custom_kinds, delegated
from sandbox.cluster.kinds import NAMESPACES, VOLUMES, Document, built_in
from sandbox.cluster.refusal import Refused
from sandbox.cluster.store import Store

POD = {"containers": [{"name": "main", "image": "shop:1"}]}
PORTS = [{"port": 80}]


class Cluster:
    """A store with one namespace, ``shop``."""

    def __init__(self) -> None:
        self.store = Store()
        self.store.create(NAMESPACES, "", {"metadata": {"name": "shop"}}, "test", dry_run=False)

    def make(self, plural: str, name: str, *, dry_run: bool = False, **fields: Any) -> Document:
        metadata = {"name": name, **fields.pop("metadata", {})}
        return self.store.create(built_in(plural), "shop", {"metadata": metadata, **fields}, "test", dry_run=dry_run)

    def change(self, plural: str, name: str, change: Callable[[Document], object]) -> Document:
        kind = built_in(plural)
        live = self.get(plural, name)
        after = {key: value for key, value in live.items() if key != "status"}
        after = {**after, "metadata": dict(live["metadata"]), "spec": dict(live.get("spec") or {})}
        change(after)
        return self.store.replace(kind, live, after, ("test", "Update"), dry_run=False)

    def get(self, plural: str, name: str) -> Document:
        return self.store.get(built_in(plural), "shop", name)


@pytest.fixture
def cluster() -> Cluster:
    return Cluster()


def refused(act: Callable[[], object]) -> Refused:
    with pytest.raises(Refused) as caught:
        act()
    return caught.value


# --- addresses --------------------------------------------------------------------------------------------------------


def test_addresses_and_node_ports_are_given_once(cluster: Cluster) -> None:
    first = cluster.make("services", "first", spec={"type": "NodePort", "ports": PORTS})["spec"]
    second = cluster.make("services", "second", spec={"type": "NodePort", "ports": PORTS})["spec"]
    assert first["clusterIP"] != second["clusterIP"]
    assert first["ports"][0]["nodePort"] != second["ports"][0]["nodePort"]
    asked = {"type": "NodePort", "clusterIP": first["clusterIP"], "ports": PORTS}
    told = refused(lambda: cluster.make("services", "third", spec=asked))
    assert told.code == 422
    assert str(told) == (
        f'Service "third" is invalid: spec.clusterIPs: Invalid value: [\'{first["clusterIP"]}\']: '
        f"failed to allocate IP {first['clusterIP']}: provided IP is already allocated"
    )
    port = {"port": 80, "nodePort": first["ports"][0]["nodePort"]}
    told = refused(lambda: cluster.make("services", "third", spec={"type": "NodePort", "ports": [port]}))
    assert "provided port is already allocated" in str(told)


# --- immutability -----------------------------------------------------------------------------------------------------


def test_what_cannot_change_is_named_with_its_field(cluster: Cluster) -> None:
    cluster.make("configmaps", "fixed", data={"a": "1"}, immutable=True)
    told = refused(lambda: cluster.change("configmaps", "fixed", lambda it: it.update(data={"a": "2"})))
    assert "data: Forbidden: field is immutable when `immutable` is set" in str(told)
    workload = {"selector": {"matchLabels": {"a": "b"}}, "template": {"metadata": {"labels": {"a": "b"}}, "spec": POD}}
    cluster.make("statefulsets", "state", spec={**workload, "serviceName": "one"})
    told = refused(lambda: cluster.change("statefulsets", "state", lambda it: it["spec"].update(serviceName="two")))
    assert "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template'" in str(told)
    assert told.details["causes"][0]["field"] == "spec"
    assert cluster.change("statefulsets", "state", lambda it: it["spec"].update(replicas=3))["spec"]["replicas"] == 3


def test_a_job_knows_its_pods_and_cannot_be_changed(cluster: Cluster) -> None:
    job = cluster.make("jobs", "once", spec={"template": {"spec": POD}})
    uid = job["metadata"]["uid"]
    assert job["spec"]["selector"] == {"matchLabels": {"batch.kubernetes.io/controller-uid": uid}}
    told = refused(lambda: cluster.change("jobs", "once", lambda it: it["spec"].pop("selector")))
    assert "spec.selector: Required value" in str(told)


# --- validity ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["", "Shop", "a_b", "-a", "a-", "a..b", "x" * 254, "a/b"])
def test_names_are_subdomains_but_those_of_roles(cluster: Cluster, name: str) -> None:
    assert refused(lambda: cluster.make("configmaps", name)).code == 422
    if name and "/" not in name:
        assert cluster.make("roles", name, rules=[], dry_run=True)["metadata"]["name"] == name


def test_what_is_not_valid_by_itself_is_refused(cluster: Cluster) -> None:
    assert "spec.ports: Required value" in str(refused(lambda: cluster.make("services", "none", spec={})))
    assert cluster.make("services", "outside", spec={"type": "ExternalName", "externalName": "x"})
    told = refused(lambda: cluster.make("secrets", "bad", data={"a": "no base64!"}))
    assert (told.code, told.reason) == (400, "BadRequest")
    spec = {"selector": {"matchLabels": {"a": "b"}}, "template": {"metadata": {"labels": {"a": "c"}}, "spec": POD}}
    told = refused(lambda: cluster.make("deployments", "other", spec=spec))
    assert "`selector` does not match template `labels`" in str(told)


# --- quotas -----------------------------------------------------------------------------------------------------------


def test_a_full_quota_refuses_the_next_and_counts_what_is_there(cluster: Cluster) -> None:
    there = len(cluster.store.list(built_in("configmaps"), "shop"))
    cluster.make("resourcequotas", "few", spec={"hard": {"count/configmaps": str(there + 1)}})
    cluster.make("configmaps", "one")
    assert cluster.get("resourcequotas", "few")["status"]["used"] == {"count/configmaps": str(there + 1)}
    told = refused(lambda: cluster.make("configmaps", "two", dry_run=True))
    assert (told.code, str(told)) == (
        403,
        'configmaps "two" is forbidden: exceeded quota: few, requested: count/configmaps=1, '
        f"used: count/configmaps={there + 1}, limited: count/configmaps={there + 1}",
    )


# --- controllers ------------------------------------------------------------------------------------------------------


def test_a_claim_binds_a_free_volume_of_its_class_and_releases_it(cluster: Cluster) -> None:
    for name, policy in (("kept", "Retain"), ("lost", "Delete")):
        spec = {"capacity": {"storage": "2Gi"}, "storageClassName": name, "persistentVolumeReclaimPolicy": policy}
        cluster.store.create(VOLUMES, "", {"metadata": {"name": name}, "spec": spec}, "test", dry_run=False)
        wanted = {"storageClassName": name, "resources": {"requests": {"storage": "1Gi"}}}
        cluster.make("persistentvolumeclaims", name, spec=wanted)
        assert cluster.get("persistentvolumeclaims", name)["spec"]["volumeName"] == name
        cluster.store.delete(built_in("persistentvolumeclaims"), "shop", name, dry_run=False)
    phases = {v["metadata"]["name"]: v["status"]["phase"] for v in cluster.store.list(VOLUMES, None)}
    assert phases == {"kept": "Released", "lost": "Failed"}


def test_services_that_select_get_endpoints_and_others_get_mirrors(cluster: Cluster) -> None:
    cluster.make("services", "selecting", spec={"selector": {"a": "b"}, "ports": PORTS})
    cluster.make("services", "outside", spec={"ports": PORTS})
    cluster.make("endpoints", "outside", subsets=[])
    label = "endpointslice.kubernetes.io/managed-by"
    made = {s["metadata"]["labels"]["kubernetes.io/service-name"]: s["metadata"]["labels"][label]
            for s in cluster.store.list(built_in("endpointslices"), "shop")}  # fmt: skip
    assert made == {"selecting": "endpointslice-controller.k8s.io",
                    "outside": "endpointslicemirroring-controller.k8s.io"}  # fmt: skip
    cluster.store.delete(built_in("services"), "shop", "outside", dry_run=False)
    assert len(cluster.store.list(built_in("endpointslices"), "shop")) == 1


# --- access -----------------------------------------------------------------------------------------------------------


def test_who_may_do_what_is_told_by_roles_and_their_bindings(cluster: Cluster) -> None:
    access = Access(cluster.store, "the admin's")
    assert access.user("") == "system:anonymous"
    assert refused(lambda: access.user("Bearer of nothing")).code == 401
    token = access.issue("shop", "default")["status"]["token"]
    robot = access.user(f"Bearer {token}")
    assert robot == "system:serviceaccount:shop:default"
    told = refused(lambda: access.check(robot, "get", "apps", "deployments", "shop", "web"))
    assert (told.code, str(told)) == (
        403,
        f'deployments.apps "web" is forbidden: User "{robot}" cannot get resource "deployments" in API group "apps" '
        'in the namespace "shop"',
    )
    cluster.make("roles", "reader", rules=[{"apiGroups": ["apps"], "resources": ["deployments"], "verbs": ["get"]}])
    cluster.make("rolebindings", "reader", roleRef={"kind": "Role", "name": "reader"},
                 subjects=[{"kind": "ServiceAccount", "name": "default", "namespace": "shop"}])  # fmt: skip
    access.check(robot, "get", "apps", "deployments", "shop", "web")
    assert refused(lambda: access.check(robot, "delete", "apps", "deployments", "shop", "web")).code == 403
    assert refused(lambda: access.check(robot, "get", "apps", "deployments", "default", "web")).code == 403


# --- defaults and extensions ------------------------------------------------------------------------------------------


def test_what_a_server_fills_in_is_there_and_what_was_given_stays(cluster: Cluster) -> None:
    assert cluster.make("secrets", "plain", stringData={"a": "b"})["data"] == {"a": "Yg=="}
    assert cluster.get("secrets", "plain")["type"] == "Opaque"
    spec = {"selector": {"matchLabels": {"a": "b"}}, "replicas": 0, "template": {
        "metadata": {"labels": {"a": "b"}}, "spec": POD}}  # fmt: skip
    found = cluster.make("deployments", "web", spec=spec)["spec"]
    assert (found["replicas"], found["revisionHistoryLimit"], found["progressDeadlineSeconds"]) == (0, 10, 600)
    assert found["template"]["spec"]["restartPolicy"] == "Always"


def test_custom_kinds_are_served_in_every_version_stable_ones_first() -> None:
    versions = [{"name": "v1beta1", "served": True}, {"name": "v2", "served": False},
                {"name": "v1", "served": True, "subresources": {"status": {}}}]  # fmt: skip
    names = {"plural": "foos", "kind": "Foo"}
    spec = {"group": "a.b", "names": names, "scope": "Namespaced", "versions": versions}
    kinds = list(custom_kinds([{"spec": spec}]))
    assert [(kind.version, kind.status_apart) for kind in kinds] == [("v1", True), ("v1beta1", False)]
    services: list[Document] = [{"spec": {"group": "metrics.k8s.io", "version": "v1beta1", "service": {"name": "x"}}},
                                {"spec": {"group": "apps", "version": "v1"}}]  # fmt: skip
    assert delegated(services) == {"metrics.k8s.io": ["v1beta1"]}
