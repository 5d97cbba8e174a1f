"""What controllers of a real cluster do at once or soon, as far as a backup meets it: bound volumes, addresses of
services, counted quotas, what every namespace gets. Works on the store; knows no HTTP."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sandbox.cluster import quotas
from sandbox.cluster.kinds import VOLUMES, Document, Kind, built_in

if TYPE_CHECKING:
    from sandbox.cluster.store import Store

_CONTROLLER = "kube-controller-manager"
_UNITS = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}
_CHANGED = "endpoints.kubernetes.io/last-change-trigger-time"
_SLICE = "endpointslice.kubernetes.io/managed-by"


def furnish(store: Store, namespace: str) -> None:
    """Put into a new namespace what every namespace has."""
    for plural, document in (
        ("serviceaccounts", {"metadata": {"name": "default"}}),
        ("configmaps", {"metadata": {"name": "kube-root-ca.crt"}, "data": {"ca.crt": "(the cluster's own)"}}),
    ):
        store.create(built_in(plural), namespace, document, _CONTROLLER, dry_run=False)


def settle(store: Store, namespace: str) -> None:
    """Bring about what follows from a change in *namespace*."""
    bind_volumes(store)
    if namespace:
        _list_endpoints(store, namespace)
        _count(store, namespace)


def bind_volumes(store: Store) -> None:
    """Bind claims to free volumes of their class; release the volumes of claims that are gone."""
    claims = {c["metadata"]["uid"]: c for c in store.list(built_in("persistentvolumeclaims"), None)}
    volumes = store.list(VOLUMES, None)
    for volume in volumes:
        held = volume["spec"].get("claimRef")
        if held and held["uid"] not in claims and volume["status"]["phase"] == "Bound":
            keeps = volume["spec"].get("persistentVolumeReclaimPolicy", "Retain") == "Retain"
            volume["status"] = {"phase": "Released" if keeps else "Failed"}
    for claim in claims.values():
        if claim["spec"].get("volumeName"):
            continue
        fitting = [v for v in volumes if v["status"]["phase"] == "Available" and _fits(v["spec"], claim)]
        if fitting:
            volume, metadata = fitting[0], claim["metadata"]
            volume["spec"]["claimRef"] = {key: metadata[key] for key in ("name", "namespace", "uid")}
            volume["status"], claim["status"] = {"phase": "Bound"}, {"phase": "Bound"}
            claim["spec"]["volumeName"] = volume["metadata"]["name"]
            metadata.setdefault("annotations", {})["pv.kubernetes.io/bind-completed"] = "yes"


def _fits(volume: Document, claim: Document) -> bool:
    spec, annotations = claim["spec"], claim["metadata"].get("annotations") or {}
    asked = _bytes(((spec.get("resources") or {}).get("requests") or {}).get("storage", "0"))
    wanted = annotations.get("volume.beta.kubernetes.io/storage-class", spec.get("storageClassName") or "")
    room = _bytes((volume.get("capacity") or {}).get("storage", "0"))
    return wanted == (volume.get("storageClassName") or "") and asked <= room


def _bytes(quantity: Any) -> float:
    text = str(quantity)
    unit = next((unit for unit in _UNITS if text.endswith(unit)), "")
    return float(text.removesuffix(unit)) * _UNITS.get(unit, 1)


def _list_endpoints(store: Store, namespace: str) -> None:
    """Keep Endpoints and slices of services that select pods, and slices that mirror Endpoints written by hand."""
    ends, slices = built_in("endpoints"), built_in("endpointslices")
    services = {s["metadata"]["name"]: s for s in store.list(built_in("services"), namespace)}
    selecting = {name: s for name, s in services.items() if s["spec"].get("selector")}
    written = {e["metadata"]["name"]: e for e in store.list(ends, namespace)}
    for name in [name for name, found in written.items() if name not in services and
                 _CHANGED in (found["metadata"].get("annotations") or {})]:
        store.forget(ends, namespace, name)
        return
    for name in selecting.keys() - written.keys():
        document: Document = {"metadata": {"name": name, "annotations": {_CHANGED: "2026-01-01T00:00:00Z"}}}
        store.create(ends, namespace, document, _CONTROLLER, dry_run=False)
        return  # what else is missing was made by what followed from this
    mirrored = {name: e for name, e in written.items() if name in services and name not in selecting}
    wanted = {**dict.fromkeys(selecting, "endpointslice-controller.k8s.io"),
              **dict.fromkeys(mirrored, "endpointslicemirroring-controller.k8s.io")}  # fmt: skip
    made = {s["metadata"]["name"].removesuffix("-made"): s for s in store.list(slices, namespace)
            if _SLICE in (s["metadata"].get("labels") or {})}  # fmt: skip
    for name in wanted.keys() - made.keys():
        labels = {_SLICE: wanted[name], "kubernetes.io/service-name": name}
        document = {"metadata": {"name": f"{name}-made", "labels": labels}, "addressType": "IPv4", "endpoints": []}
        store.create(slices, namespace, document, _CONTROLLER, dry_run=False)
        return
    for name in {name for name, found in made.items() if found["metadata"]["labels"][_SLICE] != wanted.get(name)}:
        store.forget(slices, namespace, made[name]["metadata"]["name"])
        return


def _count(store: Store, namespace: str) -> None:
    for quota in store.list(built_in("resourcequotas"), namespace):
        hard = (quota.get("spec") or {}).get("hard") or {}
        used = {name: str(number) for kind in store.kinds() for name in quotas.counted_as(kind)
                if name in hard for number in [len(store.list(kind, namespace))]}  # fmt: skip
        quota["status"] = {"hard": dict(hard), "used": used}


def of_job(kind: Kind, document: Document, live: Document | None) -> None:
    """Give a new Job, in place, the selector and labels by which it knows its pods."""
    spec = document.get("spec")
    if kind.home != ("batch", "jobs") or live is not None or not isinstance(spec, dict) or spec.get("manualSelector"):
        return
    uid, name = document["metadata"]["uid"], document["metadata"]["name"]
    labels = {"batch.kubernetes.io/controller-uid": uid, "batch.kubernetes.io/job-name": name,
              "controller-uid": uid, "job-name": name}  # fmt: skip
    spec["selector"] = {"matchLabels": {"batch.kubernetes.io/controller-uid": uid}}
    metadata = spec.setdefault("template", {}).setdefault("metadata", {})
    metadata["labels"] = {**(metadata.get("labels") or {}), **labels}
