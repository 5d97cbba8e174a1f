"""Which objects may be deleted and made anew, where a field of them cannot be changed. Pure: no I/O."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from airlock.backup.drivers.kubernetes.resources import is_kind

Document = Mapping[str, Any]
# nothing outside the cluster and no data hangs on them
_REMADE: Mapping[str, tuple[str, ...]] = {
    "": ("Service", "Secret", "ConfigMap", "ReplicationController", "Endpoints", "PodTemplate",
         "ResourceQuota"),
    "apps": ("Deployment", "DaemonSet", "StatefulSet", "ReplicaSet"),
    "rbac.authorization.k8s.io": ("RoleBinding",), "discovery.k8s.io": ("EndpointSlice",),
    "networking.k8s.io": ("NetworkPolicy",), "policy": ("PodDisruptionBudget",),
    "resource.k8s.io": ("ResourceClaimTemplate",),
}  # fmt: skip


def may_be_remade(document: Document, live: Document) -> bool:
    """Return whether *live* may be deleted and made anew as *document*: no data, no address outside goes with it."""
    if not any(is_kind(document, group, *kinds) for group, kinds in _REMADE.items()):
        return False
    if is_kind(document, "", "Service"):
        # the cloud's load balancer, and its address, would go with the Service
        return "LoadBalancer" not in (document["spec"].get("type"), live["spec"].get("type"))
    if is_kind(document, "apps", "StatefulSet"):
        return bool(document["spec"].get("selector") == (live.get("spec") or {}).get("selector"))
    return True


def why_service(document: Document, live: Document) -> str:
    """Return why a change of the Service *live* to *document*, which a server takes, is not one; empty when it is."""
    spec, own = document["spec"], live["spec"]
    if "ExternalName" not in (spec.get("type"), own.get("type")) and _is_headless(spec) != _is_headless(own):
        return "a Service cannot become headless, or cease to be"  # the server takes it, and does not make it
    if own.get("selector") and not spec.get("selector") and may_be_remade(document, live):
        return "addresses of the pods that it selects would stay"
    return ""


def _is_headless(spec: Document) -> bool:
    return bool(spec.get("clusterIP") == "None")
