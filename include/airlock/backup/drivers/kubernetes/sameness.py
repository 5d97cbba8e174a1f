"""When the origin is as it was: what may differ there for a good reason, and what holds only there. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from airlock.backup.drivers.kubernetes import cleaning, ordering
from airlock.backup.drivers.kubernetes.cluster import MANAGER
from airlock.models import Check

FINISHED = "airlock.backup/finished"


def versions(documents: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Return the version of each resource in *documents*."""
    return {key.partition("/")[0]: document["apiVersion"] for key, document in documents.items()}


def is_same(document: Mapping[str, Any], held: Mapping[str, Any] | None) -> bool:
    """Return whether the origin holds *document* already, with its addresses and finalizers."""
    if held is None or cleaning.comparable(document) != cleaning.comparable(held):
        return False
    ours, theirs = document.get(cleaning.ORIGIN) or {}, held.get(cleaning.ORIGIN) or {}
    return ours.get("addresses", theirs.get("addresses")) == theirs.get("addresses") and set(
        ours.get("finalizers") or ()
    ) <= set(theirs.get("finalizers") or ())


def is_back(document: Mapping[str, Any], held: Mapping[str, Any] | None) -> bool:
    """Return whether nothing is left to do for *document*: a way back that was cut short may still own its fields."""
    if held is None or not is_same(document, held):
        return False
    ours, theirs = document.get(cleaning.ORIGIN) or {}, held.get(cleaning.ORIGIN) or {}
    return not ours.get("managers") or MANAGER not in _managers(theirs) - _managers(ours)


def _managers(origin: Mapping[str, Any]) -> set[str]:
    return {str(entry.get("manager")) for entry in origin.get("managers") or ()}


def stays(document: Mapping[str, Any], since: datetime) -> bool:
    """Return whether what the backup of *since* does not hold may stay at the origin: it is never removed."""
    return bool(ordering.why_kept(document, since) or document.get(FINISHED))


def may_differ(document: Mapping[str, Any], found: Mapping[str, Any]) -> str:
    """Return why *found* is right although it is not what was recorded; empty when it is not right."""
    if found.get(FINISHED):
        return "it has run to its end since"
    grown = ordering.not_shrunk(document, found)
    if grown is not document and cleaning.comparable(grown) == cleaning.comparable(found):
        return "it has more replicas since, and would delete the claims of those that go"
    if document.get("kind") == "PersistentVolumeClaim" and found["metadata"] == document["metadata"]:
        ours, theirs = dict(document.get("spec") or {}), dict(found.get("spec") or {})
        size = ours.pop("resources", None), theirs.pop("resources", None)
        attributes = not ours.get("volumeAttributesClassName") and theirs.pop("volumeAttributesClassName", None)
        if ours == theirs and size[0] != size[1]:
            return "the claim has grown since, and cannot shrink"
        if ours == theirs and attributes:
            return "the claim has got a class of volume attributes since, which cannot be taken away"
    return ""


def only_home(key: str, document: Mapping[str, Any], found: Mapping[str, Any] | None) -> Iterator[Check]:
    """Yield the checks of what holds only at the origin."""
    ours, theirs = document.get(cleaning.ORIGIN) or {}, (found or {}).get(cleaning.ORIGIN) or {}
    if "addresses" in ours:
        yield Check(name=f"addresses of {key}", expected=ours["addresses"], found=theirs.get("addresses"),
                    ok=ours["addresses"] == theirs.get("addresses"))  # fmt: skip
    if "finalizers" in ours:
        held = theirs.get("finalizers") or []
        yield Check(name=f"finalizers of {key}", expected={"holds": ours["finalizers"]}, found=held,
                    ok=set(ours["finalizers"]) <= set(held))  # fmt: skip
