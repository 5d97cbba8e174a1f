"""Cluster addresses and node ports of Services: given, kept, and refused when another Service has them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sandbox.cluster.kinds import Document, Kind
from sandbox.cluster.refusal import invalid, value

_PORTS = range(30000, 32768)


def assign(kind: Kind, service: Document, live: Document | None, others: Iterable[Document]) -> None:
    """Give *service*, in place, what it asks for or the next that is free; *live* is what it had.

    :raises Refused: another Service has what it asks for, or it is out of range
    """
    spec, own = service["spec"], (live or {}).get("spec") or {}
    held = [other["spec"] for other in others]
    if spec.get("type") == "ExternalName":
        for field in ("clusterIP", "clusterIPs"):
            spec.pop(field, None)
    else:
        _assign_address(kind, service, spec, own, {other.get("clusterIP") for other in held})
    if spec.get("type") not in ("NodePort", "LoadBalancer"):
        return
    used = {port.get("nodePort") for other in held for port in other.get("ports") or ()}
    kept = {(p.get("name"), p.get("port")): p.get("nodePort") for p in own.get("ports") or ()}
    for number, port in enumerate(spec.get("ports") or ()):
        wanted = port.get("nodePort") or kept.get((port.get("name"), port.get("port")))
        _check_port(kind, service, f"spec.ports[{number}].nodePort", wanted, used)
        port["nodePort"] = wanted or next(free for free in _PORTS if free not in used)
        used.add(port["nodePort"])
    if spec.get("externalTrafficPolicy") == "Local" and spec["type"] == "LoadBalancer":
        wanted = spec.get("healthCheckNodePort") or own.get("healthCheckNodePort")
        _check_port(kind, service, "spec.healthCheckNodePort", wanted, used)
        spec["healthCheckNodePort"] = wanted or next(free for free in _PORTS if free not in used)


def _assign_address(kind: Kind, service: Document, spec: Document, own: Document, used: set[Any]) -> None:
    address = spec.get("clusterIP") or own.get("clusterIP")
    if address and address != "None":
        problem = ""
        if not str(address).startswith("10.96."):
            problem = "the provided IP is not in the valid range. The range of valid IPs is 10.96.0.0/16"
        elif address in used:
            problem = "provided IP is already allocated"
        if problem:
            sentence = f"failed to allocate IP {address}: {problem}"
            raise invalid(kind, service["metadata"]["name"], value("spec.clusterIPs", [address], sentence))
    number = 11
    while not address:
        found = f"10.96.{number // 250}.{number % 250 + 1}"
        address, number = (found if found not in used else None), number + 1
    spec["clusterIP"], spec["clusterIPs"] = address, [address]


def _check_port(kind: Kind, service: Document, field: str, wanted: Any, used: set[Any]) -> None:
    if wanted and wanted in used:
        name = service["metadata"]["name"]
        raise invalid(kind, name, value(field, wanted, "provided port is already allocated"))
