"""In which order a way back acts, and what of the later additions it never removes or shrinks. Pure: no I/O."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from airlock.backup.drivers.kubernetes.cleaning import ORIGIN
from airlock.backup.drivers.kubernetes.resources import group_of, is_custom, is_kind

REMOVE, PUT = "remove", "put"
_FIRST = ("namespaces", "serviceaccounts", "roles.rbac.authorization.k8s.io", "rolebindings.rbac.authorization.k8s.io",
          "secrets", "configmaps", "persistentvolumeclaims", "services")  # fmt: skip
Document = Mapping[str, Any]


def steps(
    changed: Mapping[str, Document], live: Mapping[str, Document | None], removed: Mapping[str, Document]
) -> list[tuple[str, str]]:
    """Return act and key of every step: limits that get wider, then what is removed (it makes room under a quota),
    then what is restored in the order in which things need each other, and at last limits that get narrower."""
    wider = [key for key in sorted(changed) if is_limit(changed[key]) and _widens(changed[key], live.get(key))]
    narrower = [key for key in sorted(changed) if is_limit(changed[key]) and key not in wider]
    rest = sorted((key for key in changed if not is_limit(changed[key])), key=lambda key: (_rank(key), key))
    going = sorted(removed, key=lambda key: (-_rank(key), key))
    first = [key for key in rest if _rank(key) == 0]
    return [
        *((PUT, key) for key in first),
        *((PUT, key) for key in wider),
        *((REMOVE, key) for key in going),
        *((PUT, key) for key in rest if key not in first),
        *((PUT, key) for key in narrower),
    ]


def is_quota(document: Document) -> bool:
    """Return whether *document* limits how much there may be."""
    return is_kind(document, "", "ResourceQuota")


def is_limit(document: Document) -> bool:
    """Return whether *document* can make the server refuse others."""
    return is_kind(document, "", "ResourceQuota", "LimitRange")


def _widens(document: Document, live: Document | None) -> bool:
    """Return whether *document* allows at least what the *live* one allows, in every respect."""
    from kubernetes.utils import parse_quantity

    if live is None:
        return False
    if not is_quota(document):
        return True
    wanted, held = ((found.get("spec") or {}).get("hard") or {} for found in (document, live))
    return all(
        name in held and parse_quantity(str(limit)) >= parse_quantity(str(held[name])) for name, limit in wanted.items()
    )


def _rank(key: str) -> int:
    sort = key.partition("/")[0]
    return _FIRST.index(sort) if sort in _FIRST else len(_FIRST)


def why_kept(document: Document, since: datetime) -> str:
    """Return why an object that the backup of the moment *since* does not hold is never removed; empty when it may
    be."""
    created = (document.get(ORIGIN) or {}).get("created")
    if created and datetime.fromisoformat(created) < since:
        return "was there before the backup, which does not hold it, and is left alone"
    why = _why_dear(document)
    return f"was added after the backup and is left alone: {why}" if why else ""


def _why_dear(document: Document) -> str:
    if is_kind(document, "", "PersistentVolumeClaim"):
        return "its volume would go with it"
    policy = (document.get("spec") or {}).get("persistentVolumeClaimRetentionPolicy") or {}
    if is_kind(document, "apps", "StatefulSet") and policy.get("whenDeleted") == "Delete":
        return "its claims, and with them volumes, would go with it"
    if group_of(str(document.get("apiVersion", ""))) == "snapshot.storage.k8s.io":
        return "its snapshot would go with it"
    if is_custom(document) and (document.get(ORIGIN) or {}).get("finalizers"):
        return "its controller acts on the world when it goes (it has a finalizer); remove it by hand"
    return ""


def not_shrunk(document: Document, live: Document) -> Document:
    """Return *document*, with the replicas of *live* where a StatefulSet with fewer would delete claims."""
    origin, spec = document.get(ORIGIN) or {}, document.get("spec") or {}
    if not _shrinking_deletes_claims(document):
        return document
    held, wanted = (live.get("spec") or {}).get("replicas", 1), origin.get("replicas", spec.get("replicas", 1))
    if held <= wanted:
        return document
    if "replicas" in origin:
        return {**document, ORIGIN: {**origin, "replicas": held}}
    return {**document, "spec": {**spec, "replicas": held}}


def _shrinking_deletes_claims(document: Document) -> bool:
    policy = (document.get("spec") or {}).get("persistentVolumeClaimRetentionPolicy") or {}
    return is_kind(document, "apps", "StatefulSet") and policy.get("whenScaled") == "Delete"
