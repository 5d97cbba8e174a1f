"""Kinds of others: custom ones that share a name with Kubernetes' own, in several versions, and APIs that are down."""

from __future__ import annotations

import json
import secrets
import time
from pathlib import Path
from typing import Any

import pytest

from airlock.backup.driver import Place
from airlock.backup.drivers.kubernetes.resources import NAMESPACE, ApiResource, versions_of
from airlock.errors import PermanentError, TemporaryError
from sandbox import kubernetes_api
from tests.backup.drivers.kubernetes.conftest import ROOT, Home, define
from tests.faulty_proxy import Fault, faulty_proxy
from tests.real_servers import set_connection

ALIKE: dict[str, dict[str, Any]] = {
    "Job": {"selector": {"a": "b"}, "template": {"metadata": {"labels": {"job-name": "x"}}}},
    "Service": {"clusterIP": "10.0.0.1", "clusterIPs": ["x"], "ports": [{"nodePort": 1}], "type": "LoadBalancer"},
    "Ingress": {"rules": [], "ingressClassName": "x"},
    "PersistentVolumeClaim": {"volumeName": "x", "storageClassName": "y"},
    "Deployment": {"replicas": 3, "selector": "s"},
}


def test_what_a_controller_wrote_into_a_status_without_a_sub_resource_stays(home: Home, group: str) -> None:
    path = f"{group}/v1:{define(home, group, 'Foo', 'v1').partition('.')[0]}"
    body = {"apiVersion": f"{group}/v1", "kind": "Foo", "metadata": {"name": "mine"}, "spec": {"size": 1}}
    home.ask("POST", path, {**body, "status": {"volume": "vol-1"}})
    point = home.take()
    assert home.proven(point).ok
    home.patch(f"{path}/mine", {"spec": {"size": 2}, "status": {"volume": "vol-2"}})
    home.restore(point)
    assert home.wrong(point) == []
    live = home.get(f"{path}/mine")
    assert (live["spec"], live["status"]) == ({"size": 1}, {"volume": "vol-2"})


@pytest.mark.parametrize("kind", ALIKE)
def test_a_kind_of_another_group_is_only_what_it_says(home: Home, group: str, kind: str) -> None:
    plural = define(home, group, kind, "v1").partition(".")[0]
    path = f"{group}/v1:{plural}"
    body = {"apiVersion": f"{group}/v1", "kind": kind, "metadata": {"name": "mine"}, "spec": ALIKE[kind]}
    home.ask("POST", path, body)
    point = home.take()
    proof = home.proven(point)
    assert proof.ok, proof.reason
    live = home.get(f"{path}/mine")
    home.ask("PUT", f"{path}/mine", {**live, "spec": {"other": 1}})
    home.restore(point)
    assert home.wrong(point) == []
    assert home.get(f"{path}/mine")["spec"] == ALIKE[kind]
    home.gone(f"{path}/mine")
    home.restore(point)
    assert home.get(f"{path}/mine")["spec"] == ALIKE[kind]


def test_custom_objects_are_tried_and_never_created_unless_they_are_named_harmless(home: Home, group: str) -> None:
    define(home, group, "Widget", "v1")
    body = {"apiVersion": f"{group}/v1", "kind": "Widget", "metadata": {"name": "a", "labels": {"x": "y"}},
            "spec": {"host": "shop.test"}}  # fmt: skip
    home.ask("POST", f"{group}/v1:widgets", body)
    point = home.take()
    scratch = Home(home.server, home.store, f"airlock-{home.scratch.name}")
    for harmless, created in (((), 0), ((f"widgets.{group}",), 1)):
        subject = home.driver(harmless=harmless)
        subject.restore(point, home.scratch)
        assert [check for check in subject.prove(point, home.scratch) if not check.ok] == []
        assert len(scratch.get(f"{group}/v1:widgets")["items"]) == created
        subject.discard(home.scratch)


def test_a_document_keeps_its_version_when_a_newer_one_is_served(home: Home, group: str) -> None:
    define(home, group, "Widget", "v1beta1")
    body = {"apiVersion": f"{group}/v1beta1", "kind": "Widget", "metadata": {"name": "a"}, "spec": {"x": 1}}
    home.ask("POST", f"{group}/v1beta1:widgets", body)
    point = home.take()
    define(home, group, "Widget", "v1beta1", "v1")
    proof = home.proven(point)
    assert proof.ok, proof.reason
    home.patch(f"{group}/v1:widgets/a", {"spec": {"x": 2}})
    home.restore(point)
    assert home.wrong(point) == []
    assert home.get(f"{group}/v1:widgets/a")["spec"] == {"x": 1}


def test_a_kind_that_only_an_older_version_serves_is_taken(home: Home, group: str) -> None:
    define(home, group, "Route", "v1")
    define(home, group, "Filter", "v1alpha1")
    body = {"apiVersion": f"{group}/v1alpha1", "kind": "Filter", "metadata": {"name": "a"}, "spec": {"x": 1}}
    home.ask("POST", f"{group}/v1alpha1:filters", body)
    point = home.take()
    assert f"filters.{group}/a" in point.facts["documents"]
    assert home.proven(point).ok


def test_a_kind_that_is_gone_or_served_otherwise_is_named(home: Home, group: str) -> None:
    name = define(home, group, "Widget", "v1beta1")
    body = {"apiVersion": f"{group}/v1beta1", "kind": "Widget", "metadata": {"name": "a"}, "spec": {"x": 1}}
    home.ask("POST", f"{group}/v1beta1:widgets", body)
    point = home.take()
    home.gone(f"{ROOT}/{name}")
    proof = home.proven(point)
    assert f"does not serve widgets.{group}" in proof.reason
    with pytest.raises(PermanentError, match="does not serve"):
        home.restore(point)


def test_what_a_controller_would_act_on_when_it_goes_is_left_where_it_is(
    home: Home, group: str, caplog: pytest.LogCaptureFixture
) -> None:
    define(home, group, "Widget", "v1")
    home.make("configmaps", "a", data={"a": "1"})
    point = home.take()
    for name, metadata in (("plain", {}), ("cascading", {"finalizers": ["example.com/delete-database"]})):
        body = {"apiVersion": f"{group}/v1", "kind": "Widget", "metadata": {"name": name, **metadata}, "spec": {}}
        home.ask("POST", f"{group}/v1:widgets", body)
    home.restore(point)
    assert home.wrong(point) == []
    assert home.exists(f"{group}/v1:widgets/cascading")
    assert not home.exists(f"{group}/v1:widgets/plain")
    assert "cascading was added after the backup and is left alone" in caplog.text
    home.patch(f"{group}/v1:widgets/cascading", {"metadata": {"finalizers": None}})


def test_nothing_that_means_something_is_taken_for_nothing(home: Home, group: str) -> None:
    """In the values of a Helm release null takes a default away; it is not the same as no entry."""
    path = f"{group}/v1:{define(home, group, 'Release', 'v1').partition('.')[0]}"
    spec = {"values": {"limits": None, "list": [None, {"a": None}], "creationTimestamp": None}, "empty": {}, "none": []}
    home.make(path, "one", apiVersion=f"{group}/v1", kind="Release", spec=spec)
    point = home.take()
    assert home.proven(point).ok
    home.patch(f"{path}/one", {"spec": {"values": {"list": [1]}}})
    home.restore(point)
    assert home.wrong(point) == []
    assert home.get(f"{path}/one")["spec"] == spec
    home.gone(f"{path}/one")
    home.restore(point)
    assert home.get(f"{path}/one")["spec"] == spec


def test_an_object_is_read_in_the_version_in_which_it_is_stored(home: Home, group: str) -> None:
    """Without conversion a server shows, in each version, only the fields that this version knows."""
    name = define(home, group, "Widget", "v1", "v2alpha1")
    live = home.get(f"{ROOT}/{name}")
    for version in live["spec"]["versions"]:
        fields = {"old": {"type": "string"}, **({"new": {"type": "string"}} if version["storage"] else {})}
        version["schema"] = {"openAPIV3Schema": {
            "type": "object", "properties": {"spec": {"type": "object", "properties": fields}}}}  # fmt: skip
    home.ask("PUT", f"{ROOT}/{name}", live)
    path = f"{group}/v2alpha1:widgets"
    body = {"apiVersion": f"{group}/v2alpha1", "kind": "Widget", "spec": {"old": "a", "new": "b"}}
    home.until(lambda: home.status("POST", path, {**body, "metadata": {"name": "probe"}})[0] in (201, 409))
    time.sleep(1.5)  # the server takes the new schema up a moment later
    home.make(path, "one", **body)
    point = home.take()
    assert home.proven(point).ok
    home.gone(f"{path}/one")
    home.restore(point)
    assert home.get(f"{path}/one")["spec"] == {"old": "a", "new": "b"}


SERVICES = "/apis/apiregistration.k8s.io/v1/apiservices"


def test_an_api_that_is_down_is_named_and_may_be_left_out(home: Home) -> None:
    home.make("configmaps", "a", data={"a": "1"})
    down = f"{home.name}.down.example.com"
    made = []
    for group, version in (("metrics.k8s.io", "v1beta1"), (down, "v1")):
        name = f"{version}.{group}"
        if not home.exists(f"{SERVICES}/{name}"):
            service = {"group": group, "version": version, "groupPriorityMinimum": 100, "versionPriority": 100,
                       "insecureSkipTLSVerify": True,
                       "service": {"name": "nobody", "namespace": home.name}}  # fmt: skip
            home.ask("POST", SERVICES, {"apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService",
                                        "metadata": {"name": name}, "spec": service})  # fmt: skip
            made.append(name)
    try:
        home.until(lambda: home.status("GET", f"/apis/{down}/v1")[0] == 503)
        with pytest.raises(TemporaryError, match=rf"APIService v1\.{down}.*exclude"):
            home.take()
        for exclude in ((f"*.{down}",), (f"things.{down}",)):
            point = home.take(exclude=exclude)
            # while an API is down, a namespace that is deleted keeps its name
            home.scratch = Place(name=f"s{secrets.token_hex(4)}")
            assert home.proven(point, exclude=exclude).ok
    finally:
        for name in made:
            home.ask("DELETE", f"{SERVICES}/{name}")
    home.until(lambda: home.status("GET", f"/apis/{down}/v1")[0] == 404)
    home.take()


def test_what_is_defined_and_not_yet_served_is_waited_for(
    home: Home, group: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A server that has just started serves custom kinds some seconds later: a backup would be without them."""
    path = f"{group}/v1:{define(home, group, 'Widget', 'v1').partition('.')[0]}"
    home.make(path, "one", apiVersion=f"{group}/v1", kind="Widget", spec={"a": 1})
    point = home.take()

    def young(body: bytes) -> bytes:
        found = json.loads(body)
        return json.dumps({**found, "groups": [one for one in found["groups"] if one["name"] != group]}).encode()

    with faulty_proxy(home.server.url) as proxy:
        proxy.decide = lambda method, path: Fault(alter=young) if path == "/apis" else None
        kubernetes_api.write_kubeconfig(tmp_path / "config", proxy.url, home.server.token)
        set_connection(monkeypatch, "test_kubernetes", conn_type="kubernetes",
                       extra={"kube_config_path": str(tmp_path / "config")})  # fmt: skip
        for act in (home.take, lambda: home.proven(point), lambda: home.restore(point)):
            with pytest.raises(TemporaryError, match=rf"widgets\.{group}.*not served yet"):
                act()
        proxy.decide = lambda method, path: None
        assert home.proven(point).ok
        # one that serves no version at all holds nothing that could be taken
        live = home.get(f"{ROOT}/widgets.{group}")
        live["spec"]["versions"][0]["served"] = False
        home.ask("PUT", f"{ROOT}/widgets.{group}", live)
        home.until(lambda: home.status("GET", path)[0] == 404)
        assert home.take()


@pytest.mark.parametrize("depth", [600, 3000])
def test_what_is_nested_too_deeply_is_refused_by_name(
    home: Home, group: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, depth: int
) -> None:
    path = f"{group}/v1:{define(home, group, 'Widget', 'v1').partition('.')[0]}"
    home.make(path, "deep", apiVersion=f"{group}/v1", kind="Widget", spec={"a": "bottom"})
    with faulty_proxy(home.server.url) as proxy:
        deep = b'{"a":' * depth + b"1" + b"}" * depth
        proxy.decide = lambda method, path: (
            Fault(alter=lambda body: body.replace(b'"bottom"', deep)) if "/widgets?" in path else None
        )
        kubernetes_api.write_kubeconfig(tmp_path / "config", proxy.url, home.server.token)
        set_connection(monkeypatch, "test_kubernetes", conn_type="kubernetes",
                       extra={"kube_config_path": str(tmp_path / "config")})  # fmt: skip
        with pytest.raises(PermanentError, match=r"widgets.*nested too deeply.*exclude"):
            home.take()


def test_addresses_are_quoted_and_versions_begin_with_the_preferred_one() -> None:
    roles = ApiResource("rbac.authorization.k8s.io/v1", "roles", "Role")
    assert roles.path("shop", "a?b#c d").endswith("/namespaces/shop/roles/a%3Fb%23c%20d")
    assert NAMESPACE.path("shop") == "/api/v1/namespaces/shop"
    versions = [{"groupVersion": "a/v2"}, {"groupVersion": "a/v1"}]
    assert versions_of({"preferredVersion": versions[1], "versions": versions}) == ["a/v1", "a/v2"]
