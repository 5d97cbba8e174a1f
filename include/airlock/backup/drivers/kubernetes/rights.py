"""Which rights the driver needs at an API server, and which of them are missing: all of them at once.

Knows access reviews. What is needed is declared beside this module, in ``least_rights``.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from airlock.backup.drivers.kubernetes.cluster import Cluster
from airlock.backup.drivers.kubernetes.least_rights import EVERY, NEEDS
from airlock.backup.drivers.kubernetes.resources import ApiResource
from airlock.errors import AirlockError

_REVIEWS = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"


@dataclass(frozen=True)
class Right:
    """One verb on one resource; without a namespace it is needed in the whole cluster."""

    verb: str
    resource: str
    group: str
    namespace: str

    @property
    def where(self) -> str:
        """Return the place, as messages name it."""
        return f"in namespace {self.namespace}" if self.namespace else "at the cluster scope"


def needed(resources: Collection[ApiResource], origin: str, scratch: str) -> Iterator[Right]:
    """Yield every right that backup, restore test and way back use, of *resources* in both namespaces."""
    for permission in NEEDS.permissions:
        if permission.seldom:
            continue  # who has all rights that a Role grants needs no other right to write it
        plural, _, group = permission.on.partition(".")
        if permission.on != EVERY:
            yield from (Right(verb, plural, group, "") for verb in permission.actions)
            continue
        for resource in resources:
            if resource.plural == "pods" and not resource.group:
                if "list" in permission.actions:
                    yield Right("list", "pods", "", origin)
                continue
            for namespace in (origin, scratch):
                for verb in permission.actions:
                    yield Right(verb, resource.plural, resource.group, namespace)


def missing(cluster: Cluster, rights: Iterable[Right]) -> list[Right]:
    """Return those of *rights* that the API server says are not there."""
    return [right for right in rights if not _allowed(cluster, right)]


def _allowed(cluster: Cluster, right: Right) -> bool:
    attributes: dict[str, Any] = {"verb": right.verb, "resource": right.resource, "group": right.group}
    if right.namespace:
        attributes["namespace"] = right.namespace
    review = {"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview",
              "spec": {"resourceAttributes": attributes}}  # fmt: skip
    try:
        answer = cluster.call("POST", _REVIEWS, None, review)
    except AirlockError:  # who may not even ask is told what was refused in the first place
        return True
    return bool((answer.get("status") or {}).get("allowed"))


def in_words(rights: Iterable[Right]) -> str:
    """Return *rights* as people read them: verbs of each resource together, by place."""
    by_place: dict[str, dict[str, list[str]]] = {}
    for right in rights:
        name = f"{right.resource}.{right.group}" if right.group else right.resource
        by_place.setdefault(right.where, {}).setdefault(name, []).append(right.verb)
    places = []
    for where, resources in by_place.items():
        verbs: dict[tuple[str, ...], list[str]] = {}
        for name, given in resources.items():
            verbs.setdefault(tuple(given), []).append(name)
        places.append(f"{where}: " + "; ".join(f"{', '.join(v)} {', '.join(n)}" for v, n in verbs.items()))
    return " | ".join(places)
