"""The emulated Kubernetes API, asked through the official client, behaves as a real server."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
from kubernetes import client, config
from kubernetes.dynamic import DynamicClient

from sandbox import kubernetes_api, reach


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[kubernetes_api.Kubernetes]:
    with kubernetes_api.start(tmp_path_factory.mktemp("kubernetes"), reach.free_port()) as started:
        yield started


@pytest.fixture(scope="module")
def api(server: kubernetes_api.Kubernetes) -> Any:
    return config.new_client_from_config(str(server.kubeconfig))


@pytest.fixture
def scratch(api: Any, request: pytest.FixtureRequest) -> Iterator[str]:
    """A namespace for one test."""
    name = f"scratch-{abs(hash(request.node.name)) % 10**8}"
    client.CoreV1Api(api).create_namespace({"metadata": {"name": name}})
    yield name
    client.CoreV1Api(api).delete_namespace(name)


def refused(call: Any, *arguments: Any, **options: Any) -> int:
    with pytest.raises(client.ApiException) as raised:
        call(*arguments, **options)
    return int(raised.value.status)


def test_discovery_lists_every_kind(api: Any) -> None:
    kinds = {resource.kind for resource in DynamicClient(api).resources.search()}
    assert kinds >= {"ConfigMap", "Secret", "Service", "ServiceAccount", "Deployment", "Ingress", "Role", "RoleBinding"}
    hpa = DynamicClient(api).resources.get(api_version="autoscaling/v2", kind="HorizontalPodAutoscaler")
    assert [item.metadata.name for item in hpa.get(namespace="shop-prod").items] == ["shop"]


def test_pages_give_every_object_once(api: Any) -> None:
    core, seen, place = client.CoreV1Api(api), [], None
    while True:
        page = core.list_namespaced_config_map("shop-prod", limit=4, _continue=place)
        assert len(page.items) <= 4
        seen += [item.metadata.name for item in page.items]
        place = page.metadata._continue
        if not place:
            break
    assert seen == sorted(set(seen))
    assert seen == [item.metadata.name for item in core.list_namespaced_config_map("shop-prod").items]
    assert refused(core.list_namespaced_config_map, "shop-prod", _continue="rubbish") == 400


def test_selectors(api: Any) -> None:
    core = client.CoreV1Api(api)
    own = core.list_namespaced_config_map("shop-prod", label_selector="app=shop").items
    other = core.list_namespaced_config_map("shop-prod", label_selector="app!=shop").items
    assert {item.metadata.name for item in other} == {"kube-root-ca.crt"}
    assert len(own) > 1
    one = core.list_namespaced_config_map("shop-prod", field_selector="metadata.name=shop-logo").items
    assert [item.metadata.name for item in one] == ["shop-logo"]


def test_server_sets_what_is_the_servers(api: Any, scratch: str) -> None:
    core = client.CoreV1Api(api)
    given = {"uid": "mine", "creationTimestamp": "2001-01-01T00:00:00Z", "name": "settings"}
    made = core.create_namespaced_config_map(scratch, {"metadata": given, "data": {"a": "1"}}, field_manager="tester")
    assert made.metadata.uid != "mine"
    assert made.metadata.creation_timestamp.year > 2001
    assert [entry.manager for entry in made.metadata.managed_fields] == ["tester"]
    changed = core.patch_namespaced_config_map("settings", scratch, {"data": {"b": "2"}})
    assert changed.data == {"a": "1", "b": "2"}
    assert int(changed.metadata.resource_version) > int(made.metadata.resource_version)
    stale = {"metadata": {"name": "settings", "resourceVersion": made.metadata.resource_version}, "data": {}}
    assert refused(core.replace_namespaced_config_map, "settings", scratch, stale) == 409
    assert refused(core.create_namespaced_config_map, scratch, {"metadata": {"name": "settings"}}) == 409
    assert refused(core.create_namespaced_config_map, scratch, {"metadata": {"name": "Not_A_Name"}}) == 422
    assert refused(core.create_namespaced_config_map, "nowhere", {"metadata": {"name": "a"}}) == 404


def test_dry_run_changes_nothing(api: Any, scratch: str) -> None:
    core = client.CoreV1Api(api)
    body = {"metadata": {"name": "tried"}, "data": {"a": "1"}}
    assert core.create_namespaced_config_map(scratch, body, dry_run="All").metadata.uid
    assert refused(core.read_namespaced_config_map, "tried", scratch) == 404
    core.create_namespaced_config_map(scratch, body)
    core.delete_namespaced_config_map("tried", scratch, dry_run="All")
    assert core.patch_namespaced_config_map("tried", scratch, {"data": {"a": "2"}}, dry_run="All").data == {"a": "2"}
    assert core.read_namespaced_config_map("tried", scratch).data == {"a": "1"}
    assert refused(core.create_namespaced_config_map, scratch, body, dry_run="Some") == 422


def test_server_side_apply(server: kubernetes_api.Kubernetes, api: Any, scratch: str) -> None:
    maps = DynamicClient(api).resources.get(api_version="v1", kind="ConfigMap")

    def apply(manager: str, data: dict[str, str], **options: Any) -> Any:
        body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "owned"}, "data": data}
        return maps.server_side_apply(body=body, name="owned", namespace=scratch, field_manager=manager, **options)

    apply("one", {"a": "1", "b": "1"}, dry_run="All")
    assert refused(client.CoreV1Api(api).read_namespaced_config_map, "owned", scratch) == 404
    first = apply("one", {"a": "1", "b": "1"})
    assert apply("one", {"a": "1", "b": "1"}).metadata.resourceVersion == first.metadata.resourceVersion
    apply("two", {"c": "2"})
    with pytest.raises(Exception, match="conflict") as raised:
        apply("two", {"a": "2", "c": "2"})
    assert raised.value.status == 409  # type: ignore[attr-defined]
    assert apply("two", {"a": "2", "c": "2"}, force_conflicts=True).data.to_dict() == {"a": "2", "b": "1", "c": "2"}
    # What its only owner no longer names is removed; what another took over stays.
    assert apply("one", {}).data.to_dict() == {"a": "2", "c": "2"}
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "owned"}}
    headers = {"Content-Type": "application/apply-patch+yaml", "Authorization": f"Bearer {server.token}"}
    with pytest.raises(OSError, match="422"):  # an apply needs the name of a manager
        reach.call("PATCH", f"{server.url}/api/v1/namespaces/{scratch}/configmaps/owned", body, headers)


def test_a_service_cannot_take_an_address_that_is_in_use(api: Any, scratch: str) -> None:
    core = client.CoreV1Api(api)
    taken = core.read_namespaced_service("shop", "shop-prod").spec.cluster_ip
    body = {"metadata": {"name": "shop"}, "spec": {"clusterIP": taken, "ports": [{"port": 80}]}}
    assert refused(core.create_namespaced_service, scratch, body) == 422
    del body["spec"]["clusterIP"]  # type: ignore[attr-defined]
    assert core.create_namespaced_service(scratch, body).spec.cluster_ip not in (None, taken)


def test_a_namespace_goes_with_its_objects(api: Any) -> None:
    core = client.CoreV1Api(api)
    core.create_namespace({"metadata": {"name": "short-lived"}})
    core.create_namespaced_config_map("short-lived", {"metadata": {"name": "a"}})
    core.delete_namespace("short-lived")
    assert core.read_namespace("short-lived").status.phase == "Terminating"
    assert refused(core.create_namespaced_config_map, "short-lived", {"metadata": {"name": "b"}}) == 403
    limit = time.monotonic() + 60
    while any(item.metadata.name == "short-lived" for item in core.list_namespace().items):
        assert time.monotonic() < limit
        time.sleep(0.1)
    assert not core.list_namespaced_config_map("short-lived").items


def test_without_a_token(server: kubernetes_api.Kubernetes) -> None:
    with pytest.raises(OSError, match="403"):  # anonymous, as a real server names whoever says nothing
        reach.call("GET", f"{server.url}/api/v1/namespaces")
    with pytest.raises(OSError, match="401"):
        reach.call("GET", f"{server.url}/api/v1/namespaces", None, {"Authorization": "Bearer another"})
    assert server.kubeconfig.stat().st_mode & 0o777 == 0o600
