"""Selectors and pages of a list, as a real API server has them. Knows requests; changes nothing."""

from __future__ import annotations

import base64
import binascii
import json

from aiohttp import web

from sandbox.cluster.kinds import Document, Kind
from sandbox.cluster.refusal import Refused


def select(request: web.Request, items: list[Document]) -> list[Document]:
    for field in filter(None, request.query.get("fieldSelector", "").split(",")):
        path, unequal, wanted = field.partition("!=") if "!=" in field else (field.partition("=")[0], "", field)
        if not unequal:
            wanted = field.partition("=")[2].removeprefix("=")
        key = path.removeprefix("metadata.")
        if key not in ("name", "namespace"):
            raise Refused(400, "BadRequest", f"field label not supported: {path}")
        items = [item for item in items if (item["metadata"].get(key, "") == wanted) != bool(unequal)]
    for label in filter(None, request.query.get("labelSelector", "").split(",")):
        items = [item for item in items if _matches(label.strip(), item["metadata"].get("labels") or {})]
    return items


def _matches(label: str, labels: Document) -> bool:
    if "!=" in label:
        key, _, value = label.partition("!=")
        return bool(labels.get(key.strip()) != value.strip())
    if "=" in label:
        key, _, value = label.partition("=")
        return bool(labels.get(key.strip()) == value.removeprefix("=").strip())
    if " " in label or "(" in label:
        raise Refused(400, "BadRequest", f"this emulator knows =, != and existence in label selectors, not {label!r}")
    return label.removeprefix("!") not in labels if label.startswith("!") else label in labels


def page(request: web.Request, kind: Kind, items: list[Document], version: str) -> Document:
    metadata: Document = {"resourceVersion": version}
    try:
        limit = int(request.query.get("limit") or 0)
        if request.query.get("continue"):
            after = json.loads(base64.urlsafe_b64decode(request.query["continue"]))
            items = [item for item in items if _place(item) > after["place"]]
    except (ValueError, KeyError, TypeError, binascii.Error) as error:
        raise Refused(400, "BadRequest", "limit or continue is invalid") from error
    if limit and len(items) > limit:
        rest = {"place": _place(items[limit - 1])}
        metadata["continue"] = base64.urlsafe_b64encode(json.dumps(rest).encode()).decode()
        metadata["remainingItemCount"] = len(items) - limit
        items = items[:limit]
    # As on a real server, the entries of a list carry neither kind nor apiVersion.
    rows = [{key: value for key, value in item.items() if key not in ("kind", "apiVersion")} for item in items]
    return {"kind": f"{kind.name}List", "apiVersion": kind.api_version, "metadata": metadata, "items": rows}


def _place(item: Document) -> list[str]:
    return [item["metadata"].get("namespace", ""), item["metadata"]["name"]]
