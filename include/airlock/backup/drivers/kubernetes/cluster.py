"""One Kubernetes API server as a driver sees it: discovery, paged lists, create, replace, delete, and its refusals.

Knows HTTP as Kubernetes speaks it; knows no backup. Written against real API servers: expired pages, throttling,
objects that go away slowly, aggregated APIs that are down. Writes are plain POST and PUT: server-side apply refuses
what a real object may hold (two entries of a list with one key), and takes fields from their owners.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from airlock.backup.drivers.kubernetes import refusals
from airlock.backup.drivers.kubernetes.login import open_client
from airlock.backup.drivers.kubernetes.resources import (
    ApiResource,
    Served,
    group_of,
    is_custom,
    is_to_be_served,
    listed,
    version_path,
    versions_of,
)
from airlock.errors import AccessRefused, PermanentError, TemporaryError

log = logging.getLogger(__name__)
_PAGE = 250
_RESTARTS = 3
_GONE_SECONDS = 300
MANAGER = "airlock"
_DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
_NAMES_ONLY = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json"


class Cluster:
    """The API server of one Airflow connection. *label* begins every message."""

    def __init__(self, connection: str, label: str) -> None:
        """Load the client's configuration; nothing is asked yet.

        :raises UnknownName: Airflow has no such connection
        :raises PermanentError: the connection's kube config cannot be used
        """
        self._label, self._connection = label, connection
        self._api: Any = open_client(connection, label)
        self._served: Served | None = None
        self._stored: dict[str, str] = {}
        self._delegated: frozenset[str] | None = None
        self.answered_at = datetime.now(UTC)
        """The server's clock, as its last answer told it."""

    def served(self, ignored: Callable[[str], bool]) -> Served:
        """Return what can be listed and written inside a namespace; groups that are *ignored* are not asked for.

        :raises TemporaryError: no answer came, or what is defined is not served yet
        """
        if self._served is None:
            groups = [group for group in self.call("GET", "/apis")["groups"] if not ignored(group["name"])]
            versions = ["v1", *(version for group in groups for version in versions_of(group))]
            by_version, down, names = {}, {}, set()
            for version in versions:
                try:
                    document = self.call("GET", version_path(version))
                    by_version[version] = listed(version, document)
                    names |= {f"{entry['name']}.{group_of(version)}" for entry in document.get("resources") or ()}
                except (TemporaryError, refusals.Absent) as error:
                    if version == "v1" or isinstance(error, refusals.Unanswered):
                        raise
                    down[version] = str(error)
            self._check_that_all_is_served(names, ignored)
            self._served = Served(by_version, down)
        return self._served

    def _check_that_all_is_served(self, names: Collection[str], ignored: Callable[[str], bool]) -> None:
        """Refuse to go on while custom kinds are missing, as in the first seconds of a server: a backup would be
        without them in silence."""
        try:
            definitions = self.call("GET", _DEFINITIONS, form=_NAMES_ONLY).get("items") or ()
        except (AccessRefused, refusals.Absent):
            return
        young = []
        for name in sorted({one["metadata"]["name"] for one in definitions} - set(names)):
            if ignored(name.partition(".")[2]):
                continue
            if is_to_be_served(self.get(f"{_DEFINITIONS}/{name}") or {}):
                young.append(name)
        if young:
            raise TemporaryError(
                f"{self._label}: {', '.join(young)}: defined and not served yet, as when the API server has just "
                "started; try again, and if it stays so, look at the conditions of the CustomResourceDefinition"
            )

    def as_stored(self, resource: ApiResource, served: Served) -> ApiResource:
        """Return *resource* in the version in which the cluster keeps it: without conversion, each of several versions
        shows only the fields that it knows itself."""
        if len(served.versions_of(resource.name)) < 2:
            return resource
        if resource.name not in self._stored:
            try:
                definition = self.get(f"{_DEFINITIONS}/{resource.name}") or {}
            except AccessRefused:
                definition = {}
            versions = (definition.get("spec") or {}).get("versions") or ()
            self._stored[resource.name] = next((entry["name"] for entry in versions if entry.get("storage")), "")
        return served.in_version(resource.name, f"{resource.group}/{self._stored[resource.name]}") or resource

    def is_delegated(self, resource: ApiResource) -> bool:
        """Return whether another server answers for *resource*, and may not keep a dry run apart from a real write.

        OpenShift's is built as the cluster's own, and does.
        """
        if not is_custom({"apiVersion": resource.api_version}) or resource.group.endswith(".openshift.io"):
            return False
        if self._delegated is None:
            try:
                services = self.call("GET", "/apis/apiregistration.k8s.io/v1/apiservices").get("items") or ()
            except (AccessRefused, refusals.Absent) as error:
                log.warning("%s: whether another server answers for %s cannot be seen: %s", self._label,
                            resource.name, error)  # fmt: skip
                services = ()
            elsewhere = (one["spec"] for one in services if (one.get("spec") or {}).get("service"))
            self._delegated = frozenset(f"{spec['group']}/{spec['version']}" for spec in elsewhere)
        return resource.api_version in self._delegated

    def list(self, resource: ApiResource, namespace: str, label_selector: str = "") -> list[dict[str, Any]]:
        """Return every object of *resource* in *namespace*, in pages; begins again when a page's token expires."""
        for _ in range(_RESTARTS):
            try:
                return list(self._pages(resource, namespace, label_selector))
            except refusals.Expired:
                log.info("%s: the list of %s in %s expired, it begins again", self._label, resource.name, namespace)
        raise TemporaryError(
            f"{self._label}: the list of {resource.name} in namespace {namespace} expired {_RESTARTS} times; "
            f"try again when the API server is less busy"
        )

    def _pages(self, resource: ApiResource, namespace: str, label_selector: str) -> Iterator[dict[str, Any]]:
        token = ""
        while True:
            query = {"limit": str(_PAGE), "labelSelector": label_selector, "continue": token}
            page = self.call("GET", resource.path(namespace), {key: value for key, value in query.items() if value})
            for item in page.get("items") or ():
                # entries of a list carry neither
                yield {**item, "apiVersion": resource.api_version, "kind": resource.kind}
            token = page.get("metadata", {}).get("continue") or ""
            if not token:
                return

    def get(self, path: str) -> dict[str, Any] | None:
        """Return the object at *path*, or None when there is none."""
        try:
            return self.call("GET", path)
        except refusals.Absent:
            return None

    def create(self, path: str, document: Mapping[str, Any], *, dry_run: bool = False) -> dict[str, Any]:
        """Create *document* in the collection at *path*.

        :raises Exists: an object of this name is there already
        """
        return self.call("POST", path, _query(dry_run), document)

    def replace(self, path: str, document: Mapping[str, Any], *, dry_run: bool = False) -> dict[str, Any]:
        """Replace the object at *path* as a whole."""
        return self.call("PUT", path, _query(dry_run), document)

    def merge(self, path: str, patch: Mapping[str, Any]) -> dict[str, Any]:
        """Change the object at *path* by a merge patch."""
        return self.call("PATCH", path, _query(False), patch, "application/merge-patch+json")

    def delete(
        self, path: str, *, uid: str = "", policy: str = "Background", dry_run: bool = False, wait: bool = False
    ) -> None:
        """Delete the object at *path*, but no other than *uid*; succeeds when nothing is there.

        :param policy: what becomes of what belongs to it: ``Background`` deletes it too, ``Orphan`` leaves it
        :raises TemporaryError: with *wait*, it is still there after five minutes
        """
        options: dict[str, Any] = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": policy}
        if uid:
            options["preconditions"] = {"uid": uid}
        if dry_run:
            options["dryRun"] = ["All"]
        try:
            self.call("DELETE", path, None, options)
        except refusals.Absent:
            return
        if wait and (held := self.held(path, uid, _GONE_SECONDS)):
            raise TemporaryError(
                f"{self._label}: {path} is still there after {_GONE_SECONDS} s: {held}; "
                "look for what must let it go, then try again"
            )

    def held(self, path: str, uid: str, seconds: float) -> str:
        """Wait until the object *uid* at *path* is gone; return what holds it when it is still there after that."""
        deadline = time.monotonic() + seconds
        while (left := self.get(path)) is not None and (not uid or left["metadata"].get("uid") == uid):
            if is_empty_namespace(left):
                log.warning("%s: %s is empty and goes when all APIs of the cluster answer: %s", self._label, path,
                            _held_by(left))  # fmt: skip
                break
            if time.monotonic() > deadline:
                return _held_by(left)
            time.sleep(0.5)
        return ""

    def call(
        self, method: str, path: str, query: Mapping[str, str] | None = None, body: Any = None, form: str = ""
    ) -> dict[str, Any]:
        """Return the decoded answer to one request; *form* is the media type of what is sent or, of a GET, asked for.

        :raises TemporaryError: the server cannot be reached, throttles, fails, or the answer is not Kubernetes'
        :raises PermanentError: it refuses for good
        """
        try:
            return self._answer(method, path, query, body, form)
        except refusals.Unauthenticated:
            # a token or certificate may have been renewed, in its file or by its plugin, while a long restore goes on
            self._api = open_client(self._connection, self._label)
            return self._answer(method, path, query, body, form)

    def _answer(self, method: str, path: str, query: Mapping[str, str] | None, body: Any, form: str) -> dict[str, Any]:
        from kubernetes.client import ApiException
        from urllib3.exceptions import HTTPError, LocationValueError

        what = f"{self._label}: Kubernetes (connection {self._connection}) {method} {path}"
        headers = {"Accept": "application/json", "Content-Type": "application/json"}
        if form:
            headers["Accept" if method == "GET" else "Content-Type"] = form
        try:
            answer, _, headers_back = self._api.call_api(
                path, method, query_params=list((query or {}).items()), header_params=headers, body=body,
                response_types_map=dict.fromkeys((200, 201, 202), "object"), auth_settings=["BearerToken"],
                _request_timeout=(10, 60),
            )  # fmt: skip
        except RecursionError as error:
            raise PermanentError(
                f"{what}: an object is nested too deeply to be read; leave its resource out with 'exclude'"
            ) from error
        except ApiException as error:
            if not error.status:
                raise refusals.unreachable(what, error) from error
            raise refusals.refused(what, error.status, error.reason, error.body, body) from error
        except (LocationValueError, ValueError, OSError) as error:
            raise PermanentError(
                f"{what}: the server or certificate in the kube config of the connection cannot be used "
                f"({type(error).__name__}); check 'server', and that certificates are base64 of PEM"
            ) from error
        except HTTPError as error:
            raise refusals.unreachable(what, error) from error
        self.answered_at = _clock(headers_back) or self.answered_at
        if not isinstance(answer, dict):
            raise TemporaryError(f"{what}: the answer is not an object of Kubernetes; check what stands in front of it")
        return answer


def _clock(headers: Mapping[str, str]) -> datetime | None:
    try:
        # a proxy may have added a second one behind it
        return parsedate_to_datetime(",".join(str(headers.get("Date", "")).split(",")[:2])).astimezone(UTC)
    except ValueError:
        return None


def _query(dry_run: bool) -> dict[str, str]:
    return {"fieldManager": MANAGER, **({"dryRun": "All"} if dry_run else {})}


def is_empty_namespace(live: Mapping[str, Any]) -> bool:
    """Return whether *live* is a namespace whose content is gone, and that only waits for an API that is down."""
    status = live.get("status") or {}
    states = {condition.get("type"): condition.get("status") for condition in status.get("conditions") or ()}
    return (
        status.get("phase") == "Terminating"
        and states.get("NamespaceDeletionDiscoveryFailure") == "True"
        and all(states.get(name) == "False" for name in ("NamespaceContentRemaining", "NamespaceFinalizersRemaining"))
    )


def _held_by(live: Mapping[str, Any]) -> str:
    """Return what holds an object that is to go: its finalizers, or what the namespace's conditions say."""
    finalizers = live["metadata"].get("finalizers") or []
    conditions = (live.get("status") or {}).get("conditions") or []
    told = [f"{c.get('type')}: {c.get('message')}" for c in conditions if c.get("status") == "True"]
    return "; ".join([*(f"finalizer {name}" for name in finalizers), *told]) or "nothing says what holds it"
