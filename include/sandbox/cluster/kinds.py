"""Which resources the emulated API serves, and what a real API server fills in. Pure data and functions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

Document = dict[str, Any]
VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "update")


@dataclass(frozen=True)
class Kind:
    """One served resource, such as group ``apps``, version ``v1``, plural ``deployments``."""

    group: str
    version: str
    plural: str
    name: str
    namespaced: bool = True
    short: tuple[str, ...] = ()

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def qualified(self) -> str:
        """As it is named in messages: ``deployments.apps``."""
        return f"{self.plural}.{self.group}" if self.group else self.plural


KINDS = (
    Kind("", "v1", "namespaces", "Namespace", namespaced=False, short=("ns",)),
    Kind("", "v1", "configmaps", "ConfigMap", short=("cm",)),
    Kind("", "v1", "secrets", "Secret"),
    Kind("", "v1", "services", "Service", short=("svc",)),
    Kind("", "v1", "serviceaccounts", "ServiceAccount", short=("sa",)),
    Kind("", "v1", "persistentvolumeclaims", "PersistentVolumeClaim", short=("pvc",)),
    Kind("", "v1", "events", "Event", short=("ev",)),
    Kind("apps", "v1", "deployments", "Deployment", short=("deploy",)),
    Kind("apps", "v1", "statefulsets", "StatefulSet", short=("sts",)),
    Kind("batch", "v1", "cronjobs", "CronJob", short=("cj",)),
    Kind("networking.k8s.io", "v1", "ingresses", "Ingress", short=("ing",)),
    Kind("networking.k8s.io", "v1", "networkpolicies", "NetworkPolicy", short=("netpol",)),
    Kind("autoscaling", "v2", "horizontalpodautoscalers", "HorizontalPodAutoscaler", short=("hpa",)),
    Kind("policy", "v1", "poddisruptionbudgets", "PodDisruptionBudget", short=("pdb",)),
    Kind("rbac.authorization.k8s.io", "v1", "roles", "Role"),
    Kind("rbac.authorization.k8s.io", "v1", "rolebindings", "RoleBinding"),
)
WITH_STATUS = frozenset(
    {"namespaces", "services", "deployments", "statefulsets", "ingresses", "horizontalpodautoscalers", "cronjobs"}
    | {"persistentvolumeclaims", "poddisruptionbudgets"}
)
NAMESPACES = KINDS[0]


def find(group: str, version: str, plural: str) -> Kind | None:
    """The kind that is served at this address."""
    return next((k for k in KINDS if (k.group, k.version, k.plural) == (group, version, plural)), None)


def groups() -> dict[str, list[str]]:
    """Every named group with its versions."""
    found: dict[str, list[str]] = {}
    for kind in KINDS:
        if kind.group and kind.version not in found.setdefault(kind.group, []):
            found[kind.group].append(kind.version)
    return found


def resource_list(group: str, version: str) -> Document | None:
    """The discovery document of one group and version, with sub-resources as a real server lists them."""
    rows: list[Document] = []
    for kind in KINDS:
        if (kind.group, kind.version) != (group, version):
            continue
        base = {"singularName": kind.name.lower(), "namespaced": kind.namespaced, "kind": kind.name}
        row = {"name": kind.plural, **base, "verbs": list(VERBS)}
        if kind.short:
            row["shortNames"] = list(kind.short)
        rows.append(row)
        if kind.plural in WITH_STATUS:
            rows.append(
                {"name": f"{kind.plural}/status", **base, "singularName": "", "verbs": ["get", "patch", "update"]}
            )
    if not rows:
        return None
    if not group:
        # Listed by every real server, and cannot be read: a client has to look at the verbs.
        row = {
            "name": "bindings",
            "singularName": "binding",
            "namespaced": True,
            "kind": "Binding",
            "verbs": ["create"],
        }
        rows.append(row)
    name = f"{group}/{version}" if group else version
    return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": name, "resources": rows}


def fill_defaults(kind: Kind, document: Document) -> None:
    """Set, in place, the fields that a real server sets when they are absent."""
    spec = document.get("spec")
    if kind.plural == "secrets":
        document.setdefault("type", "Opaque")
    elif kind.plural in ("deployments", "statefulsets") and isinstance(spec, dict):
        spec.setdefault("replicas", 1)
        spec.setdefault("revisionHistoryLimit", 10)
        if kind.plural == "deployments":
            spec.setdefault("progressDeadlineSeconds", 600)
            rolling = {"maxSurge": "25%", "maxUnavailable": "25%"}
            spec.setdefault("strategy", {"type": "RollingUpdate", "rollingUpdate": rolling})
        _fill_pod(spec.get("template"))
    elif kind.plural == "services" and isinstance(spec, dict):
        for key, value in (("type", "ClusterIP"), ("sessionAffinity", "None"), ("internalTrafficPolicy", "Cluster")):
            spec.setdefault(key, value)
        spec.setdefault("ipFamilies", ["IPv4"])
        spec.setdefault("ipFamilyPolicy", "SingleStack")
        for port in spec.get("ports") or []:
            port.setdefault("protocol", "TCP")
            port.setdefault("targetPort", port.get("port"))
    elif kind.plural == "horizontalpodautoscalers" and isinstance(spec, dict):
        spec.setdefault("minReplicas", 1)


def status_of(kind: Kind, document: Document) -> Document | None:
    """The status that a settled object of this kind would show; None for kinds without one."""
    if kind.plural == "namespaces":
        return {"phase": "Active"}
    if kind.plural in ("deployments", "statefulsets"):
        count = (document.get("spec") or {}).get("replicas", 1)
        generation = document["metadata"].get("generation", 1)
        ready = {"replicas": count, "readyReplicas": count, "availableReplicas": count, "updatedReplicas": count}
        available = {"type": "Available", "status": "True", "reason": "MinimumReplicasAvailable"}
        return {"observedGeneration": generation, **ready, "conditions": [available]}
    if kind.plural in ("services", "ingresses"):
        return {"loadBalancer": {}}
    if kind.plural == "horizontalpodautoscalers":
        return {"currentReplicas": 2, "desiredReplicas": 2, "currentMetrics": None}
    return {} if kind.plural in WITH_STATUS else None


def _fill_pod(template: Any) -> None:
    pod = template.get("spec") if isinstance(template, dict) else None
    if not isinstance(pod, dict):
        return
    pod.setdefault("restartPolicy", "Always")
    pod.setdefault("dnsPolicy", "ClusterFirst")
    pod.setdefault("schedulerName", "default-scheduler")
    pod.setdefault("securityContext", {})
    pod.setdefault("terminationGracePeriodSeconds", 30)
    for container in pod.get("containers") or []:
        container.setdefault("imagePullPolicy", "IfNotPresent")
        container.setdefault("terminationMessagePath", "/dev/termination-log")
        container.setdefault("terminationMessagePolicy", "File")
        container.setdefault("resources", {})
        for port in container.get("ports") or []:
            port.setdefault("protocol", "TCP")
