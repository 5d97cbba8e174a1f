"""What a cluster serves inside a namespace, as a backup has to know it: each kind once, in a version that serves it.

Knows discovery documents; sends nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from airlock.errors import PermanentError

_VERBS = {"list", "get", "create", "update", "delete"}
_OWN_GROUPS = frozenset({
    "", "admissionregistration.k8s.io", "apps", "authentication.k8s.io", "authorization.k8s.io", "autoscaling",
    "batch", "certificates.k8s.io", "coordination.k8s.io", "discovery.k8s.io", "events.k8s.io", "extensions",
    "flowcontrol.apiserver.k8s.io", "networking.k8s.io", "node.k8s.io", "policy", "rbac.authorization.k8s.io",
    "resource.k8s.io", "scheduling.k8s.io", "storage.k8s.io",
})  # fmt: skip
"""The groups that every API server serves by itself; all others are defined by somebody."""


@dataclass(frozen=True)
class ApiResource:
    """One resource, such as ``deployments`` of ``apps/v1``."""

    api_version: str
    plural: str
    kind: str

    @property
    def group(self) -> str:
        """Return the API group; empty for the core."""
        return group_of(self.api_version)

    @property
    def name(self) -> str:
        """Return ``plural`` or ``plural.group``."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    def path(self, namespace: str, name: str = "") -> str:
        """Return the address of the collection in *namespace*, or of one object."""
        # names of roles may hold what means something in an address: '?', '#', spaces
        return f"{version_path(self.api_version)}/namespaces/{namespace}/{self.plural}" + (
            f"/{quote(name, safe='')}" if name else ""
        )


class NamespaceItself(ApiResource):
    """The namespace, which lies in no namespace: its address is told by where it is, not by its name."""

    def path(self, namespace: str, name: str = "") -> str:  # noqa: ARG002 - as of all resources
        """Return the address of *namespace*."""
        return f"/api/v1/namespaces/{namespace}"


NAMESPACE = NamespaceItself("v1", "namespaces", "Namespace")


def version_path(api_version: str) -> str:
    """Return the address below which *api_version* is served."""
    return f"/{'apis' if '/' in api_version else 'api'}/{api_version}"


def group_of(api_version: str) -> str:
    """Return the group in ``group/version``; empty for the core's ``v1``."""
    return api_version.rpartition("/")[0]


def is_kind(document: Mapping[str, Any], group: str, *kinds: str) -> bool:
    """Return whether *document* is one of *kinds* of *group*: other groups may use the same names for other things."""
    return document.get("kind") in kinds and group_of(str(document.get("apiVersion", ""))) == group


def is_custom(document: Mapping[str, Any]) -> bool:
    """Return whether *document* is of a kind that is not Kubernetes' own."""
    return group_of(str(document.get("apiVersion", ""))) not in _OWN_GROUPS


def is_to_be_served(definition: Mapping[str, Any]) -> bool:
    """Return whether a CustomResourceDefinition is one that the server serves, now or in a moment."""
    conditions = (definition.get("status") or {}).get("conditions") or ()
    refused = any(one.get("type") == "Established" and one.get("status") != "True" for one in conditions)
    going = (definition.get("metadata") or {}).get("deletionTimestamp")
    versions = (definition.get("spec") or {}).get("versions") or ()
    return not refused and not going and any(one.get("served") for one in versions)


def versions_of(group: Mapping[str, Any]) -> list[str]:
    """Return the versions of a *group* of ``/apis``, the preferred one first."""
    preferred = group["preferredVersion"]["groupVersion"]
    return [preferred, *(entry["groupVersion"] for entry in group["versions"] if entry["groupVersion"] != preferred)]


@dataclass(frozen=True)
class Served:
    """Everything that can be listed and written inside a namespace; ``down`` names versions that do not answer."""

    by_version: Mapping[str, tuple[ApiResource, ...]]
    down: Mapping[str, str]

    def resources(self) -> list[ApiResource]:
        """Return each resource once, in the first of its group's versions that serves it."""
        found: dict[str, ApiResource] = {}
        for listed in self.by_version.values():
            for resource in listed:
                found.setdefault(resource.name, resource)
        return list(found.values())

    def versions_of(self, name: str) -> list[str]:
        """Return the versions that serve the resource *name*, the preferred one first."""
        return [version for version, found in self.by_version.items() if any(one.name == name for one in found)]

    def in_version(self, name: str, api_version: str) -> ApiResource | None:
        """Return the resource *name* in just this version."""
        return next((found for found in self.by_version.get(api_version, ()) if found.name == name), None)

    def of_documents(self, documents: Mapping[str, Mapping[str, Any]], label: str) -> dict[str, ApiResource]:
        """Return the resource of each document, in the document's own version.

        :raises PermanentError: the cluster does not serve one of them, or not in that version; all are named
        """
        newest = {resource.name: resource for resource in self.resources()}
        found, unknown, other = {}, set(), set()
        for key, document in documents.items():
            name = key.partition("/")[0]
            exact = NAMESPACE if name == NAMESPACE.name else self.in_version(name, document["apiVersion"])
            if exact is not None:
                found[key] = exact
            elif name in newest:
                other.add(f"{name} in {document['apiVersion']} but in {newest[name].api_version}")
            else:
                unknown.add(name)
        if unknown or other:
            raise PermanentError(
                f"{label}: the cluster does not serve {', '.join([*sorted(unknown), *sorted(other)])}; "
                "install what defines them as it was when the backup was taken"
            )
        return found


def listed(api_version: str, document: Mapping[str, Any]) -> tuple[ApiResource, ...]:
    """Return what the discovery *document* of *api_version* names that can be listed and written in a namespace."""
    return tuple(
        ApiResource(api_version, entry["name"], entry["kind"])
        for entry in document.get("resources") or ()
        if entry.get("namespaced") and "/" not in entry["name"] and set(entry.get("verbs") or ()) >= _VERBS
    )


def by_name(resources: Iterable[ApiResource]) -> dict[str, ApiResource]:
    """Return *resources* by ``plural`` or ``plural.group``."""
    return {resource.name: resource for resource in resources}
