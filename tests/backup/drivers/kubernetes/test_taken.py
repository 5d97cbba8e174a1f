"""What is taken of a namespace, what comes back by itself, and what is left out and said."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from airlock.backup.drivers.kubernetes import taken
from airlock.backup.drivers.kubernetes.resources import ApiResource
from tests.backup.drivers.kubernetes.conftest import Home, pod

SLICES = ("discovery.k8s.io/v1", "discovery.k8s.io/v1beta1")


def slices(home: Home) -> str:
    """Return where this server keeps EndpointSlices."""
    return next(f"{v}:endpointslices" for v in SLICES if home.status("GET", f"{v}:endpointslices")[0] == 200)


def test_addresses_written_by_hand_are_taken_and_those_of_controllers_are_not(home: Home) -> None:
    ports = [{"name": "http", "port": 80, "protocol": "TCP"}]
    home.make("services", "selecting", spec={"selector": {"app": "shop"}, "ports": ports})
    home.make("services", "outside", spec={"ports": ports})
    home.make("services", "sliced", spec={"ports": ports})
    subsets = [{"addresses": [{"ip": "192.0.2.10"}], "ports": ports}]
    home.make("endpoints", "outside", subsets=subsets)
    home.make(slices(home), "sliced-1", addressType="IPv4", ports=ports,
              endpoints=[{"addresses": ["192.0.2.11"]}],
              metadata={"labels": {"kubernetes.io/service-name": "sliced"}})  # fmt: skip
    home.make("endpoints", "leader", metadata={"annotations": {"control-plane.alpha.kubernetes.io/leader": "{}"}})
    home.until(lambda: len(home.get(slices(home))["items"]) >= 1)
    point = home.take()
    ends = {name for name in point.facts["documents"] if name.startswith("endpoint")}
    assert ends == {"endpoints/outside", "endpointslices.discovery.k8s.io/sliced-1"}
    assert home.proven(point).ok
    home.gone("endpoints/outside")
    home.gone(f"{slices(home)}/sliced-1")
    home.restore(point)
    assert home.wrong(point) == []
    assert home.get("endpoints/outside")["subsets"][0]["addresses"] == [{"ip": "192.0.2.10"}]


@pytest.mark.parametrize("live", [
    {"apiVersion": "v1", "kind": "Endpoints", "metadata": {"name": "kubernetes", "namespace": "default"}},
    {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "kubernetes", "namespace": "default"}, "spec": {}},
    {"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
     "metadata": {"name": "kubernetes", "namespace": "default"}},
    {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "istio-ca-root-cert", "namespace": "shop"}},
])  # fmt: skip
def test_what_the_cluster_writes_itself_is_not_put_back(live: dict[str, Any]) -> None:
    """Addresses of API servers, or an authority that was replaced since, would be wrong at once."""
    assert taken.derived(live, {})
    elsewhere = {**live, "metadata": {**live["metadata"], "namespace": "shop", "name": "mine"}}
    assert not taken.derived(elsewhere, {})


@pytest.mark.parametrize("name", [
    "leasecandidates.coordination.k8s.io", "podcertificaterequests.certificates.k8s.io", "leases.coordination.k8s.io",
])  # fmt: skip
def test_requests_of_the_moment_are_not_asked_for(name: str) -> None:
    plural, _, group = name.partition(".")
    assert not taken.is_asked_for(ApiResource(f"{group}/v1", plural, "Any"), ())
    assert taken.is_asked_for(ApiResource("example.com/v1", plural, "Any"), ())


def test_what_nobody_would_make_again_is_said(home: Home, caplog: pytest.LogCaptureFixture) -> None:
    home.make("configmaps", "a", data={"a": "1"})
    home.make("pods", "bare", spec=pod())
    home.make("podtemplates", "mine", template={"metadata": {"labels": {"a": "b"}}, "spec": pod()})
    home.make("secrets", "token", type="kubernetes.io/service-account-token",
              metadata={"annotations": {"kubernetes.io/service-account.name": "default"}})  # fmt: skip
    home.make("configmaps", "going", metadata={"finalizers": ["example.com/hold"]})
    home.ask("DELETE", "configmaps/going")
    caplog.set_level(logging.WARNING)
    point = home.take()
    assert "podtemplates/mine" in point.facts["documents"]
    left_out = point.facts["left_out"]
    assert f"{taken.POD}: pods/bare" in left_out
    assert any(line.startswith(taken.TOKEN) and "secrets/token" in line for line in left_out)
    assert f"{taken.GOING}: configmaps/going" in left_out
    assert "a pod that nothing would start again: pods/bare" in caplog.text
    home.patch("configmaps/going", {"metadata": {"finalizers": None}})


def test_what_belongs_to_another_object_without_a_controller_is_said(home: Home) -> None:
    account = home.get("serviceaccounts/default")["metadata"]
    owner = {"apiVersion": "v1", "kind": "ServiceAccount", "name": "default", "uid": account["uid"]}
    home.make("configmaps", "owned", metadata={"ownerReferences": [owner]})
    home.make("configmaps", "derived", metadata={"ownerReferences": [{**owner, "controller": True}]})
    point = home.take()
    assert f"{taken.OWNED}: configmaps/owned" in point.facts["left_out"]
    assert "derived" not in str(point.facts["left_out"])


def test_looking_twice_gives_the_same_fingerprint_while_only_owners_and_tokens_move(home: Home) -> None:
    home.make("configmaps", "a", data={"a": "1"})
    before = home.driver().inspect()
    document = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"a": "1"}}
    path = f"/api/v1/namespaces/{home.name}/configmaps/a?fieldManager=other"
    home.ask("PATCH", path, document, "application/apply-patch+yaml")
    assert home.driver().inspect() == before
    home.patch("configmaps/a", {"data": {"a": "2"}})
    assert home.driver().inspect().fingerprint != before.fingerprint


def test_excluding_leaves_out_plural_group_and_whole_groups(home: Home) -> None:
    home.make("configmaps", "a", data={"a": "1"})
    home.make("apps/v1:deployments", "shop", spec={
        "selector": {"matchLabels": {"a": "b"}}, "replicas": 0,
        "template": {"metadata": {"labels": {"a": "b"}}, "spec": pod()},
    })  # fmt: skip
    assert "deployments.apps/shop" in home.take().facts["documents"]
    for exclude in (("deployments",), ("deployments.apps",), ("*.apps",)):
        assert "deployments.apps/shop" not in home.take(exclude=exclude).facts["documents"]
    assert "namespaces/{namespace}" not in home.take(exclude=("namespaces",)).facts["documents"]


RUN_ONCE = {
    "argoproj.io/v1alpha1 Workflow": {}, "tekton.dev/v1 PipelineRun": {}, "velero.io/v1 Restore": {},
    "batch.volcano.sh/v1alpha1 Job": {}, "stash.appscode.com/v1beta1 RestoreSession": {},
    "example.com/v1 Import": {"completionTime": "2026-01-01T00:00:00Z"},
    "example.com/v1 Task": {"finishedAt": "2026-01-01T00:00:00Z", "phase": "Succeeded"},
}  # fmt: skip


@pytest.mark.parametrize("sort", RUN_ONCE)
def test_what_runs_once_is_no_backup_of_anything(sort: str) -> None:
    """A workflow, or a restore of another tool, would run again."""
    version, _, kind = sort.partition(" ")
    live = {"apiVersion": version, "kind": kind, "metadata": {"name": "a"}, "status": RUN_ONCE[sort]}
    assert taken.left_out(live) == taken.RAN
    assert taken.left_out({**live, "apiVersion": "elsewhere.example.com/v1", "status": {"phase": "Succeeded"}}) == ""


def test_a_credential_that_a_platform_issues_for_an_account_is_a_token() -> None:
    metadata = {"name": "default-dockercfg-x7k2p", "annotations": {"kubernetes.io/service-account.name": "default"}}
    live = {"apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/dockercfg", "metadata": metadata}
    assert taken.left_out(live) == taken.TOKEN
    live["metadata"] = {"name": "mine"}
    assert taken.left_out(live) == ""


def test_an_autoscaler_decides_for_the_kind_that_it_names() -> None:
    def target(version: str, kind: str) -> dict[str, Any]:
        return {"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "a"},
                "spec": {"scaleTargetRef": {"apiVersion": version, "kind": kind, "name": "shop"}}}  # fmt: skip

    def workload(version: str, kind: str) -> dict[str, Any]:
        return {"apiVersion": version, "kind": kind, "metadata": {"name": "shop"}, "spec": {"replicas": 3}}

    scaled = taken.autoscaled([target("argoproj.io/v1alpha1", "Rollout")])
    assert taken.is_autoscaled(workload("argoproj.io/v1alpha1", "Rollout"), scaled)
    assert not taken.is_autoscaled(workload("apps/v1", "Deployment"), scaled)
    assert not taken.is_autoscaled(workload("example.com/v1", "Rollout"), scaled)
    scaled = taken.autoscaled([{"apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject", "metadata": {"name": "a"},
                                "spec": {"scaleTargetRef": {"name": "shop"}}}])  # fmt: skip
    assert taken.is_autoscaled(workload("apps/v1", "Deployment"), scaled)
    assert not taken.is_autoscaled(workload("apps/v1", "StatefulSet"), scaled)
