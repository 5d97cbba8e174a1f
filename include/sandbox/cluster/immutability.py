"""Which fields of an object cannot change, and what a real API server says when they do. Pure functions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sandbox.cluster.kinds import Document, Kind
from sandbox.cluster.refusal import forbidden, invalid, required, value

_SET = "field is immutable when `immutable` is set"
_STATEFUL = ("replicas", "ordinals", "template", "updateStrategy", "revisionHistoryLimit",
             "persistentVolumeClaimRetentionPolicy", "minReadySeconds")  # fmt: skip
Cause = tuple[str, str, str]


def check_change(kind: Kind, live: Document, after: Document) -> None:
    """Refuse *after* in place of *live* when it changes what cannot change.

    :raises Refused: 422, with a cause for each field
    """
    causes = list(_causes(kind, live, after))
    if causes:
        raise invalid(kind, live["metadata"]["name"], *causes)


def _causes(kind: Kind, live: Document, after: Document) -> Iterator[Cause]:
    before, now = live.get("spec") or {}, after.get("spec") or {}
    if kind.home in (("", "configmaps"), ("", "secrets")) and live.get("immutable"):
        if not after.get("immutable"):
            yield forbidden("immutable", _SET)
        for field in ("data", "binaryData"):
            if live.get(field) != after.get(field):
                yield forbidden(field, _SET)
    if kind.home == ("", "secrets") and live.get("type") != after.get("type"):
        yield value("type", after.get("type"), "field is immutable")
    elif kind.home == ("rbac.authorization.k8s.io", "rolebindings") and live.get("roleRef") != after.get("roleRef"):
        yield value("roleRef", "rbac.RoleRef{...}", "cannot change roleRef")
    elif kind.home == ("discovery.k8s.io", "endpointslices") and live.get("addressType") != after.get("addressType"):
        yield value("addressType", after.get("addressType"), "field is immutable")
    elif kind.group == "apps" and kind.plural != "statefulsets" and before.get("selector") != now.get("selector"):
        yield value("spec.selector", "v1.LabelSelector{...}", "field is immutable")
    elif kind.home == ("apps", "statefulsets") and _without(before, _STATEFUL) != _without(now, _STATEFUL):
        listed = ", ".join(f"'{field}'" for field in _STATEFUL[:-1])
        sentence = f"updates to statefulset spec for fields other than {listed} and '{_STATEFUL[-1]}' are forbidden"
        yield forbidden("spec", sentence)
    elif kind.home == ("batch", "jobs"):
        yield from _of_job(before, now)
    elif kind.home == ("", "persistentvolumeclaims"):
        yield from _of_claim(before, now)
    elif kind.home == ("", "services"):
        yield from _of_service(before, now)


def _of_job(before: Document, now: Document) -> Iterator[Cause]:
    if "selector" not in now:
        yield required("spec.selector")
    elif before.get("selector") != now["selector"]:
        yield value("spec.selector", "v1.LabelSelector{...}", "field is immutable")
    if before.get("template") != now.get("template"):
        yield value("spec.template", "core.PodTemplateSpec{...}", "field is immutable")


def _of_claim(before: Document, now: Document) -> Iterator[Cause]:
    mutable = ("resources", "volumeAttributesClassName")
    if _without(before, mutable) != _without(now, mutable):
        yield forbidden("spec", "spec is immutable after creation except resources.requests and "
                                "volumeAttributesClassName for bound claims")  # fmt: skip
    elif before.get("resources") != now.get("resources"):
        yield forbidden("spec.resources.requests.storage", "field can not be less than status.capacity")


def _of_service(before: Document, now: Document) -> Iterator[Cause]:
    if "ExternalName" in (before.get("type"), now.get("type")):
        return
    if before.get("clusterIP") and before.get("clusterIP") != now.get("clusterIP"):
        yield value("spec.clusterIPs[0]", [now.get("clusterIP")], "may not change once set")


def _without(spec: Document, fields: tuple[str, ...]) -> dict[str, Any]:
    return {key: inner for key, inner in spec.items() if key not in fields}
