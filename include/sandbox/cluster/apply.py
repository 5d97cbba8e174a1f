"""Patches: server-side apply with field owners, merge patches. Pure functions on documents.

Simpler than a real server in one point: a list is owned as a whole, not by the keys of its entries.
"""

from __future__ import annotations

import copy
from typing import Any

from sandbox.cluster.kinds import Document

Path = tuple[str, ...]
# Set by the server or part of an object's identity: nobody owns them.
UNOWNED = frozenset({"apiVersion", "kind", "status"})
UNOWNED_METADATA = frozenset(
    {"name", "namespace", "uid", "resourceVersion", "generation", "creationTimestamp", "managedFields", "selfLink"}
    | {"deletionTimestamp", "deletionGracePeriodSeconds"}
)


class Conflict(Exception):
    """Other managers own fields that an apply without force would change: manager, as it is quoted, and field."""

    def __init__(self, fields: list[tuple[str, str]]) -> None:
        super().__init__(f"{len(fields)} fields are owned by others")
        self.fields = fields


def owned_paths(document: Document) -> set[Path]:
    """The paths of all leaves that whoever sent *document* owns. A list is a leaf."""
    found: set[Path] = set()
    for key, value in document.items():
        if key == "metadata" and isinstance(value, dict):
            for name, inner in value.items():
                if name not in UNOWNED_METADATA:
                    _leaves(inner, (key, name), found)
        elif key not in UNOWNED:
            _leaves(value, (key,), found)
    return found


def fields_v1(paths: set[Path]) -> Document:
    """The ``fieldsV1`` form of *paths*."""
    tree: Document = {}
    for path in sorted(paths):
        node = tree
        for part in path:
            node = node.setdefault(f"f:{part}", {})
    return tree


def paths_of(tree: Document, before: Path = ()) -> set[Path]:
    """The inverse of :func:`fields_v1`."""
    found: set[Path] = set()
    for key, inner in tree.items():
        path = (*before, key.removeprefix("f:"))
        found |= paths_of(inner, path) if inner else {path}
    return found


def merge_patch(target: Any, patch: Any) -> Any:
    """RFC 7396."""
    if not isinstance(patch, dict):
        return copy.deepcopy(patch)
    result = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merge_patch(result.get(key), value)
    return result


def strategic_merge(target: Any, patch: Any) -> Any:
    """A merge patch in which lists of named entries are merged by name, as for containers and volumes."""
    if isinstance(patch, dict):
        result = dict(target) if isinstance(target, dict) else {}
        for key, value in patch.items():
            if value is None:
                result.pop(key, None)
            else:
                result[key] = strategic_merge(result.get(key), value)
        return result
    if _named(patch) and _named(target):
        merged = {entry["name"]: entry for entry in target}
        for entry in patch:
            merged[entry["name"]] = strategic_merge(merged.get(entry["name"]), entry)
        return list(merged.values())
    return copy.deepcopy(patch)


def server_side_apply(live: Document | None, given: Document, manager: str, *, force: bool) -> Document:
    """*live* after *manager* applied *given*: what it no longer names and nobody else owns is removed.

    :raises Conflict: another manager owns a field that would change, and *force* is not set
    """
    wanted = owned_paths(given)
    if live is None:
        return copy.deepcopy(given)
    result = copy.deepcopy(live)
    others: set[Path] = set()
    before: set[Path] = set()
    conflicts = []
    for entry in live["metadata"].get("managedFields", []):
        paths = paths_of(entry.get("fieldsV1", {}))
        if entry["manager"] == manager and entry["operation"] == "Apply":
            before = paths
            continue
        others |= paths
        changed = sorted(path for path in wanted & paths if _get(live, path) != _get(given, path))
        using = f" using {entry['apiVersion']}" if entry["operation"] == "Update" else ""
        conflicts += [(f'"{entry["manager"]}"{using}', "." + ".".join(path)) for path in changed]
    if conflicts and not force:
        raise Conflict(conflicts)
    for path in before - wanted - others:
        if not any(other[: len(path)] == path for other in wanted | others):
            _remove(result, path)
    for path in wanted:
        value = _get(given, path)
        if value != {} or not isinstance(_get(result, path), dict):  # an empty map does not empty what others filled
            _set(result, path, copy.deepcopy(value))
    return result


def record_owner(document: Document, manager: str, operation: str, paths: set[Path], when: str) -> None:
    """Write, in place, that *manager* owns *paths* by *operation*; others lose them."""
    entries = []
    for entry in document["metadata"].get("managedFields", []):
        same = entry["manager"] == manager and entry["operation"] == operation
        left = paths_of(entry.get("fieldsV1", {})) - (set() if same else paths)
        if same:
            if operation == "Update":
                paths = paths | left
        elif left:
            entries.append({**entry, "fieldsV1": fields_v1(left)})
    if paths:
        api_version = document["apiVersion"]
        mine = {"manager": manager, "operation": operation, "apiVersion": api_version, "time": when}
        entries.append({**mine, "fieldsType": "FieldsV1", "fieldsV1": fields_v1(paths)})
    document["metadata"]["managedFields"] = entries


def changed_paths(before: Document, after: Document) -> set[Path]:
    """Leaves of *after* that *before* lacks or holds otherwise."""
    return {path for path in owned_paths(after) if _get(before, path) != _get(after, path)}


def _leaves(value: Any, path: Path, found: set[Path]) -> None:
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            _leaves(inner, (*path, key), found)
    else:
        found.add(path)


def _get(document: Any, path: Path) -> Any:
    for part in path:
        if not isinstance(document, dict) or part not in document:
            return None
        document = document[part]
    return document


def _set(document: Document, path: Path, value: Any) -> None:
    for part in path[:-1]:
        if not isinstance(document.get(part), dict):
            document[part] = {}
        document = document[part]
    document[path[-1]] = value


def _remove(document: Document, path: Path) -> None:
    for part in path[:-1]:
        inner = document.get(part)
        if not isinstance(inner, dict):
            return
        document = inner
    document.pop(path[-1], None)


def _named(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(e, dict) and "name" in e for e in value)
