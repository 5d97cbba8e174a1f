"""One Kubernetes API server as a driver sees it: discovery, paged lists, apply, delete, and its errors in our words.

Knows the provider's hook and HTTP; knows no backup. Written against real API servers: expired pages, throttling,
objects that go away slowly.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from airlock.connections import connection as airflow_connection
from airlock.errors import PermanentError, TemporaryError

log = logging.getLogger(__name__)
_PAGE = 250
_RESTARTS = 3
_GONE_SECONDS = 300
_FIELD_MANAGER = "airlock"


@dataclass(frozen=True)
class ApiResource:
    """One listable, namespaced resource, such as ``deployments`` of ``apps/v1``."""

    api_version: str
    plural: str
    kind: str

    @property
    def name(self) -> str:
        """Return ``plural`` or ``plural.group``."""
        group = self.api_version.rpartition("/")[0]
        return f"{self.plural}.{group}" if group else self.plural

    def path(self, namespace: str, name: str = "") -> str:
        """Return the address of the collection in *namespace*, or of one object."""
        root = "/apis" if "/" in self.api_version else "/api"
        return f"{root}/{self.api_version}/namespaces/{namespace}/{self.plural}" + (f"/{name}" if name else "")


class Cluster:
    """The API server of one Airflow connection. *label* begins every message."""

    def __init__(self, connection: str, label: str) -> None:
        """Load the client's configuration; nothing is asked yet.

        :raises UnknownName: Airflow has no such connection
        :raises PermanentError: the connection's kube config cannot be used
        """
        from airflow.providers.cncf.kubernetes.hooks.kubernetes import KubernetesHook
        from kubernetes.config import ConfigException

        airflow_connection(connection)
        self._label, self._connection = label, connection
        # at DEBUG the client logs the body of every answer, and with it the content of Secrets
        logging.getLogger("kubernetes.client.rest").setLevel(logging.INFO)
        try:
            self._api: Any = KubernetesHook(conn_id=connection).get_conn()
        except (ConfigException, OSError) as error:
            raise PermanentError(
                f"{label}: the kube config of connection {connection} cannot be used: {error}"
            ) from error

    def resources(self) -> list[ApiResource]:
        """Return what can be listed and patched inside a namespace, each in its group's preferred version."""
        versions = ["v1"]
        versions += [group["preferredVersion"]["groupVersion"] for group in self.call("GET", "/apis")["groups"]]
        found = []
        for version in versions:
            root = "/apis" if "/" in version else "/api"
            listed = self.call("GET", f"{root}/{version}")
            found += [
                ApiResource(version, entry["name"], entry["kind"])
                for entry in listed.get("resources", ())
                if entry.get("namespaced") and "/" not in entry["name"] and {"list", "patch"} <= set(entry["verbs"])
            ]
        return found

    def list(self, resource: ApiResource, namespace: str, label_selector: str = "") -> list[dict[str, Any]]:
        """Return every object of *resource* in *namespace*, in pages; begins again when a page's token expires."""
        for _ in range(_RESTARTS):
            try:
                return list(self._pages(resource, namespace, label_selector))
            except _Expired:
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
            yield from page.get("items") or ()
            token = page.get("metadata", {}).get("continue") or ""
            if not token:
                return

    def get(self, path: str) -> dict[str, Any] | None:
        """Return the object at *path*, or None when there is none."""
        try:
            return self.call("GET", path)
        except _Absent:
            return None

    def apply(self, path: str, document: Mapping[str, Any], *, dry_run: bool = False) -> dict[str, Any]:
        """Apply *document* by server-side apply, taking over fields that others own."""
        query = {"fieldManager": _FIELD_MANAGER, "force": "true", **({"dryRun": "All"} if dry_run else {})}
        return self.call("PATCH", path, query, document, "application/apply-patch+yaml")

    def replace(self, path: str, document: Mapping[str, Any], *, dry_run: bool = False) -> dict[str, Any]:
        """Replace the object at *path* as a whole."""
        query = {"fieldManager": _FIELD_MANAGER, **({"dryRun": "All"} if dry_run else {})}
        return self.call("PUT", path, query, document)

    def delete(self, path: str, *, wait: bool = False) -> None:
        """Delete the object at *path* with what belongs to it; succeeds when nothing is there.

        :raises TemporaryError: with *wait*, it is still there after five minutes
        """
        try:
            self.call("DELETE", path, {"propagationPolicy": "Background"})
        except _Absent:
            return
        deadline = time.monotonic() + _GONE_SECONDS
        while wait and (left := self.get(path)) is not None:
            if time.monotonic() > deadline:
                raise TemporaryError(
                    f"{self._label}: {path} is still there after {_GONE_SECONDS} s, its state: {left.get('status')}; "
                    f"look for finalizers that hold it"
                )
            time.sleep(0.5)

    def call(
        self, method: str, path: str, query: Mapping[str, str] | None = None, body: Any = None, form: str = ""
    ) -> dict[str, Any]:
        """Return the decoded answer to one request.

        :raises TemporaryError: the server cannot be reached, throttles, fails, or the answer is not Kubernetes'
        :raises PermanentError: it refuses for good
        """
        from kubernetes.client import ApiException
        from urllib3.exceptions import HTTPError

        what = f"{self._label}: Kubernetes (connection {self._connection}) {method} {path}"
        headers = {"Accept": "application/json", "Content-Type": form or "application/json"}
        try:
            answer = self._api.call_api(
                path, method, query_params=list((query or {}).items()), header_params=headers, body=body,
                response_types_map=dict.fromkeys((200, 201, 202), "object"), auth_settings=["BearerToken"],
                _return_http_data_only=True, _request_timeout=(10, 60),
            )  # fmt: skip
        except ApiException as error:
            raise self._error(what, error) from error
        except HTTPError as error:
            raise TemporaryError(
                f"{what}: {type(error).__name__}; check that the API server runs, then try again"
            ) from error
        if not isinstance(answer, dict):
            raise TemporaryError(f"{what}: the answer is not an object of Kubernetes; check what stands in front of it")
        return answer

    @staticmethod
    def _error(what: str, error: Any) -> TemporaryError | PermanentError:
        reason = f"{error.status} {error.reason}"
        # the server's own sentence; it may quote a document, so only its beginning, and never for an object's body
        if error.status == 410:
            return _Expired(f"{what}: {reason}")
        if error.status == 404:
            return _Absent(f"{what}: {reason}; check the namespace and the API's version")
        if error.status in (0, 408, 409, 429) or error.status >= 500:
            return TemporaryError(f"{what}: {reason}; try again later")
        return PermanentError(f"{what}: {reason}{_told(error.body)}")


class _Absent(PermanentError):
    """Nothing is at this address."""


class _Expired(TemporaryError):
    """The token of a page is too old."""


def _told(body: Any) -> str:
    """Return what a ``Status`` answer says of its cause: fields, never values."""
    import json

    try:
        status = json.loads(body or "{}")
    except ValueError:
        return ""
    if not isinstance(status, dict):
        return ""
    causes = (status.get("details") or {}).get("causes") or ()
    fields = ", ".join(f"{cause.get('field', '')} ({cause.get('reason', '')})" for cause in causes)
    return f": {status.get('reason', '')}" + (f" in {fields}" if fields else "")
