"""Back up every object of a Kubernetes namespace as manifests, prove it where nothing can act on it, and bring it back.

Knows the driver contract; what is taken, how an object is cleaned, what a scratch namespace may hold and how the way
back goes live in the modules beside this one.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, ClassVar, NamedTuple

from pydantic import Field

from airlock.backup.driver import Capabilities, Place, Write
from airlock.backup.drivers.kubernetes import cleaning, least_rights, rights, sameness, taken
from airlock.backup.drivers.kubernetes.cluster import Cluster
from airlock.backup.drivers.kubernetes.comparison import differences
from airlock.backup.drivers.kubernetes.resources import NAMESPACE, ApiResource, Served, by_name, group_of
from airlock.backup.drivers.kubernetes.scratch import Scratch
from airlock.backup.drivers.kubernetes.way_back import WayBack
from airlock.backup.secret_documents import SecretDocumentDriver
from airlock.connections import ConnectionId
from airlock.errors import AccessRefused, InvalidInput, PermanentError, TemporaryError
from airlock.identity import kubernetes_identity
from airlock.models import Check, Kind, RecoveryPoint
from airlock.options import Options as DriverOptions

log = logging.getLogger(__name__)
_NAMED = 50
_ASKED_AT = "asked_at"
_EVER = datetime.min.replace(tzinfo=UTC)
_NAMESPACE_KEY = f"{NAMESPACE.name}/{cleaning.HERE}"
_PODS = ApiResource("v1", "pods", "Pod")


class ManifestsOptions(DriverOptions):
    """Options of the driver ``manifests``."""

    connection: ConnectionId = Field(description="Airflow connection of Kubernetes")
    namespace: str = Field(pattern=r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$", description="the namespace to back up")
    label_selector: str = Field("", description="only objects with these labels; empty: all of the namespace")
    exclude: tuple[str, ...] = Field((), description="resources to leave out, as plural, plural.group or *.group")
    harmless: tuple[str, ...] = Field(
        (), description="resources (plural.group) that nothing acts on: a restore test creates them, as they are"
    )

    def identities(self) -> tuple[str, ...]:
        return (kubernetes_identity(self.connection, self.namespace),)


class Content(NamedTuple):
    """What is in a namespace: documents to take, what is left out, by reason, and when the server was asked, by its
    own clock."""

    documents: dict[str, dict[str, Any]]
    left_out: dict[str, list[str]]
    asked_at: datetime


class ManifestsDriver(SecretDocumentDriver):
    """Every namespaced object that people or tools made; not what controllers derive from them."""

    kind: ClassVar[Kind] = Kind.KUBERNETES
    Options = ManifestsOptions
    options: ManifestsOptions
    capabilities: ClassVar[Capabilities] = Capabilities(
        consistent="each list at the moment it is read. A restore test creates only what nothing acts on, and tries "
        "all else by a server-side dry run",
        leaves_out=("what is in volumes", "bare pods, tokens of the cluster, finished Jobs and what else runs once"),
    )
    needs = least_rights.NEEDS

    # --- looking and taking -------------------------------------------------------------------------------------------

    def export(self, place: Place) -> Mapping[str, Any]:
        if not place.origin:
            raise InvalidInput(f"{self.label}: what is in a scratch place is told by a proof")
        cluster = self._cluster()
        with self._all_missing_rights(cluster):
            return self._content(cluster).documents

    def told_apart(self, documents: Mapping[str, Any]) -> Any:
        return {key: cleaning.comparable(document) for key, document in documents.items()}

    def parts(self, name: str, document: Any) -> Mapping[str, Any]:
        return {name: cleaning.comparable(document)}

    def take(self, write: Write) -> dict[str, Any]:
        cluster = self._cluster()
        with self._all_missing_rights(cluster):
            content = self._content(cluster)
            pods = cluster.list(_PODS, self.options.namespace, self.options.label_selector)
        for pod in pods:
            if not pod["metadata"].get("ownerReferences") and taken.left_out(pod) == taken.POD:
                content.left_out.setdefault(taken.POD, []).append(f"pods/{pod['metadata']['name']}")
        for reason, names in sorted(content.left_out.items()):
            log.warning("%s: not in the backup, %s: %s", self.label, reason, _some(names))
        facts = {**self._written(write, content.documents), _ASKED_AT: content.asked_at.isoformat()}
        left_out = [f"{reason}: {_some(names)}" for reason, names in sorted(content.left_out.items())]
        return {**facts, **({"left_out": left_out} if left_out else {})}

    # --- restoring ----------------------------------------------------------------------------------------------------

    def load(self, documents: Mapping[str, Any], place: Place) -> None:
        self._load(documents, place, _EVER)

    def load_point(self, point: RecoveryPoint, documents: Mapping[str, Any], place: Place) -> None:
        self._load(documents, place, _asked_at(point))

    def _load(self, documents: Mapping[str, Any], place: Place, since: datetime) -> None:
        cluster = self._cluster()
        with self._all_missing_rights(cluster):
            resources = self._served(cluster).of_documents(documents, self.label)
            if place.origin:
                self._bring_back(cluster, documents, resources, since)
            else:
                self._scratch(cluster, place).restore(documents, resources)

    def _bring_back(
        self, cluster: Cluster, documents: Mapping[str, Any], resources: Mapping[str, ApiResource], since: datetime
    ) -> None:
        namespace = self.options.namespace
        path = NAMESPACE.path(namespace)
        live = cluster.get(path)
        if live is not None and live["metadata"].get("deletionTimestamp"):
            raise TemporaryError(f"{self.label}: namespace {namespace} is being deleted; try again when it is gone")
        if live is None:
            bare = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": cleaning.HERE}}
            cluster.create("/api/v1/namespaces", cleaning.sent_home(documents.get(_NAMESPACE_KEY, bare), namespace))
            log.info("%s: namespace %s was gone and is made again", self.label, namespace)
        served = self._served(cluster)
        held = self._content(cluster, documents).documents
        every = {**{key: by_name(served.resources())[key.partition("/")[0]] for key in held if key != _NAMESPACE_KEY},
                 **resources}  # fmt: skip
        changed = {
            key: document for key, document in documents.items() if not sameness.is_back(document, held.get(key))
        }
        extra = {key: document for key, document in held.items() if key not in documents and key != _NAMESPACE_KEY}
        way = WayBack(cluster, namespace, self.label, every, since)
        way.run(changed, extra)
        log.info("%s: %d of %d object(s) restored in namespace %s, %d step(s) done", self.label, len(changed),
                 len(documents), namespace, len(way.done))  # fmt: skip

    def prove(self, point: RecoveryPoint, place: Place) -> tuple[Check, ...]:
        documents, cluster = self.stored_documents(point), self._cluster()
        with self._all_missing_rights(cluster):
            if place.origin:
                found = self._content(cluster, documents, finished=True).documents
            else:
                resources = self._served(cluster).of_documents(documents, self.label)
                found = self._scratch(cluster, place).found(documents, resources)
        since = _asked_at(point)
        added = {key for key, document in found.items() if key not in documents and not sameness.stays(document, since)}
        if place.origin and _NAMESPACE_KEY not in documents:
            added.discard(_NAMESPACE_KEY)
        recorded: Mapping[str, str] = point.facts["documents"]
        present = sorted((set(found) & set(recorded)) | added)
        names = Check(name="names of documents", expected=sorted(recorded), found=present,
                      ok=sorted(recorded) == present)  # fmt: skip
        secret = self._part(point, "digest_key", str)
        stored, digests = self._digests(secret, documents), self._digests(secret, found)
        checks = [names]
        for key, expected in sorted(recorded.items()):
            # what is restored must be what was recorded, and what then is there too
            digest = digests.get(key) if stored.get(key) == expected else stored.get(key)
            checks.append(self._compared(key, expected, digest, documents.get(key), found.get(key)))
        if place.origin:
            checks += [
                check for key in sorted(documents) for check in sameness.only_home(key, documents[key], found.get(key))
            ]
        return tuple(checks)

    def discard(self, place: Place) -> None:
        if place.origin:
            raise InvalidInput(f"{self.label}: the origin is no scratch place and is never discarded")
        self._scratch(self._cluster(), place).discard()

    # --- parts --------------------------------------------------------------------------------------------------------

    def _compared(
        self, key: str, expected: str, digest: str | None, document: Any, found: dict[str, Any] | None
    ) -> Check:
        name = f"content of {key}"
        if document is None or found is None or digest == expected:
            return Check(name=name, expected=expected, found=digest, ok=digest == expected)
        if why := sameness.may_differ(document, found):
            return Check(name=name, expected={"any_of": [expected, why]}, found=why, ok=True)
        paths = differences(cleaning.comparable(document), cleaning.comparable(found))
        return Check(name=name, expected=expected, found=f"{digest}: {paths}" if paths else digest, ok=False)

    def _cluster(self) -> Cluster:
        return Cluster(self.options.connection, self.label)

    def _scratch(self, cluster: Cluster, place: Place) -> Scratch:
        names = (self._scratch_namespace(place), self.options.namespace)
        return Scratch(cluster, names, self.label, self.options.harmless)

    def _scratch_namespace(self, place: Place) -> str:
        if not place.name:
            raise InvalidInput(f"{self.label}: a scratch place needs a name")
        return f"airlock-{place.name.lower()}"

    def _served(self, cluster: Cluster) -> Served:
        """Return what the cluster serves.

        :raises TemporaryError: an aggregated API is down that the service file does not leave out
        """
        served = cluster.served(lambda group: group in taken.VIRTUAL_GROUPS)
        for version, why in served.down.items():
            group = group_of(version)
            if not taken.is_given_up(group, self.options.exclude):
                service = f"{version.rpartition('/')[2]}.{group}"
                raise TemporaryError(
                    f"{self.label}: the API {version} is announced and does not answer (APIService {service}): {why}; "
                    f"repair or remove it, or leave it out with exclude: ['*.{group}']"
                )
            log.warning("%s: the API %s does not answer and is left out, as the service file says", self.label, version)
        return served

    def _listed(self, served: Served) -> list[ApiResource]:
        return [found for found in served.resources() if taken.is_asked_for(found, self.options.exclude)]

    def _content(
        self, cluster: Cluster, recorded: Mapping[str, Any] | None = None, *, finished: bool = False
    ) -> Content:
        """Read the origin. What is *recorded* is read in its own version where the cluster serves it, and also when
        somebody owns it by now; when *finished* is set, also what has run to its end."""
        recorded = recorded or {}
        namespace, versions = self.options.namespace, sameness.versions(recorded)
        itself = cluster.get(NAMESPACE.path(namespace))
        content = Content({}, {}, cluster.answered_at)
        if itself is None:
            return content
        served, items = self._served(cluster), {}
        asked_for = {resource.name for resource in self._listed(served)}
        for resource in served.resources():
            if resource.name not in asked_for | versions.keys() or resource.name == _PODS.plural:
                continue
            exact = served.in_version(resource.name, versions.get(resource.name, ""))
            read = exact or cluster.as_stored(resource, served)
            items[resource.name] = cluster.list(read, namespace, self.options.label_selector)
        services = {item["metadata"]["name"]: item for item in items.get("services", ())}
        scaled = taken.autoscaled(item for listing in items.values() for item in listing)
        if not self.options.label_selector and NAMESPACE.plural not in self.options.exclude:
            whole = {"apiVersion": "v1", "kind": "Namespace", **itself}
            content.documents[_NAMESPACE_KEY] = cleaning.clean(whole, namespace)
        for name, listing in items.items():
            for live in listing:
                key = f"{name}/{live['metadata']['name']}"
                if key not in recorded and (name not in asked_for or taken.derived(live, services)):
                    continue
                why = taken.left_out(live)
                ended = why in (taken.FINISHED, taken.RAN)
                if why and not (finished and ended) and not (key in recorded and why == taken.OWNED):
                    content.left_out.setdefault(why, []).append(key)
                    continue
                content.documents[key] = self._clean(key, live, autoscaled=taken.is_autoscaled(live, scaled))
                if ended:
                    content.documents[key][sameness.FINISHED] = True
        log.info("%s: %d object(s) read in namespace %s", self.label, len(content.documents), namespace)
        return content

    def _clean(self, key: str, live: dict[str, Any], *, autoscaled: bool) -> dict[str, Any]:
        try:
            return cleaning.clean(live, self.options.namespace, autoscaled=autoscaled)
        except RecursionError:
            raise PermanentError(
                f"{self.label}: {key} is nested too deeply to be backed up; leave its resource out with 'exclude'"
            ) from None

    @contextmanager
    def _all_missing_rights(self, cluster: Cluster) -> Iterator[None]:
        """Name every right that is missing, not only the one that was met first."""
        try:
            yield
        except AccessRefused as error:
            if "User " not in str(error):
                raise
            try:
                resources = self._listed(self._served(cluster))
            except (AccessRefused, TemporaryError):
                raise error from None
            wanted = rights.needed(resources, self.options.namespace, "")
            lacking = rights.in_words(rights.missing(cluster, wanted))
            if not lacking:
                raise
            raise AccessRefused(f"{error}. All rights that are missing: {lacking}") from error


def _asked_at(point: RecoveryPoint) -> datetime:
    """Return when the origin was read, by the clock of its server."""
    told = point.facts.get(_ASKED_AT)
    return datetime.fromisoformat(told) if isinstance(told, str) else point.taken_at


def _some(names: list[str]) -> str:
    return ", ".join(sorted(names)[:_NAMED]) + (f" and {len(names) - _NAMED} more" if len(names) > _NAMED else "")
