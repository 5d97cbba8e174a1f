"""A restore test: it proves what a cluster would hold, and acts on nothing."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path
from typing import Any

import pytest

from sandbox import kubernetes_api
from tests.backup.drivers.kubernetes.conftest import IMAGE, Home, define, pod, workload
from tests.faulty_proxy import Fault, faulty_proxy
from tests.real_servers import set_connection

CLAIM = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
NAMED = ({"name": "A", "value": "1"}, {"name": "A", "value": "2"})
RBAC = "rbac.authorization.k8s.io/v1"
TLS = {"tls.crt": base64.b64encode(b"a").decode(), "tls.key": base64.b64encode(b"b").decode()}


def odd(home: Home) -> dict[str, dict[str, Any]]:
    """Objects that a real server holds and that are hard to restore."""
    twice = pod(imagePullSecrets=[{"name": "a"}, {"name": "a"}])
    twice["containers"] = [{
        "name": "main", "image": IMAGE, "env": list(NAMED),
        "ports": [{"containerPort": 80, "protocol": "TCP"}, {"containerPort": 80, "protocol": "TCP", "name": "b"}],
    }]  # fmt: skip
    twice["hostAliases"] = [{"ip": "10.0.0.1", "hostnames": ["a"]}, {"ip": "10.0.0.1", "hostnames": ["b"]}]
    template = {"metadata": {"labels": {"app": "twice"}}, "spec": twice}
    backend = {"service": {"name": "shop", "port": {"number": 80}}}
    rules = [{"host": "a.test", "http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": backend}]}}]
    return {
        "services/outside": {"spec": {"type": "ExternalName", "externalName": "db.example.com"}},
        "services/outside-ports": {
            "spec": {"type": "ExternalName", "externalName": "x.example.com", "ports": [{"port": 80}]}
        },
        "services/node": {"spec": {"type": "NodePort", "ports": [{"port": 80}]}},
        "services/balanced": {
            "spec": {"type": "LoadBalancer", "ports": [{"port": 80}], "externalTrafficPolicy": "Local"}
        },
        "services/headless": {"spec": {"clusterIP": "None", "selector": {"app": "a"}}},
        "networking.k8s.io/v1:ingresses/old": {
            "metadata": {"annotations": {"kubernetes.io/ingress.class": "nginx"}}, "spec": {"rules": rules},
        },
        "networking.k8s.io/v1:ingresses/new": {"spec": {"ingressClassName": "nginx", "rules": rules}},
        "apps/v1:deployments/twice": {
            "spec": {"selector": {"matchLabels": {"app": "twice"}}, "template": template, "replicas": 0}
        },
        "persistentvolumeclaims/data": {"spec": {**CLAIM, "storageClassName": "none"}},
        "persistentvolumeclaims/annotated": {
            "metadata": {"annotations": {"volume.beta.kubernetes.io/storage-class": "old"}}, "spec": CLAIM,
        },
        "secrets/certificate": {"type": "kubernetes.io/tls", "data": TLS},
        "configmaps/fixed": {"data": {"a": "1"}, "immutable": True},
        "serviceaccounts/robot": {"secrets": [{"name": "mine"}], "imagePullSecrets": [{"name": "pull"}]},
        "resourcequotas/full": {"spec": {"hard": {"configmaps": "1", "services": "1"}}},
        "limitranges/strict": {"spec": {"limits": [{"type": "PersistentVolumeClaim", "min": {"storage": "9Ti"}}]}},
        "podtemplates/mine": {"template": {"metadata": {"labels": {"a": "b"}}, "spec": pod()}},
        "networking.k8s.io/v1:networkpolicies/none": {"spec": {"podSelector": {}, "policyTypes": ["Ingress"]}},
    }  # fmt: skip


def test_what_a_real_server_holds_is_proven(home: Home) -> None:
    for path, fields in odd(home).items():
        home.make(path.rpartition("/")[0], path.rpartition("/")[2], **fields)
    point = home.take()
    proof = home.proven(point)
    assert proof.ok, proof.reason
    keys = {name.rpartition("/")[2] for name in point.facts["documents"]}
    assert {path.rpartition("/")[2] for path in odd(home)} <= keys


def test_lists_with_one_key_twice_come_back(home: Home) -> None:
    path = "apps/v1:deployments/twice"
    home.make("apps/v1:deployments", "twice", **odd(home)[path])
    point = home.take()
    home.gone(path)
    home.restore(point)
    assert home.wrong(point) == []
    home.patch(path, {"spec": {"paused": True}})
    home.restore(point)
    assert home.wrong(point) == []
    assert home.get(path)["spec"]["template"]["spec"]["containers"][0]["env"] == list(NAMED)


def test_nothing_that_something_acts_on_is_ever_created(home: Home) -> None:
    version = next(v for v in ("v1", "v1beta1") if home.status("GET", f"policy/{v}:poddisruptionbudgets")[0] == 200)
    budgets = f"policy/{version}:poddisruptionbudgets"
    home.make("configmaps", "board", data={"a": "1"},
              metadata={"labels": {"grafana_dashboard": "1"}, "annotations": {"copy.example.com/to": "*"}})  # fmt: skip
    home.make("batch/v1:jobs", "job", spec={"template": {"spec": pod(restartPolicy="Never")}})
    home.make("apps/v1:statefulsets", "state", spec=workload(
        serviceName="a", volumeClaimTemplates=[{"metadata": {"name": "data"}, "spec": CLAIM}]))  # fmt: skip
    home.make(f"{RBAC}:roles", "admin", rules=[{"apiGroups": [""], "resources": ["pods"], "verbs": ["create"]}])
    home.make(f"{RBAC}:rolebindings", "admin", subjects=[{"kind": "User", "name": "eve", "apiGroup": RBAC[:-3]}],
              roleRef={"kind": "Role", "name": "admin", "apiGroup": RBAC[:-3]})  # fmt: skip
    # alerts watch for budgets that no pod meets
    home.make(budgets, "budget", spec={"minAvailable": 1, "selector": {"matchLabels": {"app": "a"}}})
    for path, fields in odd(home).items():
        home.make(path.rpartition("/")[0], path.rpartition("/")[2], **fields)
    subject, point = home.driver(), home.take()
    subject.restore(point, home.scratch)
    assert [check for check in subject.prove(point, home.scratch) if not check.ok] == []
    scratch = Home(home.server, home.store, f"airlock-{home.scratch.name}")
    for path in ("services", "pods", "persistentvolumeclaims", "apps/v1:deployments", "apps/v1:statefulsets",
                 "apps/v1:replicasets", "batch/v1:jobs", "networking.k8s.io/v1:ingresses",
                 f"{RBAC}:rolebindings", "networking.k8s.io/v1:networkpolicies", budgets):  # fmt: skip
        assert scratch.get(path)["items"] == [], path
    accounts = {item["metadata"]["name"] for item in scratch.get("serviceaccounts")["items"]}
    assert accounts <= {"default"}  # older clusters issue a token for each
    board = scratch.get("configmaps/board")
    assert board["data"] == {"a": "1"}
    assert "labels" not in board["metadata"]
    assert set(board["metadata"]["annotations"]) == {"airlock.backup/restored"}
    subject.discard(home.scratch)


@pytest.mark.parametrize("harmless", [False, True])
def test_a_dry_run_that_another_server_could_take_for_real_is_never_sent(
    home: Home, group: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, harmless: bool
) -> None:
    """Servers behind an APIService are known to keep what a dry run sends."""
    home.make(f"{group}/v1:{define(home, group, 'Disk', 'v1').partition('.')[0]}", "one",
              apiVersion=f"{group}/v1", kind="Disk", spec={"size": 1})  # fmt: skip

    def delegated(body: bytes) -> bytes:
        found = json.loads(body)
        found["items"].append({"spec": {"group": group, "version": "v1", "service": {"name": "a", "namespace": "b"}}})
        return json.dumps(found).encode()

    with faulty_proxy(home.server.url) as proxy:
        proxy.decide = lambda method, path: Fault(alter=delegated) if path.endswith("/apiservices") else None
        kubernetes_api.write_kubeconfig(tmp_path / "config", proxy.url, home.server.token)
        set_connection(monkeypatch, "test_kubernetes", conn_type="kubernetes",
                       extra={"kube_config_path": str(tmp_path / "config")})  # fmt: skip
        options = {"harmless": (f"disks.{group}",)} if harmless else {}
        point = home.take(**options)
        proof = home.proven(point, **options)
        assert proof.ok is harmless, proof.reason
        assert harmless or re.search(rf"disks\.{group}: another server .* 'exclude' .* 'harmless'", proof.reason)
        home.patch(f"{group}/v1:disks/one", {"spec": {"size": 2}})
        home.restore(point, **options)
        assert home.wrong(point, **options) == []
        sent = [path for method, path in proxy.seen if group in path and "dryRun" in path]
        assert sent == []


UNIQUE = 'admission webhook "validate.ingress.test" denied the request: host "a.test" is already defined in ingress x'


@pytest.mark.parametrize("way", ["refused", "changed"])
def test_what_admission_allows_only_where_it_belongs_is_proven_there(
    home: Home, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, way: str
) -> None:
    """A gateway allows a host once in a cluster; policies go by the labels of a namespace."""
    for path in ("networking.k8s.io/v1:ingresses/new", "configmaps/fixed"):
        home.make(path.rpartition("/")[0], path.rpartition("/")[2], **odd(home)[path])
    point = home.take()
    denied = {"kind": "Status", "status": "Failure", "message": UNIQUE, "reason": "Forbidden", "code": 403}

    def labelled(body: bytes) -> bytes:
        document = json.loads(body)
        document["metadata"]["labels"] = {"injected": "yes"}
        return json.dumps(document).encode()

    faults = {"refused": Fault(status=403, body=json.dumps(denied).encode(), content_type="application/json"),
              "changed": Fault(alter=labelled)}  # fmt: skip
    with faulty_proxy(home.server.url) as proxy:
        place = f"/namespaces/airlock-{home.scratch.name}/ingresses"
        proxy.decide = lambda method, path: faults[way] if method == "POST" and place in path else None
        kubernetes_api.write_kubeconfig(tmp_path / "config", proxy.url, home.server.token)
        set_connection(monkeypatch, "test_kubernetes", conn_type="kubernetes",
                       extra={"kube_config_path": str(tmp_path / "config")})  # fmt: skip
        before = home.get("networking.k8s.io/v1:ingresses/new")
        proof = home.proven(point)
        assert proof.ok, proof.reason
        assert home.get("networking.k8s.io/v1:ingresses/new") == before
        place = "/ingresses"  # neither there nor where it belongs
        proxy.decide = lambda method, path: faults[way] if method != "GET" and place in path else None
        proof = home.proven(point)
        assert not proof.ok
        assert ("is already defined" if way == "refused" else "metadata.labels was added") in proof.reason


def test_no_free_volume_of_the_cluster_is_bound(home: Home) -> None:
    volume = {
        "metadata": {"name": home.name}, "spec": {
            "capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "storageClassName": "",
            "persistentVolumeReclaimPolicy": "Delete", "hostPath": {"path": f"/nowhere/{home.name}"},
        },
    }  # fmt: skip
    home.make("persistentvolumeclaims", "data", spec={**CLAIM, "storageClassName": "none"})
    home.make("persistentvolumeclaims", "big", spec={**CLAIM, "storageClassName": "",
                                                     "resources": {"requests": {"storage": "9Ti"}}})  # fmt: skip
    home.ask("POST", "/api/v1/persistentvolumes", volume)
    path = f"/api/v1/persistentvolumes/{home.name}"
    try:
        home.until(lambda: home.get(path)["status"].get("phase") == "Available")
        assert home.proven(home.take()).ok
        live = home.get(path)
        assert (live["status"]["phase"], live["spec"].get("claimRef")) == ("Available", None)
    finally:
        home.ask("DELETE", path)


def test_what_the_cluster_puts_into_every_namespace_is_no_difference(home: Home) -> None:
    home.make("configmaps", "a", data={"a": "1"})
    subject, point = home.driver(), home.take()
    subject.restore(point, home.scratch)
    scratch = Home(home.server, home.store, f"airlock-{home.scratch.name}")
    scratch.make("configmaps", "istio-ca-root-cert", data={"root": "x"})
    assert [check for check in subject.prove(point, home.scratch) if not check.ok] == []
    subject.discard(home.scratch)


def test_a_difference_names_fields_and_no_value(home: Home) -> None:
    home.make("secrets", "database", data={"password": base64.b64encode(b"hunter-2").decode()})
    subject, point = home.driver(), home.take()
    subject.restore(point, home.scratch)
    scratch = Home(home.server, home.store, f"airlock-{home.scratch.name}")
    other = base64.b64encode(b"other-value").decode()
    scratch.patch("secrets/database", {"data": {"password": other, "more": other}})
    (check,) = [check for check in subject.prove(point, home.scratch) if not check.ok]
    assert check.name == "content of secrets/database"
    assert str(check.found).endswith(": data.more was added, data.password differs")
    assert other not in str(check)
    scratch.ask("DELETE", "secrets/database")
    names = [check.name for check in subject.prove(point, home.scratch) if not check.ok]
    assert names == ["names of documents", "content of secrets/database"]
    subject.discard(home.scratch)


@pytest.mark.parametrize("again", [1, 2])
def test_a_restore_test_may_be_repeated_in_a_place_half_filled(home: Home, again: int) -> None:
    home.make("configmaps", "a", data={"a": "1"})
    subject, point = home.driver(), home.take()
    for _ in range(again):
        subject.restore(point, home.scratch)
    assert [check for check in subject.prove(point, home.scratch) if not check.ok] == []
    subject.discard(home.scratch)
    subject.discard(home.scratch)
