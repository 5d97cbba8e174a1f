"""Back up the secrets below one path of a KV version 2 mount (Vault, OpenBao), and prove it in a mount of its own.

Knows ``hvac`` and the driver contract. No secret value leaves this module but into the encrypted store and into Vault.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, ClassVar

from pydantic import Field

from airlock.backup.driver import Capabilities, Place
from airlock.backup.secret_documents import SecretDocumentDriver
from airlock.connections import connection as airflow_connection
from airlock.errors import InvalidInput, PermanentError, TemporaryError
from airlock.identity import server_identity
from airlock.models import Kind
from airlock.options import Options as DriverOptions

log = logging.getLogger(__name__)
_UPGRADE_SECONDS = 20  # a new KV v2 mount refuses requests for a moment while it prepares itself


class VaultKvOptions(DriverOptions):
    """Options of the driver ``vault_kv``."""

    connection: str = Field(description="Airflow connection of Vault; may read and write the path, mount and unmount")
    mount: str = Field("secret", pattern=r"^[A-Za-z0-9][A-Za-z0-9_./-]*$", description="the KV version 2 mount")
    path: str = Field(
        "", pattern=r"^([^\s/][^\s]*)?$", description="only secrets below this path; empty: the whole mount"
    )

    def identities(self) -> tuple[str, ...]:
        return (server_identity("vault", self.connection, 8200, self.mount, self.path),)


class VaultKvDriver(SecretDocumentDriver):
    """The current version of every secret below one path, with its custom metadata."""

    kind: ClassVar[Kind] = Kind.CONFIGURATION
    Options = VaultKvOptions
    options: VaultKvOptions
    capabilities: ClassVar[Capabilities] = Capabilities(
        consistent="each secret at the moment it is read; latest version only"
    )

    def export(self, place: Place) -> Mapping[str, Any]:
        mount = self._mount_of(place)
        client = self._client()
        documents: dict[str, Any] = {}
        for path in self._paths(client, mount, self._prefix):
            current = self._read(client, mount, path)
            if current is not None and current["data"] is not None:
                documents[path] = {
                    "data": current["data"],
                    "custom_metadata": current["metadata"].get("custom_metadata") or {},
                }
        log.info("%s: %d secret(s) read below %s/%s", self.label, len(documents), mount, self._prefix)
        return documents

    def parts(self, name: str, document: Any) -> Mapping[str, Any]:
        keys = {f"{name}#{key}": value for key, value in document["data"].items()}
        return {name: {"keys": sorted(document["data"]), "custom_metadata": document["custom_metadata"]}, **keys}

    def load(self, documents: Mapping[str, Any], place: Place) -> None:
        mount = self._mount_of(place)
        client = self._client()
        if not place.origin:
            self._enable(client, mount)
        written = 0
        for path, document in sorted(documents.items()):
            written += self._write(client, mount, path, document)
        removed = 0
        if place.origin:
            for path in sorted(set(self.export(place)) - set(documents)):
                # the latest version only: whoever made it after the backup can still undelete it
                delete = client.secrets.kv.v2.delete_latest_version_of_secret
                self._call(f"delete {mount}/{path}", partial(delete, path=path, mount_point=mount))
                removed += 1
        log.info(
            "%s: %d of %d secret(s) written to %s, %d removed", self.label, written, len(documents), mount, removed
        )

    def discard(self, place: Place) -> None:
        if place.origin:
            raise InvalidInput(f"{self.label}: the origin is no scratch place and is never discarded")
        mount = self._mount_of(place)
        client = self._client()
        if f"{mount}/" in self._mounts(client):
            self._call(f"disable mount {mount}", lambda: client.sys.disable_secrets_engine(path=mount))
            log.info("%s: scratch mount %s disabled", self.label, mount)

    # --- parts --------------------------------------------------------------------------------------------------------

    @property
    def _prefix(self) -> str:
        return f"{self.options.path.strip('/')}/" if self.options.path.strip("/") else ""

    def _mount_of(self, place: Place) -> str:
        if place.origin:
            return self.options.mount.strip("/")
        if not place.name:
            raise InvalidInput(f"{self.label}: a scratch place needs a name")
        return f"airlock-scratch-{place.name}"

    def _client(self) -> Any:
        """Return an ``hvac`` client: by the provider's hook, or by token when the host is a whole address."""
        import hvac

        given = airflow_connection(self.options.connection)
        host = given.host or ""
        if "://" in host:
            address = host if not given.port or host.count(":") > 1 else f"{host}:{given.port}"
            return hvac.Client(url=address, token=given.password, timeout=30)
        from airflow.providers.hashicorp.hooks.vault import VaultHook

        hook = VaultHook(vault_conn_id=self.options.connection, timeout=30)
        return self._call("log in", hook.get_conn)

    def _call(self, what: str, act: Callable[[], Any]) -> Any:
        """Return what *act* returns; its client's errors are put in our words, without any value."""
        import hvac.exceptions as vault
        import requests

        where = f"{self.label}: Vault (connection {self.options.connection}) did not {what}"
        try:
            return act()
        except vault.Forbidden as error:
            raise PermanentError(
                f"{where}: permission denied; give the connection's token a policy that allows it"
            ) from error
        except (
            vault.VaultDown,
            vault.RateLimitExceeded,
            vault.InternalServerError,
            vault.BadGateway,
            vault.VaultNotInitialized,
        ) as error:
            raise TemporaryError(f"{where}: {type(error).__name__}; try again when the server answers") from error
        except vault.VaultError as error:
            raise PermanentError(
                f"{where}: {'; '.join(map(str, error.errors or ())) or type(error).__name__}"
            ) from error
        except requests.RequestException as error:
            raise TemporaryError(
                f"{where}: {type(error).__name__}; check that the server runs, then try again"
            ) from error

    def _dictionary(self, what: str, act: Callable[[], Any]) -> dict[str, Any]:
        answer = self._call(what, act)
        if not isinstance(answer, dict) or not isinstance(answer.get("data"), dict):
            raise TemporaryError(
                f"{self.label}: Vault (connection {self.options.connection}) was asked to {what} and answered "
                f"something that is not Vault's; check what stands in front of it"
            )
        return dict(answer["data"])

    def _paths(self, client: Any, mount: str, folder: str) -> Iterator[str]:
        import hvac.exceptions as vault

        def listed() -> Any:
            try:
                return client.secrets.kv.v2.list_secrets(path=folder, mount_point=mount)
            except (
                vault.InvalidPath
            ):  # nothing below this folder, or no such mount, which the mount's check tells apart
                return {"data": {"keys": []}}

        for key in self._dictionary(f"list {mount}/{folder}", listed)["keys"]:
            if key.endswith("/"):
                yield from self._paths(client, mount, folder + key)
            else:
                yield folder + key

    def _read(self, client: Any, mount: str, path: str) -> dict[str, Any] | None:
        """Return ``{"data", "metadata"}`` of the current version (``data`` is None when deleted); None when absent."""
        import hvac.exceptions as vault

        def read() -> Any:
            try:
                return client.secrets.kv.v2.read_secret_version(
                    path=path, mount_point=mount, raise_on_deleted_version=False
                )
            except vault.InvalidPath:
                return None

        answer = self._call(f"read {mount}/{path}", read)
        if answer is None:
            return None
        return self._dictionary(f"read {mount}/{path}", lambda: answer)

    def _write(self, client: Any, mount: str, path: str, document: Mapping[str, Any]) -> int:
        current = self._read(client, mount, path)
        version = 0 if current is None else int(current["metadata"]["version"])
        held = {} if current is None else current["metadata"].get("custom_metadata") or {}
        if held != document["custom_metadata"]:
            self._call(
                f"write metadata of {mount}/{path}",
                lambda: client.secrets.kv.v2.update_metadata(
                    path=path, mount_point=mount, custom_metadata=document["custom_metadata"]
                ),
            )
        if current is not None and current["data"] == document["data"]:
            return 0
        # check-and-set: another writer between our read and our write is told apart, not overwritten
        self._call(
            f"write {mount}/{path}",
            lambda: client.secrets.kv.v2.create_or_update_secret(
                path=path, secret=document["data"], cas=version, mount_point=mount
            ),
        )
        return 1

    def _mounts(self, client: Any) -> dict[str, Any]:
        return self._dictionary("list its mounts", client.sys.list_mounted_secrets_engines)

    def _enable(self, client: Any, mount: str) -> None:
        if f"{mount}/" not in self._mounts(client):
            self._call(
                f"mount {mount}",
                lambda: client.sys.enable_secrets_engine(
                    backend_type="kv",
                    path=mount,
                    options={"version": "2"},
                    description="scratch place of a restore test",
                ),
            )
            log.info("%s: scratch mount %s enabled", self.label, mount)
        deadline = time.monotonic() + _UPGRADE_SECONDS
        while True:
            try:
                next(self._paths(client, mount, ""), None)
            except PermanentError as error:
                if "upgrading" not in str(error).lower():
                    raise
                if time.monotonic() > deadline:
                    raise TemporaryError(
                        f"{self.label}: mount {mount} was not ready within {_UPGRADE_SECONDS} s"
                    ) from error
                time.sleep(0.2)
            else:
                return
