"""What a real API server fills in, and the status that a settled object would show. Pure functions."""

from __future__ import annotations

from typing import Any

from sandbox.cluster.kinds import WITH_STATUS, Document, Kind

_WORKLOADS = ("deployments", "statefulsets", "daemonsets", "replicasets", "replicationcontrollers", "jobs")
_COUNTED = ("deployments", "statefulsets", "replicasets", "replicationcontrollers")


def fill_defaults(kind: Kind, document: Document) -> None:
    """Set, in place, the fields that a real server sets when they are absent."""
    if kind.home == ("", "secrets"):
        document.setdefault("type", "Opaque")
    elif kind.home == ("", "namespaces"):
        document["metadata"].setdefault("labels", {})["kubernetes.io/metadata.name"] = document["metadata"]["name"]
    elif kind.home == ("", "podtemplates"):
        _fill_pod(document.get("template"))
    spec = document.get("spec")
    if not isinstance(spec, dict):
        return
    if kind.home == ("", "pods"):
        _fill_pod(document)
    elif kind.home == ("", "persistentvolumeclaims"):
        spec.setdefault("volumeMode", "Filesystem")
    elif kind.home == ("", "services"):
        _fill_service(spec)
    elif kind.home == ("autoscaling", "horizontalpodautoscalers"):
        spec.setdefault("minReplicas", 1)
    elif kind.home == ("networking.k8s.io", "networkpolicies"):
        spec.setdefault("policyTypes", ["Ingress"])
    elif kind.group in ("", "apps", "batch") and kind.plural in _WORKLOADS:
        _fill_workload(kind, spec)
    if kind.home == ("", "services") and spec.get("type") == "ExternalName":
        for field in ("ipFamilies", "ipFamilyPolicy", "internalTrafficPolicy"):
            spec.pop(field, None)


def _fill_workload(kind: Kind, spec: Document) -> None:
    if kind.plural in _COUNTED:
        spec.setdefault("replicas", 1)
    if kind.plural in ("deployments", "statefulsets", "daemonsets"):
        spec.setdefault("revisionHistoryLimit", 10)
    if kind.plural == "deployments":
        spec.setdefault("progressDeadlineSeconds", 600)
        rolling = {"maxSurge": "25%", "maxUnavailable": "25%"}
        spec.setdefault("strategy", {"type": "RollingUpdate", "rollingUpdate": rolling})
    if kind.plural == "jobs":
        for key, value in (("backoffLimit", 6), ("completions", 1), ("parallelism", 1), ("suspend", False)):
            spec.setdefault(key, value)
        spec.setdefault("completionMode", "NonIndexed")
    _fill_pod(spec.get("template"))


def _fill_service(spec: Document) -> None:
    for key, value in (("type", "ClusterIP"), ("sessionAffinity", "None"), ("internalTrafficPolicy", "Cluster")):
        spec.setdefault(key, value)
    spec.setdefault("ipFamilies", ["IPv4"])
    spec.setdefault("ipFamilyPolicy", "SingleStack")
    if spec["type"] in ("NodePort", "LoadBalancer"):
        spec.setdefault("externalTrafficPolicy", "Cluster")
    if spec["type"] == "LoadBalancer":
        spec.setdefault("allocateLoadBalancerNodePorts", True)
    for port in spec.get("ports") or []:
        port.setdefault("protocol", "TCP")
        port.setdefault("targetPort", port.get("port"))


def status_of(kind: Kind, document: Document) -> Document | None:
    """The status that a settled object of this kind would show; None for kinds without one."""
    if kind.home == ("", "namespaces"):
        return {"phase": "Active"}
    if kind.home in (("apps", "deployments"), ("apps", "statefulsets")):
        count = (document.get("spec") or {}).get("replicas", 1)
        generation = document["metadata"].get("generation", 1)
        ready = {"replicas": count, "readyReplicas": count, "availableReplicas": count, "updatedReplicas": count}
        available = {"type": "Available", "status": "True", "reason": "MinimumReplicasAvailable"}
        return {"observedGeneration": generation, **ready, "conditions": [available]}
    if kind.home in (("", "services"), ("networking.k8s.io", "ingresses")):
        return {"loadBalancer": {}}
    if kind.home == ("autoscaling", "horizontalpodautoscalers"):
        return {"currentReplicas": 2, "desiredReplicas": 2, "currentMetrics": None}
    if kind.home == ("", "persistentvolumes"):
        return {"phase": "Available"}
    if kind.home == ("", "persistentvolumeclaims"):
        return {"phase": "Pending"}
    if kind.home == ("apiextensions.k8s.io", "customresourcedefinitions"):
        return {"conditions": [{"type": "Established", "status": "True", "reason": "InitialNamesAccepted"}]}
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
