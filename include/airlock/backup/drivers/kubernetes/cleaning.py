"""Turns live Kubernetes objects into documents that can be applied anywhere, and back. Pure: no I/O, no cluster.

What the server or a controller sets is removed. What would act on the world from a restore test (a load balancer, an
ingress for the same host, a volume) is *disarmed* in a scratch namespace: its value is kept in an annotation and
compared from there.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from typing import Any

HERE = "{namespace}"
"""Stands for the object's own namespace in a document."""
_DISARMED = "airlock.backup/disarmed"
_METADATA = ("name", "labels", "annotations")
_SERVER_ANNOTATIONS = (
    "kubectl.kubernetes.io/last-applied-configuration", "deployment.kubernetes.io/", "pv.kubernetes.io/",
    "volume.kubernetes.io/", "volume.beta.kubernetes.io/", "control-plane.alpha.kubernetes.io/", "autoscaling.alpha.",
)  # fmt: skip
_JOB_LABELS = ("controller-uid", "job-name", "batch.kubernetes.io/controller-uid", "batch.kubernetes.io/job-name")
# kind -> field of spec -> what a scratch namespace gets instead (None: the field is left out)
_HARMLESS: Mapping[str, Mapping[str, Any]] = {
    "Service": {"type": "ClusterIP", "externalIPs": None, "externalName": None, "loadBalancerIP": None,
                "loadBalancerClass": None, "loadBalancerSourceRanges": None, "externalTrafficPolicy": None,
                "allocateLoadBalancerNodePorts": None},
    "Ingress": {"ingressClassName": "airlock-none"},
    "PersistentVolumeClaim": {"storageClassName": "", "dataSource": None, "dataSourceRef": None},
}  # fmt: skip


def is_managed(live: Mapping[str, Any]) -> bool:
    """Return whether a controller or the cluster itself makes this object, so that it must not be restored."""
    metadata = live["metadata"]
    return bool(
        metadata.get("ownerReferences")
        or metadata.get("deletionTimestamp")
        or live.get("type") in ("kubernetes.io/service-account-token", "bootstrap.kubernetes.io/token")
        or (live.get("kind") == "ConfigMap" and metadata["name"] in ("kube-root-ca.crt", "openshift-service-ca.crt"))
        or (live.get("kind") == "ResourceQuota" and metadata["name"] == "airlock-no-pods")
    )


def clean(live: Mapping[str, Any], namespace: str) -> dict[str, Any]:
    """Return *live* in canonical form, with what was disarmed put back and *namespace* replaced by :data:`HERE`."""
    document: dict[str, Any] = _without_nothing({key: value for key, value in live.items() if key != "status"})
    metadata = {key: document["metadata"][key] for key in _METADATA if document["metadata"].get(key)}
    annotations = dict(metadata.pop("annotations", {}))
    disarmed = json.loads(annotations.pop(_DISARMED, "{}"))
    annotations = {key: value for key, value in annotations.items() if not key.startswith(_SERVER_ANNOTATIONS)}
    document["metadata"] = {**metadata, **({"annotations": annotations} if annotations else {})}
    spec = document.get("spec", {})
    for field, value in disarmed.items():
        spec.pop(field, None)
        if value is not None:
            spec[field] = value
    _clean_kind(document, spec)
    for subject in document.get("subjects", ()):
        if subject.get("namespace") == namespace:
            subject["namespace"] = HERE
    if document.get("kind") == "ServiceAccount":
        document.pop("secrets", None)  # tokens that a controller made
    return document


def _clean_kind(document: dict[str, Any], spec: dict[str, Any]) -> None:
    kind = document.get("kind")
    if kind == "Service":
        if spec.get("clusterIP") != "None":
            spec.pop("clusterIP", None)
        for field in ("clusterIPs", "healthCheckNodePort"):
            spec.pop(field, None)
        for port in spec.get("ports", ()):
            port.pop("nodePort", None)
    elif kind == "PersistentVolumeClaim":
        spec.pop("volumeName", None)
    elif kind == "Job" and not spec.get("manualSelector"):
        spec.pop("selector", None)
        labels = spec.get("template", {}).get("metadata", {}).get("labels", {})
        for name in _JOB_LABELS:
            labels.pop(name, None)


def _without_nothing(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _without_nothing(inner) for key, inner in value.items() if inner is not None}
    return [_without_nothing(inner) for inner in value] if isinstance(value, list) else value


def placed(document: Mapping[str, Any], namespace: str, *, scratch: bool) -> dict[str, Any]:
    """Return *document* as it is sent to *namespace*; in a scratch namespace it is disarmed."""
    sent = copy.deepcopy(dict(document))
    sent["metadata"]["namespace"] = namespace
    for subject in sent.get("subjects", ()):
        if subject.get("namespace") == HERE:
            subject["namespace"] = namespace
    harmless = _HARMLESS.get(sent.get("kind", ""), {}) if scratch else {}
    spec = sent.get("spec", {})
    kept: dict[str, Any] = {}
    for field, value in harmless.items():
        present = field in spec
        if not present and field != "ingressClassName" and value in (None, "ClusterIP"):
            continue
        if present and spec[field] == value:
            continue
        kept[field] = spec.pop(field, None)
        if value is not None:
            spec[field] = value
    if kept:
        sent["metadata"].setdefault("annotations", {})[_DISARMED] = json.dumps(kept, sort_keys=True)
    return sent
