"""What an API server refuses in an object by itself: names, labels, what must be there. Pure functions."""

from __future__ import annotations

import base64
import binascii
import re
from typing import Any

from sandbox.cluster.kinds import Document, Kind
from sandbox.cluster.refusal import Refused, invalid, required, value

_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_LABEL = re.compile(r"(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?")
_CLASS = "kubernetes.io/ingress.class"
_SELECTING = ("deployments", "statefulsets", "daemonsets", "replicasets")


def check_name(kind: Kind, name: Any) -> None:
    """Refuse a name that this kind cannot have; names of roles are segments of a path, and nearly free."""
    if kind.group == "rbac.authorization.k8s.io":
        good = isinstance(name, str) and name not in ("", ".", "..") and not set(name) & {"/", "%"}
    else:
        good = isinstance(name, str) and len(name) <= 253 and bool(_SUBDOMAIN.fullmatch(name))
    if not good:
        sentence = (
            "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must "
            "start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is "
            f"'{_SUBDOMAIN.pattern}')"
        )
        raise invalid(kind, str(name), value("metadata.name", name, sentence))


def check_object(kind: Kind, document: Document, *, new: bool) -> None:
    """Refuse what is not valid by itself.

    :raises Refused: 422 with causes, or 400 for data that is no base64
    """
    name, spec = document["metadata"]["name"], document.get("spec") or {}
    causes = []
    for key, given in (document["metadata"].get("labels") or {}).items():
        if not isinstance(given, str) or len(given) > 63 or not _LABEL.fullmatch(given):
            causes.append(value("metadata.labels", given, f"a valid label must be an empty string or ... ({key})"))
    if kind.home == ("", "services") and not spec.get("ports"):
        if spec.get("type") != "ExternalName" and spec.get("clusterIP") != "None":
            causes.append(required("spec.ports"))
    elif kind.home == ("networking.k8s.io", "ingresses") and new and spec.get("ingressClassName"):
        given = (document["metadata"].get("annotations") or {}).get(_CLASS)
        if given:
            causes.append(value(f"annotations.{_CLASS}", given, "can not be set when the class field is also set"))
    elif kind.group == "apps" and kind.plural in _SELECTING:
        labels = ((spec.get("template") or {}).get("metadata") or {}).get("labels") or {}
        selector = (spec.get("selector") or {}).get("matchLabels")
        if not spec.get("selector"):
            causes.append(required("spec.selector"))
        elif selector and not selector.items() <= labels.items():
            sentence = "`selector` does not match template `labels`"
            causes.append(value("spec.template.metadata.labels", labels, sentence))
        if isinstance(spec.get("replicas"), int) and spec["replicas"] < 0:
            causes.append(value("spec.replicas", spec["replicas"], "must be greater than or equal to 0"))
    if causes:
        raise invalid(kind, name, *causes)
    if kind.home == ("", "secrets"):
        _check_secret(document)


def _check_secret(document: Document) -> None:
    for content in (document.get("data") or {}).values():
        try:
            base64.b64decode(str(content), validate=True)
        except binascii.Error as error:
            text = 'Secret in version "v1" cannot be handled as a Secret: illegal base64 data at input byte 0'
            raise Refused(400, "BadRequest", text) from error
