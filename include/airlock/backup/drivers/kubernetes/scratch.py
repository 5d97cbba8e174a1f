"""The scratch namespace of a restore test: what may be put into it, and what is proved there without being put.

A restore test must not act on the world. Everything is tried by a server-side dry run of what the way back would send,
and compared after defaulting and admission. Really created, without labels and annotations that something might watch,
is only what no controller and no gateway acts on. Pods, claims, services and routes never exist there.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Mapping
from typing import Any

from airlock.backup.drivers.kubernetes import cleaning, refusals, writing
from airlock.backup.drivers.kubernetes.cluster import Cluster
from airlock.backup.drivers.kubernetes.resources import ApiResource
from airlock.errors import PermanentError, TemporaryError

log = logging.getLogger(__name__)
HARMLESS = frozenset({
    "configmaps", "secrets", "podtemplates", "roles.rbac.authorization.k8s.io",
})  # fmt: skip
"""No RoleBinding is among them: people would get rights in a namespace without the origin's quotas and pod security. No
ServiceAccount: older clusters and platforms issue credentials for each. No NetworkPolicy and no PodDisruptionBudget:
networks and alerts follow them."""
_CREATED = "airlock.backup/restored"
_QUOTA_SECONDS = 180
_NO_PODS = ApiResource("v1", "resourcequotas", "ResourceQuota")
Documents = Mapping[str, Mapping[str, Any]]


class Scratch:
    """One scratch namespace, by its name and its origin's. *named* are resources that the service file names as
    harmless beside the known ones."""

    def __init__(self, cluster: Cluster, names: tuple[str, str], label: str, named: Collection[str] = ()) -> None:
        self._cluster, self._label = cluster, label
        self._namespace, self._origin = names
        self._named = frozenset(named)

    def restore(self, documents: Documents, resources: Mapping[str, ApiResource]) -> None:
        """Try all of *documents*, then create those that are harmless.

        :raises PermanentError: another server answers for some of them, and could make them for real
        """
        self._refuse_delegated(resources)
        self._prepare()
        for key in sorted(documents):
            if not self._cluster.is_delegated(resources[key]):
                self._tried(resources[key], documents[key])
        if self._named:
            self._allow_no_pods()
        created = [key for key in sorted(documents) if self._is_created(resources[key])]
        for key in created:
            sent = self._as_created(resources[key], documents[key])
            writing.put(self._cluster, resources[key], self._namespace, sent, dry_run=False)
        log.info("%s: %d object(s) tried in namespace %s, %d of them created", self._label, len(documents),
                 self._namespace, len(created))  # fmt: skip

    def found(self, documents: Documents, resources: Mapping[str, ApiResource]) -> dict[str, dict[str, Any]]:
        """Return each of *documents* as the cluster would hold it; without those that were created and are gone."""
        created = self._created({resource for key, resource in resources.items() if self._is_created(resource)})
        found = {}
        for key in sorted(documents):
            resource = resources[key]
            if self._is_created(resource) and key not in created:
                continue
            if self._cluster.is_delegated(resource):
                found[key] = _without_mark(created[key])
                continue
            document = self._tried(resource, documents[key])
            if self._is_created(resource):
                document = {**created[key], "metadata": document["metadata"]}
            found[key] = document
        return found

    def discard(self) -> None:
        """Delete the namespace and wait until it is gone; succeeds when it is not there.

        :raises PermanentError: Airlock did not make it
        """
        path = f"/api/v1/namespaces/{self._namespace}"
        live = self._cluster.get(path)
        if live is None:
            return
        self._refuse_foreign(live)
        begun = time.monotonic()
        self._cluster.delete(path, uid=live["metadata"]["uid"], wait=True)
        log.info("%s: scratch namespace %s deleted, gone after %.1f s", self._label, self._namespace,
                 time.monotonic() - begun)  # fmt: skip

    # --- parts --------------------------------------------------------------------------------------------------------

    def _is_created(self, resource: ApiResource) -> bool:
        return resource.name in HARMLESS or resource.name in self._named

    def _as_created(self, resource: ApiResource, document: Mapping[str, Any]) -> dict[str, Any]:
        sent = cleaning.sent(document, self._namespace)
        if resource.name not in self._named:
            # tools all over a cluster look for labels and annotations: copiers of secrets, dashboards, Argo CD
            sent["metadata"] = {"name": sent["metadata"]["name"], "namespace": self._namespace}
        sent["metadata"].setdefault("annotations", {})[_CREATED] = "true"
        return sent

    def _tried(self, resource: ApiResource, document: Mapping[str, Any]) -> dict[str, Any]:
        """Return *document* as the server would keep it: in the scratch namespace or, where admission refuses or
        changes it there, where it belongs. Webhooks and policies go by a namespace's labels, and some allow a host
        or an address only once in a cluster."""
        wanted = cleaning.comparable(document)
        try:
            found = self._tried_in(self._namespace, resource, document)
        except refusals.Denied as error:
            log.info("%s: refused in a scratch namespace, tried where it belongs: %s", self._label, error)
            try:
                return self._tried_in(self._origin, resource, document)
            except PermanentError:
                raise error from None
        if found == wanted:
            return found
        try:
            at_home = self._tried_in(self._origin, resource, document)
        except PermanentError:
            return found
        return at_home if at_home == wanted else found

    def _tried_in(self, namespace: str, resource: ApiResource, document: Mapping[str, Any]) -> dict[str, Any]:
        sent = cleaning.sent(document, namespace)
        answer = writing.put(self._cluster, resource, namespace, sent, dry_run=True)
        scaled = "replicas" in (document.get(cleaning.ORIGIN) or {})
        return cleaning.comparable(cleaning.clean(answer, namespace, autoscaled=scaled))

    def _created(self, resources: Collection[ApiResource]) -> dict[str, dict[str, Any]]:
        found = {}
        for resource in resources:
            for live in self._cluster.list(resource, self._namespace):
                if _CREATED in (live["metadata"].get("annotations") or {}):
                    document = cleaning.comparable(cleaning.clean(live, self._namespace))
                    found[f"{resource.name}/{live['metadata']['name']}"] = document
        return found

    def _refuse_delegated(self, resources: Mapping[str, ApiResource]) -> None:
        names = {found.name for found in resources.values()
                 if self._cluster.is_delegated(found) and not self._is_created(found)}  # fmt: skip
        if names:
            raise PermanentError(
                f"{self._label}: {', '.join(sorted(names))}: another server than the cluster's own answers for it (an "
                "APIService), and may not keep a dry run apart from a real write; leave it out with 'exclude' or, when "
                "nothing acts on it, name it in 'harmless'"
            )

    def _refuse_foreign(self, live: Mapping[str, Any]) -> None:
        labels = live["metadata"].get("labels") or {}
        if any(labels.get(key) != value for key, value in cleaning.SCRATCH_MARK.items()):
            raise PermanentError(
                f"{self._label}: namespace {self._namespace} was not made by Airlock and is left alone; "
                "rename or remove it"
            )

    def _prepare(self) -> None:
        path = f"/api/v1/namespaces/{self._namespace}"
        live = self._cluster.get(path)
        if live is None:
            metadata = {"name": self._namespace, "labels": cleaning.SCRATCH_MARK}
            document = {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}
            self._cluster.create("/api/v1/namespaces", document)
            log.info("%s: scratch namespace %s made", self._label, self._namespace)
            return
        self._refuse_foreign(live)
        if live["metadata"].get("deletionTimestamp"):
            raise TemporaryError(
                f"{self._label}: namespace {self._namespace} is being deleted; try again when it is gone"
            )

    def _allow_no_pods(self) -> None:
        """Let no pod start for what the service file names: what it is, only its author knows."""
        name = "airlock-no-pods"
        path = _NO_PODS.path(self._namespace, name)
        quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": name, "namespace": self._namespace},
                 "spec": {"hard": {"pods": "0"}}}  # fmt: skip
        writing.put(self._cluster, _NO_PODS, self._namespace, quota, dry_run=False)
        deadline = time.monotonic() + _QUOTA_SECONDS
        while not ((self._cluster.get(path) or {}).get("status") or {}).get("hard"):
            if time.monotonic() > deadline:
                raise TemporaryError(
                    f"{self._label}: the quota {name} in namespace {self._namespace} has no effect after "
                    f"{_QUOTA_SECONDS} s: nothing was created, because pods could start there; check that the "
                    "controller manager runs, then try again"
                )
            time.sleep(0.3)


def _without_mark(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return what was really created without the mark that it was."""
    metadata = dict(document["metadata"])
    annotations = {key: value for key, value in metadata.pop("annotations", {}).items() if key != _CREATED}
    return {**document, "metadata": {**metadata, **({"annotations": annotations} if annotations else {})}}
