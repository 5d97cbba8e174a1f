"""The objects of the emulated cluster, in memory, with the rules a real API server enforces. Knows no HTTP."""

from __future__ import annotations

import base64
import copy
import re
import uuid
from datetime import UTC, datetime
from typing import Any

from sandbox.cluster import apply
from sandbox.cluster.kinds import NAMESPACES, Document, Kind, fill_defaults, find, status_of

NAME = re.compile(r"[a-z0-9]([-a-z0-9.:]{0,251}[a-z0-9])?")
Key = tuple[str, str]


class Refused(Exception):
    """The answer is a ``Status`` document with this HTTP code, reason and message."""

    def __init__(self, code: int, reason: str, message: str, details: Document | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.details = details or {}


class Store:
    """All objects, by kind, namespace and name. Every write takes the next resource version."""

    def __init__(self) -> None:
        self._objects: dict[Kind, dict[Key, Document]] = {}
        self._version = 1000
        self._addresses = 10
        for name in ("default", "kube-system"):
            self.create(NAMESPACES, "", {"metadata": {"name": name}}, "kube-apiserver", dry_run=False)

    @property
    def version(self) -> str:
        return str(self._version)

    def get(self, kind: Kind, namespace: str, name: str) -> Document:
        found = self._objects.get(kind, {}).get((namespace, name))
        if found is None:
            raise Refused(404, "NotFound", f'{kind.qualified} "{name}" not found', {"name": name, "kind": kind.plural})
        return found

    def list(self, kind: Kind, namespace: str | None) -> list[Document]:
        """Objects in the order of namespace and name; every namespace when *namespace* is None."""
        held = self._objects.get(kind, {})
        return [held[key] for key in sorted(held) if namespace is None or key[0] == namespace]

    def create(self, kind: Kind, namespace: str, document: Document, manager: str, *, dry_run: bool) -> Document:
        made = copy.deepcopy(document)
        metadata = self._identify(kind, namespace, made)
        name = str(metadata["name"])
        if (namespace, name) in self._objects.get(kind, {}):
            raise Refused(409, "AlreadyExists", f'{kind.qualified} "{name}" already exists', {"name": name})
        if metadata.get("resourceVersion"):
            raise Refused(400, "BadRequest", "resourceVersion should not be set on objects to be created")
        return self._insert(kind, namespace, made, (manager, "Update"), dry_run=dry_run)

    def replace(
        self, kind: Kind, live: Document, after: Document, owner: tuple[str, str], *, dry_run: bool
    ) -> Document:
        """Write *after* in place of *live*; *owner* is the field manager and its operation.

        For an apply, *after* must carry what was applied under the key ``_applied``.
        """
        manager, operation = owner
        changed = copy.deepcopy(after)
        applied = changed.pop("_applied", None)
        held, metadata = live["metadata"], changed.setdefault("metadata", {})
        expected = metadata.get("resourceVersion")
        if expected and expected != held["resourceVersion"]:
            text = f'Operation cannot be fulfilled on {kind.qualified} "{held["name"]}": the object has been modified'
            raise Refused(409, "Conflict", f"{text}; please apply your changes to the latest version and try again")
        if metadata.get("uid") not in (None, held["uid"]):
            raise Refused(409, "Conflict", f"Precondition failed: UID in precondition: {metadata['uid']}")
        for key in apply.UNOWNED_METADATA & set(held):
            metadata[key] = copy.deepcopy(held[key])
        changed["apiVersion"], changed["kind"] = kind.api_version, kind.name
        if "status" in live:
            changed["status"] = copy.deepcopy(live["status"])
        self._convert(kind, changed, live)
        if _content(changed) != _content(live) and "generation" in held and changed.get("spec") != live.get("spec"):
            metadata["generation"] = held["generation"] + 1
            changed["status"] = status_of(kind, changed)
        paths = apply.owned_paths(applied) if applied is not None else apply.changed_paths(live, changed)
        if _content(changed) == _content(live) and applied is None:
            return live
        apply.record_owner(changed, manager, operation, paths, _now())
        same_owners = _owners(changed) == _owners(live)
        if dry_run or (_content(changed) == _content(live) and same_owners):
            return changed if dry_run else live
        self._keep(kind, changed)
        return changed

    def apply(self, kind: Kind, key: Key, given: Document, manager: str, *, force: bool, dry_run: bool) -> Document:
        """Server-side apply of *given* to the object *key* (namespace, name), which is made if it is missing."""
        namespace, name = key
        given = copy.deepcopy(given)
        self._identify(kind, namespace, given)
        if given["metadata"]["name"] != name:
            raise Refused(400, "BadRequest", f"name in URL does not match name in body: {name}")
        if given["metadata"].get("managedFields"):
            raise Refused(400, "BadRequest", "metadata.managedFields must be nil")
        live = self._objects.get(kind, {}).get(key)
        if live is None:
            return self._insert(kind, namespace, given, (manager, "Apply"), dry_run=dry_run)
        _encode(kind, given)
        try:
            merged = apply.server_side_apply(live, given, manager, force=force)
        except apply.Conflict as conflict:
            causes = [
                {"reason": "FieldManagerConflict", "message": f'conflict with "{who}"', "field": field}
                for who, field in conflict.fields
            ]
            text = f"Apply failed with {len(causes)} conflicts: " + "; ".join(
                f'conflict with "{who}": {field}' for who, field in conflict.fields
            )
            raise Refused(409, "Conflict", text, {"causes": causes}) from conflict
        wanted = given["metadata"].get("resourceVersion")
        merged["metadata"]["resourceVersion"] = wanted or live["metadata"]["resourceVersion"]
        merged["_applied"] = given
        return self.replace(kind, live, merged, (manager, "Apply"), dry_run=dry_run)

    def delete(self, kind: Kind, namespace: str, name: str, *, dry_run: bool) -> Document:
        """Remove an object. A namespace only begins to go: see :meth:`finish_namespace`."""
        found = self.get(kind, namespace, name)
        if dry_run:
            return found
        if kind is NAMESPACES:
            found = copy.deepcopy(found)
            found["metadata"].setdefault("deletionTimestamp", _now())
            found["status"] = {"phase": "Terminating"}
            self._keep(kind, found)
            return found
        del self._objects[kind][(namespace, name)]
        self._version += 1
        return found

    def finish_namespace(self, name: str) -> None:
        """Remove a namespace that is going, with everything in it."""
        for held in self._objects.values():
            for key in [key for key in held if key[0] == name]:
                del held[key]
        self._objects[NAMESPACES].pop(("", name), None)
        self._version += 1

    def _identify(self, kind: Kind, namespace: str, document: Document) -> Document:
        metadata = document.setdefault("metadata", {})
        if document.setdefault("kind", kind.name) != kind.name:
            raise Refused(400, "BadRequest", f"{document['kind']} in body does not match {kind.name} of the address")
        if document.setdefault("apiVersion", kind.api_version) != kind.api_version:
            raise Refused(400, "BadRequest", f"the API version in the data ({document['apiVersion']}) does not match")
        if not metadata.get("name") and metadata.get("generateName"):
            metadata["name"] = f"{metadata['generateName']}{uuid.uuid4().hex[:5]}"
        name = metadata.get("name")
        if not isinstance(name, str) or not NAME.fullmatch(name):
            text = f'{kind.name} "{name}" is invalid: metadata.name: must be a lowercase RFC 1123 subdomain'
            raise Refused(422, "Invalid", text)
        if kind.namespaced:
            if metadata.setdefault("namespace", namespace) != namespace:
                raise Refused(400, "BadRequest", "the namespace of the provided object does not match the request")
            home = self.get(NAMESPACES, "", namespace)
            if home["status"]["phase"] == "Terminating":
                text = f'{kind.qualified} "{name}" is forbidden: unable to create new content in namespace {namespace}'
                raise Refused(403, "Forbidden", f"{text} because it is being terminated")
        return dict(metadata)

    def _insert(
        self, kind: Kind, namespace: str, document: Document, owner: tuple[str, str], *, dry_run: bool
    ) -> Document:
        manager, operation = owner
        paths = apply.owned_paths(document)
        self._convert(kind, document, None)
        metadata = document["metadata"]
        metadata.pop("managedFields", None)
        metadata.update({"uid": str(uuid.uuid4()), "creationTimestamp": _now()})
        if "spec" in document and kind.plural != "services":
            metadata["generation"] = 1
        if kind is NAMESPACES:
            metadata.setdefault("labels", {})["kubernetes.io/metadata.name"] = metadata["name"]
            document["spec"] = {"finalizers": ["kubernetes"]}
        document.pop("status", None)
        status = status_of(kind, document)
        if status is not None:
            document["status"] = status
        apply.record_owner(document, manager, operation, paths, metadata["creationTimestamp"])
        if dry_run:
            return document
        self._keep(kind, document)
        if kind is NAMESPACES:
            self._furnish(metadata["name"])
        return document

    def _furnish(self, namespace: str) -> None:
        """What controllers of a real cluster put into every new namespace."""
        for plural, document in (
            ("serviceaccounts", {"metadata": {"name": "default"}}),
            ("configmaps", {"metadata": {"name": "kube-root-ca.crt"}, "data": {"ca.crt": "(the cluster's own)"}}),
        ):
            kind = find("", "v1", plural)
            if kind is not None:
                self.create(kind, namespace, document, "kube-controller-manager", dry_run=False)

    def _convert(self, kind: Kind, document: Document, live: Document | None) -> None:
        _encode(kind, document)
        fill_defaults(kind, document)
        if kind.plural == "services" and isinstance(document.get("spec"), dict):
            self._address(document, live)

    def _address(self, document: Document, live: Document | None) -> None:
        spec = document["spec"]
        own = (live or {}).get("spec", {}).get("clusterIP")
        address = spec.get("clusterIP") or own
        if not address:
            self._addresses += 1
            address = f"10.96.{self._addresses // 250}.{self._addresses % 250 + 1}"
        identity = (document["metadata"].get("namespace"), document["metadata"].get("name"))
        for held in self._objects.values():
            for key, other in held.items():
                taken = other["kind"] == "Service" and other["spec"].get("clusterIP") == address and address != "None"
                if taken and key != identity:
                    text = f'Service "{identity[1]}" is invalid: spec.clusterIPs: failed to allocate IP {address}: '
                    raise Refused(422, "Invalid", f"{text}provided IP is already allocated")
        spec["clusterIP"], spec["clusterIPs"] = address, [address]

    def _keep(self, kind: Kind, document: Document) -> None:
        self._version += 1
        metadata = document["metadata"]
        metadata["resourceVersion"] = str(self._version)
        self._objects.setdefault(kind, {})[(metadata.get("namespace", ""), metadata["name"])] = document


def _encode(kind: Kind, document: Document) -> None:
    """Turn the write-only ``stringData`` of a secret into ``data``."""
    if kind.plural == "secrets":
        plain = document.pop("stringData", None) or {}
        data = document.setdefault("data", {}) if plain else document.get("data") or {}
        data.update({key: base64.b64encode(str(value).encode()).decode() for key, value in plain.items()})


def _content(document: Document) -> Document:
    metadata = {k: v for k, v in document["metadata"].items() if k not in ("resourceVersion", "managedFields")}
    return {**document, "metadata": metadata}


def _owners(document: Document) -> list[tuple[Any, ...]]:
    return [(e["manager"], e["operation"], e["fieldsV1"]) for e in document["metadata"].get("managedFields", [])]


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
