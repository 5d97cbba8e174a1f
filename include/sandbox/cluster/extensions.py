"""Kinds that a cluster does not bring along: custom resources, and groups that another server would answer. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from sandbox.cluster.kinds import Document, Kind


def custom_kinds(definitions: Iterable[Document]) -> Iterator[Kind]:
    """The kinds that *definitions* define, in each version that is served, stable ones first."""
    for definition in definitions:
        spec = definition["spec"]
        names = spec["names"]
        served = [version for version in spec["versions"] if version.get("served")]
        versions = sorted(served, key=lambda version: ("beta" in version["name"], version["name"]))
        for version in versions:
            inside = spec["scope"] == "Namespaced"
            apart = "status" in (version.get("subresources") or {})
            yield Kind(
                spec["group"], version["name"], names["plural"], names["kind"], namespaced=inside, status_apart=apart
            )


def delegated(services: Iterable[Document]) -> dict[str, list[str]]:
    """Groups, with versions, that APIServices hand to another server. There is none here, so they are down."""
    found: dict[str, list[str]] = {}
    for service in services:
        spec = service.get("spec") or {}
        if spec.get("service"):
            found.setdefault(spec["group"], []).append(spec["version"])
    return found
