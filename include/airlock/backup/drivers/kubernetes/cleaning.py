"""Turns live Kubernetes objects into documents that can be compared anywhere, and back. Pure: no I/O, no cluster.

What the server or a controller sets is removed. What holds only at the origin (addresses, finalizers, who owns which
field) is kept apart in the document under :data:`ORIGIN`: it is restored there, and nowhere else.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Collection, Mapping
from typing import Any

from airlock.backup.drivers.kubernetes.resources import is_custom, is_kind

HERE = "{namespace}"
"""Stands for the object's own namespace in a document."""
_BOUND = "pv.kubernetes.io/bound-by-controller"
ORIGIN = "airlock.backup/origin"
SCRATCH_MARK = {"app.kubernetes.io/managed-by": "airlock"}
SUSPENDED = "airlock.backup/suspended-was"
"""On a Job that was made again so that it does not run: what the fields were that keep it from running."""
LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
_SERVER_ANNOTATIONS = (
    "deployment.kubernetes.io/", "pv.kubernetes.io/", "deprecated.daemonset.template.generation",
    "volume.kubernetes.io/", "volume.beta.kubernetes.io/storage-provisioner", "control-plane.alpha.kubernetes.io/",
    # beside these, older versions of an autoscaler keep what it measures in annotations
    "autoscaling.alpha.kubernetes.io/conditions", "autoscaling.alpha.kubernetes.io/current-metrics",
    "field.cattle.io/publicEndpoints", "endpoints.kubernetes.io/last-change-trigger-time",
    "rollout.argoproj.io/revision", "cattle.io/status", "batch.kubernetes.io/job-tracking",
)  # fmt: skip
# put there when they are needed by who needs them; restored by hand they would hold an object for ever
_SERVER_FINALIZERS = frozenset({
    "kubernetes.io/pvc-protection", "kubernetes.io/pv-protection", "service.kubernetes.io/load-balancer-cleanup",
    "foregroundDeletion", "orphan", "batch.kubernetes.io/job-tracking", "kubernetes",
    "resource.kubernetes.io/delete-protection",
})  # fmt: skip
_SERVER_FINALIZER_GROUPS = ("snapshot.storage.kubernetes.io/", "provisioner.storage.kubernetes.io/")
CREDENTIALS = ("secrets", "imagePullSecrets")
"""Where a service account names Secrets."""
JOB_LABELS = ("controller-uid", "job-name", "batch.kubernetes.io/controller-uid", "batch.kubernetes.io/job-name")


def clean(live: Mapping[str, Any], namespace: str, *, autoscaled: bool = False) -> dict[str, Any]:
    """Return *live* in canonical form, with *namespace* replaced by :data:`HERE`.

    :param autoscaled: an autoscaler decides on ``spec.replicas``, so that it belongs to the moment
    """
    kept = {key: value for key, value in live.items() if key not in ("status", ORIGIN)}
    # in what others define, null can mean something: in the values of a Helm release it takes a default away
    document: dict[str, Any] = copy.deepcopy(kept) if is_custom(live) else _without_nothing(kept)
    if is_kind(document, "argoproj.io", "Application"):
        document.pop("operation", None)  # a request of the moment: put back, it would be carried out again
    metadata = document["metadata"]
    origin: dict[str, Any] = {}
    annotations = dict(metadata.get("annotations") or {})
    if LAST_APPLIED in annotations:
        origin["last_applied"] = annotations.pop(LAST_APPLIED)
    suspended = annotations.pop(SUSPENDED, None)
    annotations = {key: value for key, value in annotations.items() if not is_of_the_server(key)}
    if finalizers := sorted(name for name in metadata.get("finalizers") or () if not _is_protection(name)):
        origin["finalizers"] = finalizers
    if managers := [entry for entry in metadata.get("managedFields") or () if not entry.get("subresource")]:
        origin["managers"] = managers
    if "creationTimestamp" in metadata:
        origin["created"] = metadata["creationTimestamp"]
    document["metadata"] = {"name": metadata["name"]}
    for field, value in (("labels", metadata.get("labels")), ("annotations", annotations)):
        if value:
            document["metadata"][field] = value
    spec = document.get("spec")
    if isinstance(spec, dict):
        _clean_spec(document, spec, origin, bound=_BOUND in (metadata.get("annotations") or {}))
        if autoscaled and "replicas" in spec:
            origin["replicas"] = spec.pop("replicas")
    if suspended is not None and is_kind(document, "batch", "Job"):
        for field, value in json.loads(suspended).items():
            _put(document["spec"], field, value)
    _clean_rest(document, namespace)
    return {**document, ORIGIN: origin} if origin else document


def comparable(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return what must be the same wherever *document* is restored."""
    return {key: value for key, value in document.items() if key != ORIGIN}


def is_of_the_server(annotation: str) -> bool:
    """Return whether the server or a controller writes this annotation."""
    return annotation.startswith(_SERVER_ANNOTATIONS)


def _is_protection(finalizer: str) -> bool:
    return finalizer in _SERVER_FINALIZERS or finalizer.startswith(_SERVER_FINALIZER_GROUPS)


def _clean_spec(document: dict[str, Any], spec: dict[str, Any], origin: dict[str, Any], *, bound: bool) -> None:
    """Clean *spec*; *bound*: a controller chose the volume of a claim, not who made it."""
    if is_kind(document, "", "Service"):
        _clean_service(spec, origin)
    elif is_kind(document, "", "PersistentVolumeClaim"):
        volume = spec.pop("volumeName", None)
        if volume and not bound:
            origin["volume"] = volume
    elif is_kind(document, "", "Namespace"):
        spec.pop("finalizers", None)
    elif is_kind(document, "batch", "Job") and not spec.get("manualSelector"):
        spec.pop("selector", None)
        labels = (spec.get("template", {}).get("metadata") or {}).get("labels") or {}
        for name in JOB_LABELS:
            labels.pop(name, None)
        own = document["metadata"].get("labels") or {}
        kept = {name: value for name, value in own.items() if name not in JOB_LABELS}
        if own and not kept:
            del document["metadata"]["labels"]
        elif own:
            document["metadata"]["labels"] = kept


def _clean_service(spec: dict[str, Any], origin: dict[str, Any]) -> None:
    """Keep addresses and node ports apart: no second Service can have them."""
    held = ("clusterIP", "clusterIPs", "healthCheckNodePort")
    addresses: dict[str, Any] = {field: spec.pop(field) for field in held if field in spec}
    if addresses.get("clusterIP") == "None":
        spec["clusterIP"] = "None"
        addresses = {}
    ports = [port.pop("nodePort", None) for port in spec.get("ports") or ()]
    if any(ports):
        addresses["nodePorts"] = ports
    if addresses:
        origin["addresses"] = addresses


def _clean_rest(document: dict[str, Any], namespace: str) -> None:
    if is_kind(document, "rbac.authorization.k8s.io", "RoleBinding"):
        for subject in document.get("subjects") or ():
            if subject.get("namespace") == namespace:
                subject["namespace"] = HERE
    elif is_kind(document, "", "ServiceAccount"):
        for field in CREDENTIALS:
            given, account = document.pop(field, None) or (), document["metadata"]["name"]
            if kept := [entry for entry in given if not is_issued(account, entry)]:
                document[field] = kept
    elif is_kind(document, "", "Namespace"):
        document["metadata"]["name"] = HERE
        labels = document["metadata"].get("labels") or {}
        labels.pop("kubernetes.io/metadata.name", None)
        if not labels:
            document["metadata"].pop("labels", None)
        document.pop("spec", None)


def is_issued(account: str, entry: Mapping[str, Any]) -> bool:
    """Return whether *entry* of the service account *account* names a credential that the cluster issued for it."""
    return bool(re.fullmatch(re.escape(account) + r"-(token|dockercfg)-[a-z0-9]{5}", str(entry.get("name", ""))))


def _without_nothing(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _without_nothing(inner) for key, inner in value.items() if inner is not None}
    return [_without_nothing(inner) for inner in value] if isinstance(value, list) else value


def sent(document: Mapping[str, Any], namespace: str) -> dict[str, Any]:
    """Return *document* as it is sent to *namespace*, without what holds only at the origin."""
    found = copy.deepcopy(comparable(document))
    if is_kind(found, "", "Namespace"):
        found["metadata"]["name"] = namespace
        return found
    found["metadata"]["namespace"] = namespace
    for subject in found.get("subjects") or () if is_kind(found, "rbac.authorization.k8s.io", "RoleBinding") else ():
        if subject.get("namespace") == HERE:
            subject["namespace"] = namespace
    return found


def sent_home(document: Mapping[str, Any], namespace: str, taken: Collection[str] = ()) -> dict[str, Any]:
    """Return *document* as it is sent to its origin, with what holds only there, but for addresses that are *taken*."""
    found = sent(document, namespace)
    origin = document.get(ORIGIN) or {}
    if "last_applied" in origin:
        found["metadata"].setdefault("annotations", {})[LAST_APPLIED] = origin["last_applied"]
    if "finalizers" in origin:
        found["metadata"]["finalizers"] = list(origin["finalizers"])
    if "replicas" in origin:
        found["spec"]["replicas"] = origin["replicas"]
    if "volume" in origin:  # without it the claim would take any volume that fits
        found["spec"]["volumeName"] = origin["volume"]
    given = {field: value for field, value in (origin.get("addresses") or {}).items() if field not in taken}
    for port, number in zip(found.get("spec", {}).get("ports") or (), given.pop("nodePorts", ()), strict=False):
        _put(port, "nodePort", number)
    if given:
        found["spec"].update(given)
    return found


def _put(target: dict[str, Any], field: str, value: Any) -> None:
    if value is None:
        target.pop(field, None)
    else:
        target[field] = value
