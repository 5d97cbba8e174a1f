"""Puts one document into a namespace: one path for the restore test's dry runs and for the way back.

Knows what a live object keeps when it is replaced; decides nothing about what is put, or in which order.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from airlock.backup.drivers.kubernetes import cleaning, refusals
from airlock.backup.drivers.kubernetes.cluster import Cluster
from airlock.backup.drivers.kubernetes.resources import ApiResource, is_kind

Document = dict[str, Any]
_LOOKS = 4
_CLASS = "kubernetes.io/ingress.class"
_ATTRIBUTES = "volumeAttributesClassName"
T = TypeVar("T")


def put(cluster: Cluster, resource: ApiResource, namespace: str, sent: Mapping[str, Any], *, dry_run: bool) -> Document:
    """Create *sent*, or replace what is there by it; return the server's answer.

    :raises Invalid: the server finds it, or the change to it, not valid
    """
    path = resource.path(namespace, sent["metadata"]["name"])

    def once() -> Document:
        live = cluster.get(path)
        if live is None:
            return create(cluster, resource, namespace, sent, dry_run=dry_run)
        return replace(cluster, resource, namespace, sent, live, dry_run=dry_run)

    return on_what_is_there(once)


def on_what_is_there(act: Callable[[], T]) -> T:
    """Return what *act* returns, which looks and then writes; it looks again when somebody wrote in between."""
    for _ in range(_LOOKS - 1):
        try:
            return act()
        except (refusals.Stale, refusals.Exists):  # a controller was faster, as with the service account 'default'
            continue
    return act()


def create(
    cluster: Cluster, resource: ApiResource, namespace: str, sent: Mapping[str, Any], *, dry_run: bool
) -> Document:
    """Create *sent*; a Namespace lies in no namespace."""
    collection = "/api/v1/namespaces" if is_kind(sent, "", "Namespace") else resource.path(namespace)
    annotations = sent["metadata"].get("annotations") or {}
    late = {_CLASS: annotations[_CLASS]} if _CLASS in annotations and _names_class(sent) else {}
    if not late:
        return cluster.create(collection, sent, dry_run=dry_run)
    # a server refuses to create what names its class in both ways, and lets it become so
    others = {name: value for name, value in annotations.items() if name not in late}
    made = cluster.create(collection, {**sent, "metadata": {**sent["metadata"], "annotations": others}},
                          dry_run=dry_run)  # fmt: skip
    both = {**made, "metadata": {**made["metadata"], "annotations": annotations}}
    return both if dry_run else cluster.replace(resource.path(namespace, made["metadata"]["name"]), both)


def _names_class(sent: Mapping[str, Any]) -> bool:
    return is_kind(sent, "networking.k8s.io", "Ingress") and bool((sent.get("spec") or {}).get("ingressClassName"))


def replace(
    cluster: Cluster, resource: ApiResource, namespace: str, sent: Mapping[str, Any], live: Document, *, dry_run: bool
) -> Document:  # fmt: skip
    """Replace *live* by *sent*, with what of *live* is its own.

    :raises Stale: it was changed, or is gone, since it was looked at
    """
    path = resource.path(namespace, live["metadata"]["name"])
    try:
        return cluster.replace(path, replacement(sent, live), dry_run=dry_run)
    except refusals.Absent as error:
        raise refusals.Stale(str(error)) from error


def replacement(sent: Mapping[str, Any], live: Mapping[str, Any]) -> Document:
    """Return *sent* as it replaces *live*: an apply would keep what others added, a replacement removes it.

    Kept is what belongs to the live object itself: its version, finalizers, owners, the server's annotations,
    addresses it has, the volume it is bound to, its status (ordinary content of some custom kinds).
    """
    found = {**sent, "metadata": dict(sent["metadata"])}
    if "status" in live:
        found["status"] = live["status"]
    metadata, own = found["metadata"], live["metadata"]
    metadata["resourceVersion"] = own["resourceVersion"]
    finalizers = [*own.get("finalizers", ()), *(f for f in metadata.get("finalizers", ()) if f not in
                                                 own.get("finalizers", ()))]  # fmt: skip
    if finalizers:
        metadata["finalizers"] = finalizers
    if own.get("ownerReferences"):
        metadata["ownerReferences"] = own["ownerReferences"]
    annotations = {k: v for k, v in (own.get("annotations") or {}).items() if cleaning.is_of_the_server(k)}
    if annotations:
        metadata["annotations"] = {**annotations, **(metadata.get("annotations") or {})}
    if isinstance(sent.get("spec"), Mapping):
        found["spec"] = dict(sent["spec"])
        _keep_of_spec(found, live)
    if is_kind(found, "", "ServiceAccount"):
        for field in cleaning.CREDENTIALS:
            issued = [entry for entry in live.get(field) or () if cleaning.is_issued(own["name"], entry)]
            if issued:
                found[field] = [*(found.get(field) or ()), *issued]
    return found


def _keep_of_spec(found: Document, live: Mapping[str, Any]) -> None:
    spec, own = found["spec"], live.get("spec") or {}
    if is_kind(found, "", "Service"):
        _keep_addresses(spec, own)
    elif is_kind(found, "", "PersistentVolumeClaim"):
        wanted = (spec.get("resources") or {}).get("requests") or {}
        kept = dict(own) if not grows(own, wanted) else {**own, "resources": spec["resources"]}
        if spec.get(_ATTRIBUTES):  # it can be changed, and never be taken away
            kept[_ATTRIBUTES] = spec[_ATTRIBUTES]
        found["spec"] = kept
    elif is_kind(found, "batch", "Job"):
        _keep_identity_of_job(spec, own)
    elif "replicas" in own and "replicas" not in spec:  # an autoscaler decides
        spec["replicas"] = own["replicas"]


def _keep_addresses(spec: Document, own: Mapping[str, Any]) -> None:
    if spec.get("type") == "ExternalName" or spec.get("clusterIP") == "None":
        return
    if "clusterIP" not in spec and own.get("clusterIP") not in (None, "", "None"):
        spec.update({key: own[key] for key in ("clusterIP", "clusterIPs") if key in own})
    if spec.get("type") not in ("NodePort", "LoadBalancer"):
        return
    numbers = {(p.get("name"), p.get("port"), p.get("protocol")): p.get("nodePort") for p in own.get("ports") or ()}
    ports = [dict(port) for port in spec.get("ports") or ()]
    for port in ports:
        kept = numbers.get((port.get("name"), port.get("port"), port.get("protocol")))
        if "nodePort" not in port and kept:
            port["nodePort"] = kept
    spec["ports"] = ports
    if "healthCheckNodePort" in own and spec.get("externalTrafficPolicy") == "Local":
        spec.setdefault("healthCheckNodePort", own["healthCheckNodePort"])


def _keep_identity_of_job(spec: Document, own: Mapping[str, Any]) -> None:
    """Keep selector and labels by which this very Job knows its pods."""
    if "selector" in own:
        spec["selector"] = own["selector"]
    labels = ((own.get("template") or {}).get("metadata") or {}).get("labels") or {}
    given = {name: labels[name] for name in cleaning.JOB_LABELS if name in labels}
    template = dict(spec.get("template") or {})
    metadata = dict(template.get("metadata") or {})
    metadata["labels"] = {**(metadata.get("labels") or {}), **given}
    spec["template"] = {**template, "metadata": metadata}


def grows(own: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    """Return whether a claim with the spec *own* asks for less than *wanted*: a claim can grow, and never shrink."""
    from kubernetes.utils import parse_quantity

    held = ((own.get("resources") or {}).get("requests") or {}).get("storage", "0")
    return bool(parse_quantity(str(wanted.get("storage", "0"))) > parse_quantity(str(held)))
