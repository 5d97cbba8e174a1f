"""The objects of the emulated cluster, in memory, with the rules a real API server enforces. Knows no HTTP."""

from __future__ import annotations

import base64
import copy
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from sandbox.cluster import addresses, apply, controllers, extensions, quotas
from sandbox.cluster.defaults import fill_defaults, status_of
from sandbox.cluster.immutability import check_change
from sandbox.cluster.kinds import KINDS, NAMESPACES, Document, Kind, built_in, find
from sandbox.cluster.refusal import Refused, forbidden, invalid
from sandbox.cluster.validity import check_name, check_object

Key = tuple[str, str]


class Store:
    """All objects, by kind, namespace and name. Every write takes the next resource version."""

    def __init__(self) -> None:
        self._objects: dict[tuple[str, str], dict[Key, Document]] = {}
        self._version = 1000
        for name in ("default", "kube-system"):
            self.create(NAMESPACES, "", {"metadata": {"name": name}}, "kube-apiserver", dry_run=False)

    @property
    def version(self) -> str:
        return str(self._version)

    def kinds(self) -> Iterator[Kind]:
        """Every kind that is served, custom ones too."""
        yield from KINDS
        yield from extensions.custom_kinds(self.list(built_in("customresourcedefinitions"), None))

    def find(self, group: str, version: str, plural: str) -> Kind | None:
        """The kind that is served at this address."""
        known = find(group, version, plural)
        return known or next(
            (k for k in self.kinds() if (k.group, k.version, k.plural) == (group, version, plural)), None
        )

    def get(self, kind: Kind, namespace: str, name: str) -> Document:
        found = self._objects.get(kind.home, {}).get((namespace, name))
        if found is None:
            details = {"name": name, "group": kind.group, "kind": kind.plural}
            raise Refused(404, "NotFound", f'{kind.qualified} "{name}" not found', details)
        found["apiVersion"] = kind.api_version
        return found

    def list(self, kind: Kind, namespace: str | None) -> list[Document]:
        """Objects in the order of namespace and name; every namespace when *namespace* is None."""
        held = self._objects.get(kind.home, {})
        return [held[key] for key in sorted(held) if namespace is None or key[0] == namespace]

    def create(self, kind: Kind, namespace: str, document: Document, manager: str, *, dry_run: bool) -> Document:
        made = copy.deepcopy(document)
        metadata = self._identify(kind, namespace, made)
        name = str(metadata["name"])
        if (namespace, name) in self._objects.get(kind.home, {}):
            details = {"name": name, "group": kind.group, "kind": kind.plural}
            raise Refused(409, "AlreadyExists", f'{kind.qualified} "{name}" already exists', details)
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
        # owners may be set by whoever writes, as on a real server; an empty list changes nothing
        owners = metadata.get("managedFields") or held.get("managedFields", [])
        for key in apply.UNOWNED_METADATA & set(held):
            metadata[key] = copy.deepcopy(held[key])
        metadata["managedFields"] = copy.deepcopy(owners)
        if held.get("deletionTimestamp") and set(metadata.get("finalizers") or ()) - set(held.get("finalizers") or ()):
            sentence = "no new finalizers can be added if the object is being deleted"
            raise invalid(kind, held["name"], forbidden("metadata.finalizers", sentence))
        changed["apiVersion"], changed["kind"] = kind.api_version, kind.name
        if "status" in live and kind.status_apart:
            changed["status"] = copy.deepcopy(live["status"])
        self._convert(kind, changed, live)
        check_object(kind, changed, new=False)
        check_change(kind, live, changed)
        if _content(changed) != _content(live) and "generation" in held and changed.get("spec") != live.get("spec"):
            metadata["generation"] = held["generation"] + 1
            if kind.status_apart:
                changed["status"] = status_of(kind, changed)
        paths = apply.owned_paths(applied) if applied is not None else apply.changed_paths(live, changed)
        if _content(changed) == _content(live) and applied is None and owners == held.get("managedFields", []):
            return live
        apply.record_owner(changed, manager, operation, paths, _now())
        same_owners = _owners(changed) == _owners(live)
        if dry_run or (_content(changed) == _content(live) and same_owners):
            return changed if dry_run else live
        if metadata.get("deletionTimestamp") and not metadata.get("finalizers") and kind is not NAMESPACES:
            self.forget(kind, metadata.get("namespace", ""), metadata["name"])
            return changed
        self._keep(kind, changed)
        return changed

    def set_status(self, kind: Kind, live: Document, status: Document, *, dry_run: bool) -> Document:
        """Write only the status of *live*."""
        changed = {**copy.deepcopy(live), "status": status}
        if not dry_run:
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
        live = self._objects.get(kind.home, {}).get(key)
        if live is None:
            return self._insert(kind, namespace, given, (manager, "Apply"), dry_run=dry_run)
        _encode(kind, given)
        try:
            merged = apply.server_side_apply(live, given, manager, force=force)
        except apply.Conflict as conflict:
            causes = [
                {"reason": "FieldManagerConflict", "message": f"conflict with {who}", "field": field}
                for who, field in conflict.fields
            ]
            counted = "1 conflict" if len(causes) == 1 else f"{len(causes)} conflicts"
            text = f"Apply failed with {counted}: " + "; ".join(
                f"conflict with {who}: {field}" for who, field in conflict.fields
            )
            raise Refused(409, "Conflict", text, {"causes": causes}) from conflict
        wanted = given["metadata"].get("resourceVersion")
        merged["metadata"]["resourceVersion"] = wanted or live["metadata"]["resourceVersion"]
        merged["_applied"] = given
        return self.replace(kind, live, merged, (manager, "Apply"), dry_run=dry_run)

    def delete(
        self, kind: Kind, namespace: str, name: str, *, dry_run: bool, options: Document | None = None
    ) -> Document:
        """Remove an object. One with finalizers, and a namespace, only begins to go."""
        found, given = self.get(kind, namespace, name), options or {}
        uid = (given.get("preconditions") or {}).get("uid")
        if uid and uid != found["metadata"]["uid"]:
            text = f"the UID in the precondition ({uid}) does not match the UID in record ({found['metadata']['uid']})"
            raise Refused(409, "Conflict", f"Precondition failed: UID in precondition: {uid}: {text}")
        if dry_run:
            return found
        if kind is not NAMESPACES and not found["metadata"].get("finalizers"):
            self.forget(kind, namespace, name)
            return found
        going = copy.deepcopy(found)
        going["metadata"].setdefault("deletionTimestamp", _now())
        going["metadata"]["deletionGracePeriodSeconds"] = 0
        if kind is NAMESPACES:
            going["status"] = {"phase": "Terminating"}
        self._keep(kind, going)
        return going

    def forget(self, kind: Kind, namespace: str, name: str) -> None:
        """Take an object away, whatever it holds."""
        del self._objects[kind.home][(namespace, name)]
        self._version += 1
        controllers.settle(self, namespace)

    def finish_namespace(self, name: str) -> None:
        """Remove a namespace that is going, with everything in it."""
        for held in self._objects.values():
            for key in [key for key in held if key[0] == name]:
                del held[key]
        self._objects[NAMESPACES.home].pop(("", name), None)
        self._version += 1
        controllers.bind_volumes(self)

    def _identify(self, kind: Kind, namespace: str, document: Document) -> Document:
        metadata = document.setdefault("metadata", {})
        if document.setdefault("kind", kind.name) != kind.name:
            raise Refused(400, "BadRequest", f"{document['kind']} in body does not match {kind.name} of the address")
        if document.setdefault("apiVersion", kind.api_version) != kind.api_version:
            raise Refused(400, "BadRequest", f"the API version in the data ({document['apiVersion']}) does not match")
        if not metadata.get("name") and metadata.get("generateName"):
            metadata["name"] = f"{metadata['generateName']}{uuid.uuid4().hex[:5]}"
        name = metadata.get("name")
        check_name(kind, name)
        if kind.namespaced:
            if metadata.setdefault("namespace", namespace) != namespace:
                raise Refused(400, "BadRequest", "the namespace of the provided object does not match the request")
            home = self.get(NAMESPACES, "", namespace)
            if home["status"]["phase"] == "Terminating":
                text = f'{kind.qualified} "{name}" is forbidden: unable to create new content in namespace {namespace}'
                sentence = f"namespace {namespace} is being terminated"
                cause = {"reason": "NamespaceTerminating", "message": sentence, "field": "metadata.namespace"}
                details = {"name": name, "kind": kind.plural, "causes": [cause]}
                raise Refused(403, "Forbidden", f"{text} because it is being terminated", details)
        return dict(metadata)

    def _insert(
        self, kind: Kind, namespace: str, document: Document, owner: tuple[str, str], *, dry_run: bool
    ) -> Document:
        manager, operation = owner
        paths = apply.owned_paths(document)
        metadata = document["metadata"]
        metadata.pop("managedFields", None)
        metadata.update({"uid": str(uuid.uuid4()), "creationTimestamp": _now()})
        self._convert(kind, document, None)
        check_object(kind, document, new=True)
        limits = self.list(built_in("resourcequotas"), namespace)
        quotas.check_room(kind, metadata["name"], limits, len(self.list(kind, namespace)))
        if "spec" in document and kind.plural != "services":
            metadata["generation"] = 1
        if kind is NAMESPACES:
            document["spec"] = {"finalizers": ["kubernetes"]}
        if kind.status_apart:
            document.pop("status", None)
        status = status_of(kind, document)
        if status is not None:
            document["status"] = status
        apply.record_owner(document, manager, operation, paths, metadata["creationTimestamp"])
        if dry_run:
            return document
        self._keep(kind, document)
        if kind is NAMESPACES:
            controllers.furnish(self, metadata["name"])
        return document

    def _convert(self, kind: Kind, document: Document, live: Document | None) -> None:
        _encode(kind, document)
        fill_defaults(kind, document)
        controllers.of_job(kind, document, live)
        if kind.home == ("", "services") and isinstance(document.get("spec"), dict):
            identity = (document["metadata"].get("namespace"), document["metadata"].get("name"))
            held = self._objects.get(kind.home, {})
            addresses.assign(kind, document, live, [other for key, other in held.items() if key != identity])

    def _keep(self, kind: Kind, document: Document) -> None:
        self._version += 1
        metadata = document["metadata"]
        metadata["resourceVersion"] = str(self._version)
        self._objects.setdefault(kind.home, {})[(metadata.get("namespace", ""), metadata["name"])] = document
        controllers.settle(self, metadata.get("namespace", "") if kind.namespaced else "")


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
