"""Back up every object of a Kubernetes namespace as manifests, and prove it in a namespace where nothing can run.

Knows the driver contract; what the API server speaks and what is removed from an object live in the modules beside
this one.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import Field

from airlock.backup.driver import Capabilities, Place
from airlock.backup.drivers.kubernetes import cleaning
from airlock.backup.drivers.kubernetes.cluster import ApiResource, Cluster
from airlock.backup.secret_documents import SecretDocumentDriver
from airlock.connections import ConnectionId
from airlock.errors import InvalidInput, PermanentError, TemporaryError
from airlock.identity import kubernetes_identity
from airlock.models import Kind
from airlock.options import Options as DriverOptions

log = logging.getLogger(__name__)
_SKIPPED = frozenset({
    "events", "events.events.k8s.io", "endpoints", "endpointslices.discovery.k8s.io", "pods", "bindings",
    "leases.coordination.k8s.io", "controllerrevisions.apps", "pods.metrics.k8s.io", "podtemplates",
    "csistoragecapacities.storage.k8s.io",
})  # fmt: skip
_FIRST = ("ResourceQuota", "LimitRange", "ServiceAccount", "Role", "RoleBinding", "Secret", "ConfigMap",
          "PersistentVolumeClaim", "Service")  # fmt: skip
_MARK = {"app.kubernetes.io/managed-by": "airlock"}
_QUOTA_SECONDS = 30
_NO_PODS = ApiResource("v1", "resourcequotas", "ResourceQuota")


class ManifestsOptions(DriverOptions):
    """Options of the driver ``manifests``."""

    connection: ConnectionId = Field(description="Airflow connection of Kubernetes")
    namespace: str = Field(pattern=r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$", description="the namespace to back up")
    label_selector: str = Field("", description="only objects with these labels; empty: all of the namespace")
    exclude: tuple[str, ...] = Field((), description="resources to leave out, as plural or plural.group")

    def identities(self) -> tuple[str, ...]:
        return (kubernetes_identity(self.connection, self.namespace),)


class ManifestsDriver(SecretDocumentDriver):
    """Every namespaced object that people or tools made; not what controllers derive from them."""

    kind: ClassVar[Kind] = Kind.KUBERNETES
    Options = ManifestsOptions
    options: ManifestsOptions
    capabilities: ClassVar[Capabilities] = Capabilities(
        consistent="each list at the moment it is read; pods, cluster addresses and node ports are made anew. A "
        "restore test runs no pod; load balancers, ingress classes and volumes are compared but not made"
    )

    def export(self, place: Place) -> Mapping[str, Any]:
        cluster, namespace = self._cluster(), self._namespace_of(place)
        if cluster.get(f"/api/v1/namespaces/{namespace}") is None:
            return {}
        documents = {}
        for resource in self._resources(cluster):
            for item in cluster.list(resource, namespace, self.options.label_selector):
                # entries of a list carry neither
                live = {**item, "apiVersion": resource.api_version, "kind": resource.kind}
                if not cleaning.is_managed(live):
                    documents[f"{resource.name}/{item['metadata']['name']}"] = cleaning.clean(live, namespace)
        log.info("%s: %d object(s) read in namespace %s", self.label, len(documents), namespace)
        return documents

    def load(self, documents: Mapping[str, Any], place: Place) -> None:
        cluster, namespace = self._cluster(), self._namespace_of(place)
        resources = {resource.name: resource for resource in self._resources(cluster)}
        self._prepare(cluster, namespace, place)
        ordered = sorted(documents.items(), key=lambda item: (_rank(item[1]["kind"]), item[0]))
        unknown = sorted({key.partition("/")[0] for key in documents} - set(resources))
        if unknown:
            raise PermanentError(
                f"{self.label}: the cluster does not serve {', '.join(unknown)}; install what defines them"
            )
        held = self.export(place) if place.origin else {}
        changed = [(key, document) for key, document in ordered if held.get(key) != document]
        for dry_run in (True, False):  # all of it is tried before any of it is done
            for key, document in changed:
                sort, _, name = key.partition("/")
                path = resources[sort].path(namespace, name)
                self._put(cluster, path, cleaning.placed(document, namespace, scratch=not place.origin), place,
                          dry_run=dry_run)  # fmt: skip
        removed = sorted(set(held) - set(documents))
        for key in removed:
            sort, _, name = key.partition("/")
            cluster.delete(resources[sort].path(namespace, name))
        log.info("%s: %d of %d object(s) applied to namespace %s, %d removed", self.label, len(changed), len(documents),
                 namespace, len(removed))  # fmt: skip

    def discard(self, place: Place) -> None:
        if place.origin:
            raise InvalidInput(f"{self.label}: the origin is no scratch place and is never discarded")
        cluster, namespace = self._cluster(), self._namespace_of(place)
        path = f"/api/v1/namespaces/{namespace}"
        live = cluster.get(path)
        if live is None:
            return
        self._refuse_foreign(live, namespace)
        begun = time.monotonic()
        cluster.delete(path, wait=True)
        log.info("%s: scratch namespace %s deleted, gone after %.1f s", self.label, namespace, time.monotonic() - begun)

    # --- parts --------------------------------------------------------------------------------------------------------

    def _cluster(self) -> Cluster:
        return Cluster(self.options.connection, self.label)

    def _namespace_of(self, place: Place) -> str:
        if not place.origin and not place.name:
            raise InvalidInput(f"{self.label}: a scratch place needs a name")
        return self.options.namespace if place.origin else f"airlock-{place.name.lower()}"

    def _resources(self, cluster: Cluster) -> list[ApiResource]:
        left_out = _SKIPPED | set(self.options.exclude)
        return [found for found in cluster.resources() if not {found.name, found.plural} & left_out]

    def _refuse_foreign(self, live: Mapping[str, Any], namespace: str) -> None:
        labels = live["metadata"].get("labels") or {}
        if any(labels.get(key) != value for key, value in _MARK.items()):
            raise PermanentError(
                f"{self.label}: namespace {namespace} was not made by Airlock and is left alone; rename or remove it"
            )

    def _prepare(self, cluster: Cluster, namespace: str, place: Place) -> None:
        """Make the namespace; a scratch one gets a quota that lets no pod start before anything else is put into it."""
        path = f"/api/v1/namespaces/{namespace}"
        live = cluster.get(path)
        if live is not None and live["metadata"].get("deletionTimestamp"):
            raise TemporaryError(f"{self.label}: namespace {namespace} is being deleted; try again when it is gone")
        if place.origin:
            if live is None:
                cluster.apply(path, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}})
            return
        if live is not None:
            self._refuse_foreign(live, namespace)
        metadata = {"name": namespace, "labels": _MARK}
        cluster.apply(path, {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
        log.info("%s: scratch namespace %s made", self.label, namespace)
        if any(found.name == _NO_PODS.name for found in cluster.resources()):
            self._allow_no_pods(cluster, namespace)

    def _allow_no_pods(self, cluster: Cluster, namespace: str) -> None:
        name = "airlock-no-pods"
        path = _NO_PODS.path(namespace, name)
        cluster.apply(path, {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": name},
                             "spec": {"hard": {"pods": "0"}}})  # fmt: skip
        deadline = time.monotonic() + _QUOTA_SECONDS
        while not ((cluster.get(path) or {}).get("status") or {}).get("hard"):
            if time.monotonic() > deadline:
                raise TemporaryError(
                    f"{self.label}: the quota {name} in namespace {namespace} has no effect after {_QUOTA_SECONDS} s: "
                    f"nothing was restored, because pods could start there"
                )
            time.sleep(0.3)

    @staticmethod
    def _put(cluster: Cluster, path: str, document: dict[str, Any], place: Place, *, dry_run: bool) -> None:
        live = cluster.get(path) if place.origin else None
        if live is None:
            cluster.apply(path, document, dry_run=dry_run)
            return
        # an apply would keep the fields that others added after the backup; a replacement does not
        document["metadata"]["resourceVersion"] = live["metadata"]["resourceVersion"]
        if document["kind"] == "Service" and "clusterIP" not in document.get("spec", {}):
            document["spec"] |= {key: live["spec"][key] for key in ("clusterIP", "clusterIPs") if key in live["spec"]}
        if document["kind"] == "PersistentVolumeClaim" and "volumeName" in live.get("spec", {}):
            document["spec"]["volumeName"] = live["spec"]["volumeName"]
        cluster.replace(path, document, dry_run=dry_run)


def _rank(kind: str) -> int:
    return _FIRST.index(kind) if kind in _FIRST else len(_FIRST)
