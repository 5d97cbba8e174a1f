"""What of a namespace is taken, what is derived from it by controllers, and what is left out and has to be said.

Pure: no I/O, no cluster. A controller's objects come back by themselves; what nobody would make again and cannot be
restored either (a bare pod, a token, a finished Job) is declared in the recovery point, not lost in silence.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from airlock.backup.drivers.kubernetes.resources import ApiResource, group_of, is_custom, is_kind

VIRTUAL_GROUPS = frozenset({"metrics.k8s.io", "custom.metrics.k8s.io", "external.metrics.k8s.io", "extensions"})
"""Groups that keep nothing (or the same as another group): they are not even asked for."""
_DERIVED = frozenset({
    "events", "events.events.k8s.io", "bindings", "leases.coordination.k8s.io", "controllerrevisions.apps",
    "csistoragecapacities.storage.k8s.io", "leasecandidates.coordination.k8s.io",
    "podcertificaterequests.certificates.k8s.io",
})  # fmt: skip
_FOR_EVERY_NAMESPACE = ("kube-root-ca.crt", "openshift-service-ca.crt", "istio-ca-root-cert")
_API_SERVER = ("default", "kubernetes")
"""The Service of the API server, and its addresses, which the server writes itself."""
_SLICE_LABEL = "endpointslice.kubernetes.io/managed-by"
_SLICE_CONTROLLERS = ("endpointslice-controller.k8s.io", "endpointslicemirroring-controller.k8s.io")
_LEADER = "control-plane.alpha.kubernetes.io/leader"
POD = "a pod that nothing would start again"
TOKEN = "a token that the cluster issues"  # noqa: S105 - words for people
FINISHED = "a finished Job: made again it would run again"
RAN = "runs once: made again it would run again"
GOING = "is being deleted"
_RUN_ONCE: Mapping[str, tuple[str, ...]] = {
    "argoproj.io": ("Workflow", "AnalysisRun", "Experiment"), "batch.volcano.sh": ("Job",),
    "tekton.dev": ("PipelineRun", "TaskRun", "CustomRun", "Run"), "sparkoperator.k8s.io": ("SparkApplication",),
    "kubeflow.org": ("TFJob", "PyTorchJob", "MPIJob", "XGBoostJob", "PaddleJob", "JAXJob"), "ray.io": ("RayJob",),
    "trainer.kubeflow.org": ("TrainJob",), "kubevirt.io": ("VirtualMachineInstanceMigration",),
    "velero.io": ("Backup", "Restore", "DeleteBackupRequest", "DownloadRequest", "PodVolumeBackup",
                  "PodVolumeRestore", "ServerStatusRequest", "DataUpload", "DataDownload"),
    "stash.appscode.com": ("BackupSession", "RestoreSession", "BackupBatchSession", "Recovery"),
    "core.kubestash.com": ("BackupSession", "RestoreSession"), "k8up.io": ("Backup", "Restore", "Archive", "Check"),
    "postgresql.cnpg.io": ("Backup",), "k6.io": ("TestRun", "K6"), "kyverno.io": ("UpdateRequest",),
}  # fmt: skip
"""Custom kinds that act once, when they are made, by group."""
_ENDS = ("completionTime", "completionTimestamp", "completedAt", "finishedAt", "finishTime", "endTime", "stoppedAt",
         "terminationTime")  # fmt: skip
OWNED = "belongs to another object and goes with it"


def is_asked_for(resource: ApiResource, exclude: Iterable[str]) -> bool:
    """Return whether objects of *resource* are listed at all."""
    names = {resource.name, resource.plural, f"*.{resource.group}"}
    return resource.name not in _DERIVED and not names & set(exclude)


def is_given_up(group: str, exclude: Iterable[str]) -> bool:
    """Return whether the service file leaves out something of *group*, so that the group may be down."""
    return any(entry.endswith(f".{group}") for entry in exclude)


def derived(live: Mapping[str, Any], services: Mapping[str, Any]) -> bool:
    """Return whether a controller or the cluster makes *live* by itself; *services* are the namespace's, by name."""
    metadata = live["metadata"]
    labels, annotations = metadata.get("labels") or {}, metadata.get("annotations") or {}
    if any(owner.get("controller") for owner in metadata.get("ownerReferences") or ()):
        return True
    if (metadata.get("namespace"), metadata["name"]) == _API_SERVER and (
        is_kind(live, "", "Service", "Endpoints") or is_kind(live, "discovery.k8s.io", "EndpointSlice")
    ):
        return True
    if is_kind(live, "discovery.k8s.io", "EndpointSlice"):
        return labels.get(_SLICE_LABEL) in _SLICE_CONTROLLERS
    if is_kind(live, "", "Endpoints"):
        service = services.get(metadata["name"])
        return _LEADER in annotations or bool(service and (service.get("spec") or {}).get("selector"))
    return (is_kind(live, "", "ConfigMap") and metadata["name"] in _FOR_EVERY_NAMESPACE) or (
        is_kind(live, "", "ResourceQuota") and metadata["name"] == "airlock-no-pods"
    )


def left_out(live: Mapping[str, Any]) -> str:
    """Return why *live* is not taken although nothing makes it again; empty when it is taken."""
    if live["metadata"].get("deletionTimestamp"):
        return GOING
    if is_kind(live, "", "Pod"):
        return POD
    if live["metadata"].get("ownerReferences"):
        return OWNED
    if _is_token(live):
        return TOKEN
    if live["kind"] in _RUN_ONCE.get(group_of(live["apiVersion"]), ()):
        return RAN
    if is_finished(live):
        return RAN if is_custom(live) else FINISHED
    return ""


def is_finished(live: Mapping[str, Any]) -> bool:
    """Return whether *live* is a Job, or a custom object, that has run to its end, well or not."""
    status = live.get("status")
    if is_custom(live):
        return isinstance(status, Mapping) and any(status.get(name) for name in _ENDS)
    conditions = (status or {}).get("conditions") or ()
    return is_kind(live, "batch", "Job") and any(
        found.get("type") in ("Complete", "Failed") and found.get("status") == "True" for found in conditions
    )


def _is_token(live: Mapping[str, Any]) -> bool:
    if not is_kind(live, "", "Secret"):
        return False
    if live.get("type") == "kubernetes.io/dockercfg":  # OpenShift issues one for each service account
        return "kubernetes.io/service-account.name" in (live["metadata"].get("annotations") or {})
    return live.get("type") in ("kubernetes.io/service-account-token", "bootstrap.kubernetes.io/token")


def autoscaled(objects: Iterable[Mapping[str, Any]]) -> set[tuple[str, str, str]]:
    """Return group, kind and name of everything in *objects* whose replicas an autoscaler decides on."""
    found = set()
    for live in objects:
        if is_kind(live, "autoscaling", "HorizontalPodAutoscaler") or is_kind(live, "keda.sh", "ScaledObject"):
            target = (live.get("spec") or {}).get("scaleTargetRef") or {}
            group = group_of(str(target.get("apiVersion") or "apps/v1"))
            found.add((group, str(target.get("kind") or "Deployment"), str(target.get("name") or "")))
    return found


def is_autoscaled(document: Mapping[str, Any], scaled: set[tuple[str, str, str]]) -> bool:
    """Return whether *document* is one of the *scaled*."""
    return (group_of(str(document["apiVersion"])), document["kind"], document["metadata"]["name"]) in scaled
