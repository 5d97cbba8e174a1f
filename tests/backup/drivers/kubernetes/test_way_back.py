"""The way back into the origin: nothing is lost, nothing runs again, nothing stops it, and what was done is said."""

from __future__ import annotations

import base64
import json
import threading
import time
from pathlib import Path

import pytest

from airlock.errors import PermanentError, TemporaryError
from sandbox import kubernetes_api
from tests.backup.drivers.kubernetes.conftest import Home, pod, workload
from tests.faulty_proxy import Fault, faulty_proxy
from tests.real_servers import set_connection

CLAIM = {"accessModes": ["ReadWriteOnce"], "storageClassName": "none", "resources": {"requests": {"storage": "1Gi"}}}
PORTS = [{"name": "http", "port": 80, "protocol": "TCP"}]
MERGE = "application/merge-patch+json"
RBAC = "rbac.authorization.k8s.io/v1"


def restored(home: Home, point: object) -> None:
    home.restore(point)  # type: ignore[arg-type]
    assert home.wrong(point) == []  # type: ignore[arg-type]


# --- nothing is lost --------------------------------------------------------------------------------------------------


def test_claims_that_were_added_since_are_never_deleted(home: Home) -> None:
    home.make("persistentvolumeclaims", "data-shop-0", spec=CLAIM)
    home.make("apps/v1:statefulsets", "shop", spec=workload(serviceName="shop"))
    point = home.take()
    home.make("persistentvolumeclaims", "data-shop-1", spec=CLAIM)
    home.patch("apps/v1:statefulsets/shop", {"metadata": {"labels": {"added": "yes"}}})
    restored(home, point)
    assert home.exists("persistentvolumeclaims/data-shop-1")


def test_claims_that_go_when_a_stateful_set_shrinks_keep_it_from_shrinking(home: Home) -> None:
    """Its controller deletes the claims of the pods that are too many: that is data, and no way back."""
    path = "apps/v1:statefulsets"
    home.make(path, "shrinks", spec=workload(
        serviceName="shop", replicas=1, persistentVolumeClaimRetentionPolicy={"whenScaled": "Delete"}))  # fmt: skip
    if "persistentVolumeClaimRetentionPolicy" not in home.get(f"{path}/shrinks")["spec"]:
        pytest.skip("this server is older than the policy")
    home.make(path, "keeps", spec=workload(serviceName="shop", replicas=1))
    point = home.take()
    for name in ("shrinks", "keeps"):
        home.patch(f"{path}/{name}", {"spec": {"replicas": 3}, "metadata": {"labels": {"added": "yes"}}})
    assert any("statefulsets.apps/shrinks" in line for line in home.wrong(point))
    restored(home, point)
    shrinks, keeps = home.get(f"{path}/shrinks"), home.get(f"{path}/keeps")
    assert (shrinks["spec"]["replicas"], keeps["spec"]["replicas"]) == (3, 1)
    assert "labels" not in shrinks["metadata"]


def test_a_name_with_signs_of_addresses_is_that_name(home: Home) -> None:
    signs = ["keep?x", "keep#x", "keep x", "keep:x", "keep&dryRun=", "keep;x", "Keep+x", "keep=x", "kéep"]
    home.make(f"{RBAC}:roles", "keep", rules=[])
    home.make(f"{RBAC}:roles", "was?there", rules=[{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}])
    point = home.take()
    assert "roles.rbac.authorization.k8s.io/was?there" in point.facts["documents"]
    for name in signs:
        home.make(f"{RBAC}:roles", name, rules=[])
    home.ask("DELETE", f"{RBAC}:roles/was%3Fthere")
    restored(home, point)
    assert {item["metadata"]["name"] for item in home.get(f"{RBAC}:roles")["items"]} == {"keep", "was?there"}


def test_finalizers_stay_on_live_objects_and_come_back_on_lost_ones(home: Home) -> None:
    for name in ("changed", "lost"):
        home.make("configmaps", name, data={"a": "1"}, metadata={"finalizers": ["example.com/hold"]})
    point = home.take()
    home.patch(
        "configmaps/changed", {"data": {"a": "2"}, "metadata": {"finalizers": ["example.com/hold", "b.com/new"]}}
    )
    home.patch("configmaps/lost", {"metadata": {"finalizers": None}})
    home.gone("configmaps/lost")
    restored(home, point)
    assert home.get("configmaps/changed")["metadata"]["finalizers"] == ["example.com/hold", "b.com/new"]
    assert home.get("configmaps/lost")["metadata"]["finalizers"] == ["example.com/hold"]
    for name in ("changed", "lost"):
        home.patch(f"configmaps/{name}", {"metadata": {"finalizers": None}})


def test_a_finalizer_that_is_missing_at_the_origin_is_put_back(home: Home) -> None:
    home.make("configmaps", "held", data={"a": "1"}, metadata={"finalizers": ["example.com/hold"]})
    point = home.take()
    home.patch("configmaps/held", {"metadata": {"finalizers": None}})
    assert any("finalizers of configmaps/held" in line for line in home.wrong(point))
    restored(home, point)
    home.patch("configmaps/held", {"metadata": {"finalizers": None}})


def test_the_namespace_comes_back_with_its_labels_and_annotations(home: Home) -> None:
    path = f"/api/v1/namespaces/{home.name}"
    home.patch(path, {"metadata": {"labels": {"istio-injection": "enabled"}, "annotations": {"owner": "shop"}}})
    home.make("configmaps", "a", data={"a": "1"})
    point = home.take()
    assert home.proven(point).ok
    home.patch(path, {"metadata": {"labels": {"istio-injection": "disabled", "added": "x"}, "annotations": None}})
    restored(home, point)
    home.ask("DELETE", path)
    home.until(lambda: not home.exists(path), 90)
    restored(home, point)
    metadata = home.get(path)["metadata"]
    assert metadata["labels"]["istio-injection"] == "enabled"
    assert "added" not in metadata["labels"]
    assert metadata["annotations"] == {"owner": "shop"}


def older(home: Home) -> None:
    """Let a second go by: a server keeps the moment of creation in seconds."""
    time.sleep(1.2)


def test_what_was_there_before_the_backup_is_never_removed(home: Home, caplog: pytest.LogCaptureFixture) -> None:
    """A backup may not hold it: it had another label then, it was left out, or its API was down."""
    home.make("configmaps", "selected", data={"a": "1"}, metadata={"labels": {"app": "shop"}})
    home.make("configmaps", "labelled-later", data={"a": "1"})
    home.make("secrets", "left-out", data={"a": "MQ=="}, metadata={"labels": {"app": "shop"}})
    older(home)
    point = home.take(label_selector="app=shop", exclude=("secrets",))
    home.patch("configmaps/labelled-later", {"metadata": {"labels": {"app": "shop"}}})
    home.make("configmaps", "added", metadata={"labels": {"app": "shop"}})
    home.patch("configmaps/selected", {"data": {"a": "2"}})
    home.restore(point, label_selector="app=shop")
    assert home.wrong(point, label_selector="app=shop") == []
    assert home.get("configmaps/selected")["data"] == {"a": "1"}
    assert home.exists("configmaps/labelled-later")
    assert home.exists("secrets/left-out")
    assert not home.exists("configmaps/added")
    assert "secrets/left-out was there before the backup, which does not hold it" in caplog.text


def test_what_a_controller_has_adopted_since_is_still_what_was_taken(home: Home) -> None:
    home.make("configmaps", "a", data={"a": "1"})
    home.make("configmaps", "b", data={"a": "1"})
    point = home.take()
    account = home.get("serviceaccounts/default")["metadata"]
    owner = {"apiVersion": "v1", "kind": "ServiceAccount", "name": "default", "uid": account["uid"]}
    home.patch("configmaps/a", {"metadata": {"ownerReferences": [{**owner, "controller": True}]}, "data": {"a": "2"}})
    home.patch("configmaps/b", {"metadata": {"ownerReferences": [owner]}})
    restored(home, point)
    assert home.get("configmaps/a")["data"] == {"a": "1"}


def test_what_is_being_deleted_comes_back_when_it_is_gone(home: Home) -> None:
    home.make("configmaps", "going", data={"a": "1"}, metadata={"labels": {"app": "shop"}})
    home.make("configmaps", "other", data={"a": "1"}, metadata={"labels": {"app": "shop"}})
    point = home.take(label_selector="app=shop")
    home.patch("configmaps/going", {"metadata": {"finalizers": ["example.com/hold"]}})
    home.patch("configmaps/other", {"data": {"a": "2"}})
    home.ask("DELETE", "configmaps/going")
    let_go = threading.Timer(
        3, lambda: home.status("PATCH", "configmaps/going", {"metadata": {"finalizers": None}}, MERGE)
    )
    let_go.start()
    home.restore(point, label_selector="app=shop")
    let_go.join()
    assert home.wrong(point, label_selector="app=shop") == []
    assert "deletionTimestamp" not in home.get("configmaps/going")["metadata"]


def test_what_does_not_go_hinders_nothing_else_and_is_said(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("airlock.backup.drivers.kubernetes.way_back._GOING_SECONDS", 1)
    for name in ("going", "other"):
        home.make("configmaps", name, data={"a": "1"})
    point = home.take()
    home.patch("configmaps/going", {"metadata": {"finalizers": ["example.com/hold"]}})
    home.patch("configmaps/other", {"data": {"a": "2"}})
    home.ask("DELETE", "configmaps/going")
    with pytest.raises(TemporaryError, match=r"configmaps/going is being deleted.*finalizer example\.com/hold"):
        home.restore(point)
    assert home.get("configmaps/other")["data"] == {"a": "1"}
    home.patch("configmaps/going", {"metadata": {"finalizers": None}})
    restored(home, point)


def test_an_account_comes_back_with_its_secrets_and_without_what_was_issued_for_it(home: Home) -> None:
    home.make("serviceaccounts", "robot", secrets=[{"name": "mine"}, {"name": "robot-token-x7k2p"}],
              imagePullSecrets=[{"name": "pull"}, {"name": "robot-dockercfg-x7k2p"}])  # fmt: skip
    home.patch("serviceaccounts/default", {"imagePullSecrets": [{"name": "pull"}]})
    point = home.take()
    assert home.proven(point).ok
    home.patch("serviceaccounts/robot", {"imagePullSecrets": [{"name": "robot-dockercfg-zzzzz"}, {"name": "other"}]})
    restored(home, point)
    names = [entry["name"] for entry in home.get("serviceaccounts/robot")["imagePullSecrets"]]
    assert names == ["pull", "robot-dockercfg-zzzzz"]
    home.ask("DELETE", f"/api/v1/namespaces/{home.name}")
    home.until(lambda: not home.exists(f"/api/v1/namespaces/{home.name}"), 90)
    restored(home, point)
    assert home.get("serviceaccounts/default")["imagePullSecrets"] == [{"name": "pull"}]
    robot = home.get("serviceaccounts/robot")
    assert robot["imagePullSecrets"] == [{"name": "pull"}]
    assert {"name": "robot-token-x7k2p"} not in robot["secrets"]


def test_a_claim_of_a_volume_that_its_author_named_names_it_again(home: Home) -> None:
    """Without the name it would take any volume that fits, with the data of somebody else."""
    home.make("persistentvolumeclaims", "fixed", spec={**CLAIM, "volumeName": f"{home.name}-mine"})
    point = home.take()
    assert home.proven(point).ok
    home.gone("persistentvolumeclaims/fixed")
    restored(home, point)
    assert home.get("persistentvolumeclaims/fixed")["spec"]["volumeName"] == f"{home.name}-mine"


def test_the_history_of_a_helm_release_comes_back_whole(home: Home) -> None:
    def release(number: int, status: str) -> None:
        home.make("secrets", f"sh.helm.release.v1.shop.v{number}", type="helm.sh/release.v1",
                  data={"release": base64.b64encode(status.encode()).decode()},
                  metadata={"labels": {"owner": "helm", "name": "shop", "status": status}})  # fmt: skip

    release(1, "superseded")
    release(2, "deployed")
    point = home.take()
    assert home.proven(point).ok
    home.patch("secrets/sh.helm.release.v1.shop.v2", {"metadata": {"labels": {"status": "superseded"}}})
    release(3, "pending-upgrade")
    home.gone("secrets/sh.helm.release.v1.shop.v1")
    restored(home, point)
    held = {item["metadata"]["name"]: item["metadata"]["labels"]["status"] for item in home.get("secrets")["items"]
            if item["type"] == "helm.sh/release.v1"}  # fmt: skip
    assert held == {"sh.helm.release.v1.shop.v1": "superseded", "sh.helm.release.v1.shop.v2": "deployed"}


# --- what cannot be changed -------------------------------------------------------------------------------------------


def test_what_cannot_be_changed_is_made_anew(home: Home) -> None:
    binding = {"subjects": [{"kind": "ServiceAccount", "name": "default", "namespace": home.name}]}
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role"}
    made = {
        "apps/v1:deployments/shop": {"spec": workload()},
        f"{RBAC}:rolebindings/bound": {**binding, "roleRef": {**role, "name": "one"}},
        "secrets/typed": {"type": "Opaque", "data": {"a": "MQ=="}},
        "configmaps/fixed": {"data": {"a": "1"}, "immutable": True},
        "configmaps/free": {"data": {"a": "1"}},
        "apps/v1:statefulsets/shop": {"spec": workload({"app": "data"}, serviceName="one")},
    }
    later = {
        "apps/v1:deployments/shop": {"spec": workload({"app": "other"})},
        f"{RBAC}:rolebindings/bound": {**binding, "roleRef": {**role, "name": "two"}},
        "secrets/typed": {"type": "example.com/other", "data": {"a": "MQ=="}},
        "configmaps/fixed": {"data": {"a": "2"}, "immutable": True},
        "configmaps/free": {"data": {"a": "1"}, "immutable": True},
        "apps/v1:statefulsets/shop": {"spec": workload({"app": "data"}, serviceName="two")},
    }
    for path, fields in made.items():
        home.make(path.rpartition("/")[0], path.rpartition("/")[2], **fields)
    point = home.take()
    for path, fields in later.items():
        home.gone(path)
        home.make(path.rpartition("/")[0], path.rpartition("/")[2], **fields)
    restored(home, point)


def test_what_a_quota_counts_may_be_changed_back(home: Home) -> None:
    """The scopes of a quota can never change."""
    home.make("resourcequotas", "limit", spec={"hard": {"pods": "5"}, "scopes": ["BestEffort"]})
    point = home.take()
    home.gone("resourcequotas/limit")
    home.make("resourcequotas", "limit", spec={"hard": {"pods": "5"}, "scopes": ["NotBestEffort"]})
    restored(home, point)


def test_an_ingress_that_names_its_class_twice_comes_back(home: Home) -> None:
    """A server refuses to create it, and lets it become so."""
    path = "networking.k8s.io/v1:ingresses"
    backend = {"service": {"name": "shop", "port": {"number": 80}}}
    annotations = {"kubernetes.io/ingress.class": "nginx", "other": "x"}
    home.make(path, "both", spec={"defaultBackend": backend}, metadata={"annotations": annotations})
    home.patch(f"{path}/both", {"spec": {"ingressClassName": "nginx"}})
    point = home.take()
    proof = home.proven(point)
    assert proof.ok, proof.reason
    home.patch(f"{path}/both", {"metadata": {"labels": {"x": "y"}}})
    restored(home, point)
    home.gone(f"{path}/both")
    restored(home, point)
    live = home.get(f"{path}/both")
    assert live["metadata"]["annotations"] == annotations
    assert live["spec"]["ingressClassName"] == "nginx"


def test_what_is_left_out_since_the_backup_comes_back_and_loses_nothing(home: Home) -> None:
    home.make("secrets", "kept", data={"a": "MQ=="})
    point = home.take()
    home.gone("secrets/kept")
    home.make("secrets", "added")
    home.restore(point, exclude=("secrets",))
    assert home.wrong(point, exclude=("secrets",)) == []
    assert home.exists("secrets/kept")
    assert home.exists("secrets/added")


def test_a_claim_that_has_grown_stays_and_hinders_nothing(home: Home, caplog: pytest.LogCaptureFixture) -> None:
    home.make("persistentvolumeclaims", "data", spec=CLAIM)
    home.make("configmaps", "a", data={"a": "1"})
    point = home.take()
    grown = {**CLAIM, "resources": {"requests": {"storage": "2Gi"}}}
    home.gone("persistentvolumeclaims/data")
    uid = home.make("persistentvolumeclaims", "data", spec=grown, metadata={"labels": {"x": "y"}})["metadata"]["uid"]
    home.patch("configmaps/a", {"data": {"a": "2"}})
    restored(home, point)
    live = home.get("persistentvolumeclaims/data")
    assert (live["metadata"]["uid"], live["spec"]["resources"]["requests"]["storage"]) == (uid, "2Gi")
    assert "data has grown from 1Gi to 2Gi" in caplog.text


def test_all_that_stands_in_the_way_is_named_and_nothing_is_touched(home: Home) -> None:
    spec = {"type": "LoadBalancer", "ports": PORTS}
    for name in ("one", "two"):
        home.make("services", name, spec=spec)
    home.make("configmaps", "a", data={"a": "1"})
    point = home.take()
    for name in ("one", "two"):
        home.gone(f"services/{name}")
        home.make("services", name, spec={"clusterIP": "None", "ports": PORTS})
    home.patch("configmaps/a", {"data": {"a": "2"}})
    with pytest.raises(PermanentError, match=r"nothing was changed.* 2 of 3 .*services/one.*services/two"):
        home.restore(point)
    assert home.get("configmaps/a")["data"] == {"a": "2"}


# --- Services ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("before", "after"), [({}, {"clusterIP": "None"}), ({"clusterIP": "None"}, {})])
def test_a_service_that_became_headless_or_ceased_to_be_is_made_anew(home: Home, before: dict, after: dict) -> None:
    home.make("services", "shop", spec={**before, "ports": PORTS})
    point = home.take()
    address = home.get("services/shop")["spec"]["clusterIP"]
    home.gone("services/shop")
    home.make("services", "shop", spec={**after, "ports": PORTS})
    assert home.wrong(point)
    restored(home, point)
    assert home.get("services/shop")["spec"]["clusterIP"] == address


def test_a_load_balancer_that_was_gone_is_said_to_be_another(home: Home, caplog: pytest.LogCaptureFixture) -> None:
    home.make("services", "shop", spec={"type": "LoadBalancer", "ports": PORTS})
    point = home.take()
    home.gone("services/shop")
    restored(home, point)
    assert "services/shop was gone: it is made again and gets another load balancer" in caplog.text


@pytest.mark.parametrize("before", [{}, {"type": "ExternalName", "externalName": "db.example.com"}])
def test_a_service_that_selects_pods_since_leads_no_longer_to_them(home: Home, before: dict) -> None:
    """A controller's list of addresses outlives the selector: traffic would go on to the pods of the release."""
    slices = next(f"{v}:endpointslices" for v in ("discovery.k8s.io/v1", "discovery.k8s.io/v1beta1")
                  if home.status("GET", f"{v}:endpointslices")[0] == 200)  # fmt: skip
    home.make("services", "shop", spec={**before, "ports": PORTS})
    if not before:
        home.make("endpoints", "shop", subsets=[{"addresses": [{"ip": "192.0.2.10"}], "ports": PORTS}])
    point = home.take()
    home.patch("services/shop", {"spec": {"type": "ClusterIP", "externalName": None, "selector": {"app": "new"}}})
    by = "endpointslice.kubernetes.io/managed-by"

    def of_controller() -> list[str]:
        items = [item["metadata"] for item in home.get(slices)["items"]]
        return [item["name"] for item in items if item.get("labels", {}).get(by) == "endpointslice-controller.k8s.io"]

    home.until(of_controller)
    home.restore(point)
    home.until(lambda: not of_controller())
    assert home.wrong(point) == []


def test_recorded_addresses_are_asked_for_again(home: Home) -> None:
    home.make("services", "shop", spec={"type": "NodePort", "ports": PORTS})
    point = home.take()
    spec = home.get("services/shop")["spec"]
    home.gone("services/shop")
    restored(home, point)
    back = home.get("services/shop")["spec"]
    assert (back["clusterIP"], back["ports"]) == (spec["clusterIP"], spec["ports"])
    home.gone("services/shop")
    home.make("services", "shop", spec={"type": "NodePort", "ports": PORTS})
    restored(home, point)
    back = home.get("services/shop")["spec"]
    assert (back["clusterIP"], back["ports"]) == (spec["clusterIP"], spec["ports"])


def test_an_address_that_another_has_by_now_is_said(home: Home, caplog: pytest.LogCaptureFixture) -> None:
    home.make("services", "shop", spec={"type": "NodePort", "ports": PORTS})
    point = home.take()
    spec = home.get("services/shop")["spec"]
    home.gone("services/shop")
    other = Home(home.server, home.store, f"{home.name}-other")
    other.ask("POST", "/api/v1/namespaces", {"metadata": {"name": other.name}})
    taken = {"type": "NodePort", "clusterIP": spec["clusterIP"], "ports": spec["ports"]}
    other.make("services", "thief", spec=taken)
    home.restore(point)
    assert home.exists("services/shop")
    wrong = home.wrong(point)
    assert len(wrong) == 1
    assert "addresses of services/shop" in wrong[0]
    assert spec["clusterIP"] in wrong[0]
    assert "is taken by another Service" in caplog.text
    other.status("DELETE", f"/api/v1/namespaces/{other.name}")


# --- Jobs -------------------------------------------------------------------------------------------------------------


def finish(home: Home, name: str) -> None:
    condition = {"type": "Complete", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z",
                 "lastProbeTime": "2026-01-01T00:00:00Z"}  # fmt: skip
    before = {**condition, "type": "SuccessCriteriaMet"}
    times = {"startTime": "2026-01-01T00:00:00Z", "completionTime": "2026-01-01T00:00:01Z", "succeeded": 1}

    def is_finished() -> bool:
        """Say so until the Job's controller, which writes its status too, has seen it."""
        for conditions in ([before, condition], [condition]):
            body = {"status": {**times, "conditions": conditions, "active": 0, "uncountedTerminatedPods": None}}
            home.status("PATCH", f"batch/v1:jobs/{name}/status", body, "application/merge-patch+json")
        time.sleep(0.3)
        return bool((home.get(f"batch/v1:jobs/{name}").get("status") or {}).get("conditions"))

    home.until(lambda: is_finished() and is_finished())


JOB = {"template": {"spec": pod(restartPolicy="Never")}}


def test_a_job_whose_labels_changed_is_brought_back(home: Home) -> None:
    uid = home.make("batch/v1:jobs", "worker", spec=JOB, metadata={"labels": {"team": "shop"}})["metadata"]["uid"]
    point = home.take()
    home.patch("batch/v1:jobs/worker", {"metadata": {"labels": {"team": "other"}}})
    home.make("configmaps", "a", data={})
    restored(home, point)
    live = home.get("batch/v1:jobs/worker")
    assert (live["metadata"]["uid"], live["metadata"]["labels"]["team"]) == (uid, "shop")


def test_a_finished_job_is_never_made_again(home: Home) -> None:
    home.make("configmaps", "a", data={"a": "1"})
    home.make("batch/v1:jobs", "migration", spec=JOB)
    finish(home, "migration")
    point = home.take()
    assert not any(name.startswith("jobs") for name in point.facts["documents"])
    assert "a finished Job: made again it would run again: jobs.batch/migration" in point.facts["left_out"]
    assert home.proven(point).ok
    restored(home, point)
    assert home.exists("batch/v1:jobs/migration")
    home.ask("DELETE", "batch/v1:jobs/migration?propagationPolicy=Background")
    restored(home, point)
    assert not home.exists("batch/v1:jobs/migration")


def test_a_job_that_ran_when_the_backup_was_taken_is_not_run_again(
    home: Home, caplog: pytest.LogCaptureFixture
) -> None:
    home.make("batch/v1:jobs", "migration", spec=JOB)
    home.make("batch/v1:jobs", "other", spec=JOB)
    point = home.take()
    assert home.proven(point).ok
    finish(home, "other")
    home.ask("DELETE", "batch/v1:jobs/migration?propagationPolicy=Background")
    home.until(lambda: not home.exists("batch/v1:jobs/migration"))
    restored(home, point)
    spec = home.get("batch/v1:jobs/migration")["spec"]
    assert spec.get("suspend") is True or spec["parallelism"] == 0  # as an old server keeps a Job from running
    assert "made again suspended" in caplog.text
    assert "jobs.batch/other has finished since" in caplog.text
    restored(home, point)


def test_another_job_of_that_name_is_left_alone_and_seen(home: Home) -> None:
    home.make("batch/v1:jobs", "migration", spec=JOB)
    home.make("configmaps", "a", data={"a": "1"})
    point = home.take()
    home.ask("DELETE", "batch/v1:jobs/migration?propagationPolicy=Background")
    home.until(lambda: not home.exists("batch/v1:jobs/migration"))
    newer = {"template": {"spec": {**pod(restartPolicy="Never"), "hostNetwork": True}}}
    home.make("batch/v1:jobs", "migration", spec=newer)
    home.patch("configmaps/a", {"data": {"a": "2"}})
    home.restore(point)
    assert home.get("configmaps/a")["data"] == {"a": "1"}
    (line,) = home.wrong(point)
    assert "spec.template.spec.hostNetwork was added" in line


# --- quotas -----------------------------------------------------------------------------------------------------------


def quota(home: Home, **hard: str) -> None:
    home.make("resourcequotas", "limit", spec={"hard": hard})
    home.until(lambda: home.get("resourcequotas/limit").get("status", {}).get("hard") == hard)


def test_what_was_added_goes_first_where_a_quota_is_full(home: Home) -> None:
    home.make("configmaps", "old", data={"a": "1"})
    quota(home, **{"count/configmaps": "2"})
    point = home.take()
    home.gone("configmaps/old")
    home.until(lambda: home.get("resourcequotas/limit")["status"]["used"]["count/configmaps"] == "1")
    home.make("configmaps", "new", data={"a": "1"})
    restored(home, point)
    assert not home.exists("configmaps/new")


def test_a_restore_that_stops_half_way_says_what_was_done(home: Home) -> None:
    for name in ("a", "b"):
        home.make("configmaps", name, data={"a": "1"}, metadata={"labels": {"app": "shop"}})
    point = home.take(label_selector="app=shop")
    home.gone("configmaps/a")
    home.gone("configmaps/b")
    quota(home, **{"count/configmaps": "2"})
    with pytest.raises(PermanentError, match="exceeded quota") as caught:
        home.restore(point, label_selector="app=shop")
    said = str(caught.value)
    assert "configmaps/a restored" in said
    assert "not done: configmaps/b" in said


def test_a_limit_is_raised_first_and_lowered_last(home: Home) -> None:
    quota(home, **{"count/configmaps": "3"})
    home.make("configmaps", "a", data={"a": "1"})
    home.make("configmaps", "b", data={"a": "1"})
    point = home.take()
    home.gone("configmaps/a")
    home.gone("configmaps/b")
    home.patch("resourcequotas/limit", {"spec": {"hard": {"count/configmaps": "1"}}})
    home.until(lambda: home.get("resourcequotas/limit")["status"]["hard"]["count/configmaps"] == "1")
    home.until(lambda: home.get("resourcequotas/limit")["status"]["used"]["count/configmaps"] == "1")
    home.restore(point)
    assert home.wrong(point) == []


# --- webhooks ---------------------------------------------------------------------------------------------------------


def test_a_webhook_that_is_served_from_the_namespace_itself_is_no_deadlock(
    home: Home, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """It cannot answer before its Service is back."""
    home.make("configmaps", "watched", data={"a": "1"})
    home.make("services", "hook", spec={"ports": PORTS})
    point = home.take()
    home.patch("configmaps/watched", {"data": {"a": "2"}})
    home.gone("services/hook")
    said = (f'Internal error occurred: failed calling webhook "check.test": Post "https://hook.{home.name}.svc:443/x": '
            f'service "hook" not found')  # fmt: skip
    body = json.dumps({"kind": "Status", "reason": "InternalError", "message": said, "code": 500}).encode()
    down = Fault(status=500, body=body, content_type="application/json")
    with faulty_proxy(home.server.url) as proxy:
        kubernetes_api.write_kubeconfig(tmp_path / "config", proxy.url, home.server.token)
        set_connection(monkeypatch, "test_kubernetes", conn_type="kubernetes",
                       extra={"kube_config_path": str(tmp_path / "config")})  # fmt: skip
        proxy.decide = lambda method, path: (
            down if method != "GET" and "/configmaps" in path and not home.exists("services/hook") else None
        )
        restored(home, point)
        assert home.get("configmaps/watched")["data"] == {"a": "1"}
        # one that is served elsewhere is named, and nothing is changed
        home.patch("configmaps/watched", {"data": {"a": "2"}})
        home.gone("services/hook")
        elsewhere = Fault(status=500, body=body.replace(home.name.encode(), b"kube-system"),
                          content_type="application/json")  # fmt: skip
        proxy.decide = lambda method, path: elsewhere if method != "GET" and "/configmaps" in path else None
        with pytest.raises(TemporaryError, match=r"check\.test.*repair or remove that webhook"):
            home.restore(point)
        assert not home.exists("services/hook")


# --- what comes after -------------------------------------------------------------------------------------------------


def test_the_next_deployment_meets_no_new_owner_and_keeps_its_memory(home: Home) -> None:
    path = f"/api/v1/namespaces/{home.name}/configmaps/a"
    document = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"a": "1"}}
    apply = "application/apply-patch+yaml"
    home.ask("PATCH", f"{path}?fieldManager=deployer", document, apply)
    last = "kubectl.kubernetes.io/last-applied-configuration"
    home.make("configmaps", "b", data={"a": "1"}, metadata={"annotations": {last: '{"data":{"a":"1"}}'}})
    point = home.take()
    home.patch("configmaps/a", {"data": {"a": "9"}})
    home.gone("configmaps/b")
    restored(home, point)
    assert home.get("configmaps/b")["metadata"]["annotations"][last] == '{"data":{"a":"1"}}'
    home.ask("PATCH", f"{path}?fieldManager=deployer", {**document, "data": {"a": "2"}}, apply)
    home.gone("configmaps/a")
    restored(home, point)
    home.ask("PATCH", f"{path}?fieldManager=deployer", {**document, "data": {"a": "3"}}, apply)


def test_replicas_that_an_autoscaler_decides_on_are_not_turned_back(home: Home) -> None:
    home.make("apps/v1:deployments", "shop", spec=workload(replicas=2))
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "shop"}
    home.make("autoscaling/v1:horizontalpodautoscalers", "shop", spec={"scaleTargetRef": target, "maxReplicas": 9})
    point = home.take()
    assert home.proven(point).ok
    home.patch("apps/v1:deployments/shop", {"spec": {"replicas": 7, "paused": True}})
    restored(home, point)
    live = home.get("apps/v1:deployments/shop")["spec"]
    assert (live["replicas"], live.get("paused")) == (7, None)
    home.gone("apps/v1:deployments/shop")
    restored(home, point)
    assert home.get("apps/v1:deployments/shop")["spec"]["replicas"] == 2


def test_what_an_autoscaler_measures_comes_back(home: Home) -> None:
    """Older servers prefer a version that holds most of it in annotations."""
    version = next(v for v in ("v2", "v2beta2") if home.status("GET", f"autoscaling/{v}:horizontalpodautoscalers")[0]
                   == 200)  # fmt: skip
    path = f"autoscaling/{version}:horizontalpodautoscalers"
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "shop"}
    metrics = [{"type": "Resource", "resource": {"name": kind, "target": {"type": "AverageValue", "averageValue": "9"}}}
               for kind in ("cpu", "memory")]  # fmt: skip
    behavior = {"scaleDown": {"stabilizationWindowSeconds": 99}}
    spec = home.make(path, "shop", spec={"scaleTargetRef": target, "maxReplicas": 9, "metrics": metrics,
                                         "behavior": behavior})["spec"]  # fmt: skip
    point = home.take()
    assert home.proven(point).ok
    home.patch(f"{path}/shop", {"spec": {"maxReplicas": 5}})
    restored(home, point)
    assert home.get(f"{path}/shop")["spec"] == spec
    home.gone(f"{path}/shop")
    restored(home, point)
    assert home.get(f"{path}/shop")["spec"] == spec


def test_what_the_server_counts_is_not_compared(home: Home) -> None:
    home.make("apps/v1:daemonsets", "agent", spec={k: v for k, v in workload().items() if k != "replicas"})
    point = home.take()
    path = "apps/v1:daemonsets/agent"
    for image in ("b:1", "c:1"):
        home.patch(path, {"spec": {"template": {"spec": pod(containers=[{"name": "main", "image": image}])}}})
    restored(home, point)
