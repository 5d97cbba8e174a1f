"""Which resources the emulated API serves, and what a real API server fills in. Pure data and functions."""

from __future__ import annotations

from collections.abc import Iterable
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
    status_apart: bool = True
    """Whether ``status`` is a sub-resource; a custom kind may keep it as ordinary content."""

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def home(self) -> tuple[str, str]:
        """Where its objects lie, whatever the version in which they are asked for."""
        return self.group, self.plural

    @property
    def qualified(self) -> str:
        """As it is named in messages: ``deployments.apps``."""
        return f"{self.plural}.{self.group}" if self.group else self.plural


def _kinds(group: str, *versions: str, **plurals: str) -> tuple[Kind, ...]:
    return tuple(Kind(group, version, plural, name) for version in versions for plural, name in plurals.items())


KINDS = (
    Kind("", "v1", "namespaces", "Namespace", namespaced=False, short=("ns",)),
    Kind("", "v1", "persistentvolumes", "PersistentVolume", namespaced=False, short=("pv",)),
    Kind("", "v1", "configmaps", "ConfigMap", short=("cm",)),
    Kind("", "v1", "secrets", "Secret"),
    Kind("", "v1", "services", "Service", short=("svc",)),
    Kind("", "v1", "serviceaccounts", "ServiceAccount", short=("sa",)),
    Kind("", "v1", "persistentvolumeclaims", "PersistentVolumeClaim", short=("pvc",)),
    Kind("", "v1", "events", "Event", short=("ev",)),
    Kind("", "v1", "pods", "Pod", short=("po",)),
    Kind("", "v1", "endpoints", "Endpoints", short=("ep",)),
    Kind("", "v1", "resourcequotas", "ResourceQuota", short=("quota",)),
    Kind("", "v1", "limitranges", "LimitRange", short=("limits",)),
    Kind("", "v1", "podtemplates", "PodTemplate"),
    Kind("", "v1", "replicationcontrollers", "ReplicationController", short=("rc",)),
    Kind("apps", "v1", "deployments", "Deployment", short=("deploy",)),
    Kind("apps", "v1", "statefulsets", "StatefulSet", short=("sts",)),
    Kind("apps", "v1", "daemonsets", "DaemonSet", short=("ds",)),
    Kind("apps", "v1", "replicasets", "ReplicaSet", short=("rs",)),
    Kind("batch", "v1", "cronjobs", "CronJob", short=("cj",)),
    Kind("batch", "v1", "jobs", "Job"),
    Kind("networking.k8s.io", "v1", "ingresses", "Ingress", short=("ing",)),
    Kind("networking.k8s.io", "v1", "networkpolicies", "NetworkPolicy", short=("netpol",)),
    Kind("autoscaling", "v2", "horizontalpodautoscalers", "HorizontalPodAutoscaler", short=("hpa",)),
    Kind("autoscaling", "v1", "horizontalpodautoscalers", "HorizontalPodAutoscaler", short=("hpa",)),
    Kind("policy", "v1", "poddisruptionbudgets", "PodDisruptionBudget", short=("pdb",)),
    Kind("discovery.k8s.io", "v1", "endpointslices", "EndpointSlice"),
    Kind("coordination.k8s.io", "v1", "leases", "Lease"),
    *_kinds("rbac.authorization.k8s.io", "v1", roles="Role", rolebindings="RoleBinding"),
    *(Kind("rbac.authorization.k8s.io", "v1", plural, name, namespaced=False)
      for plural, name in (("clusterroles", "ClusterRole"), ("clusterrolebindings", "ClusterRoleBinding"))),
    Kind("apiextensions.k8s.io", "v1", "customresourcedefinitions", "CustomResourceDefinition", namespaced=False),
    Kind("apiregistration.k8s.io", "v1", "apiservices", "APIService", namespaced=False),
)
WITH_STATUS = frozenset(
    {"namespaces", "services", "deployments", "statefulsets", "ingresses", "horizontalpodautoscalers", "cronjobs"}
    | {"persistentvolumeclaims", "poddisruptionbudgets", "daemonsets", "jobs", "resourcequotas", "pods"}
)
NAMESPACES = KINDS[0]
VOLUMES = KINDS[1]


def find(group: str, version: str, plural: str) -> Kind | None:
    """The built-in kind that is served at this address."""
    return next((k for k in KINDS if (k.group, k.version, k.plural) == (group, version, plural)), None)


def built_in(plural: str) -> Kind:
    """The built-in kind of this plural, in its first version."""
    return next(kind for kind in KINDS if kind.plural == plural)


def groups(kinds: Iterable[Kind]) -> dict[str, list[str]]:
    """Every named group with its versions."""
    found: dict[str, list[str]] = {}
    for kind in kinds:
        if kind.group and kind.version not in found.setdefault(kind.group, []):
            found[kind.group].append(kind.version)
    return found


def resource_list(kinds: Iterable[Kind], group: str, version: str) -> Document | None:
    """The discovery document of one group and version, with sub-resources as a real server lists them."""
    rows: list[Document] = []
    for kind in kinds:
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
