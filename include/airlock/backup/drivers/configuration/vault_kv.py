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
from airlock.connections import ConnectionId
from airlock.connections import connection as airflow_connection
from airlock.errors import InvalidInput, PermanentError, TemporaryError
from airlock.identity import server_identity
from airlock.models import Kind
from airlock.options import Options as DriverOptions

log = logging.getLogger(__name__)
_MOUNT = "/config"  # no secret's path begins with a slash
_DEFAULTS = {"max_versions": 0, "cas_required": False, "delete_version_after": "0s"}
_UPGRADE_SECONDS = 20  # a new KV v2 mount refuses requests for a moment while it prepares itself


class VaultKvOptions(DriverOptions):
    """Options of the driver ``vault_kv``."""

    connection: ConnectionId = Field(
        description="Airflow connection of Vault; may read and write the path, mount and unmount")
    mount: str = Field("secret", pattern=r"^[A-Za-z0-9][A-Za-z0-9_./-]*$", description="the KV version 2 mount")
    path: str = Field(
        "", pattern=r"^([^\s/]([^\r\n]*\S)?)?$", description="only secrets below this path; empty: the whole mount"
    )

    def identities(self) -> tuple[str, ...]:
        return (server_identity("vault", self.connection, 8200, self.mount, self.path),)


class VaultKvDriver(SecretDocumentDriver):
    """The current version of every secret below one path, with its settings and custom metadata; of a whole mount, its
    settings too. A secret that has none of these (its last version deleted, settings as they come) counts as absent."""

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
        if not self._is_there(client, mount):
            return documents
        for path in self._paths(client, mount, self._prefix):
            found = self._read(client, mount, path)
            if found is not None and (found["data"] is not None or found["settings"] or found["custom_metadata"]):
                documents[path] = {key: value for key, value in found.items() if key != "version"}
        log.info("%s: %d secret(s) read below %s/%s", self.label, len(documents), mount, self._prefix)
        if documents and not self._prefix:
            told = self._dictionary(
                f"read the settings of mount {mount}", lambda: client.secrets.kv.v2.read_configuration(mount)
            )
            documents[_MOUNT] = {"settings": _settings(told)}
        return documents

    def parts(self, name: str, document: Any) -> Mapping[str, Any]:
        if name == _MOUNT:
            return {name: document["settings"]}
        data = document["data"]
        keys = {f"{name}#{key}": value for key, value in (data or {}).items()}
        rest = {"settings": document["settings"], "custom_metadata": document["custom_metadata"]}
        return {name: {"keys": None if data is None else sorted(data), **rest}, **keys}

    def load(self, documents: Mapping[str, Any], place: Place) -> None:
        mount = self._mount_of(place)
        client = self._client()
        if not self._is_there(client, mount):
            self._enable(client, mount, "" if place.origin else "scratch place of a restore test")
            if place.origin:
                log.warning("%s: mount %s was gone and is made anew; next: set its description and how long leases "
                            "last again, if they were not as they come", self.label, mount)  # fmt: skip
        self._wait_until_ready(client, mount)
        if _MOUNT in documents:
            self._call(f"write the settings of mount {mount}", lambda: client.secrets.kv.v2.configure(
                mount_point=mount, **{**_DEFAULTS, **documents[_MOUNT]["settings"]}))  # fmt: skip
        wanted = {path: document for path, document in documents.items() if path != _MOUNT}
        written = sum(self._write(client, mount, path, document) for path, document in sorted(wanted.items()))
        removed = 0
        if place.origin:
            for path in sorted(set(self.export(place)) - set(documents) - {_MOUNT}):
                # the latest version only: whoever made it after the backup can still undelete it
                self._write(client, mount, path, {"data": None, "settings": {}, "custom_metadata": {}})
                removed += 1
        log.info(
            "%s: %d of %d secret(s) written to %s, %d removed", self.label, written, len(wanted), mount, removed
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
            told = "; ".join(map(str, error.errors or ())) or type(error).__name__
            if "check-and-set parameter did not match" in told:
                raise TemporaryError(f"{where}: somebody else wrote it meanwhile; try again") from error
            raise PermanentError(f"{where}: {told}") from error
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

        def listed(below: str) -> Any:
            try:
                return client.secrets.kv.v2.list_secrets(path=below, mount_point=mount)
            except vault.InvalidPath:  # nothing below this folder
                return {"data": {"keys": []}}

        folders = [folder]  # no recursion: people nest as deep as a path may be long
        while folders:
            below = folders.pop()
            for key in self._dictionary(f"list {mount}/{below}", partial(listed, below))["keys"]:
                if key.endswith("/"):
                    folders.append(below + key)
                else:
                    yield below + key

    def _read(self, client: Any, mount: str, path: str) -> dict[str, Any] | None:
        """Return ``data`` (None when the current version is deleted, or there is none), settings that are not as they
        come, custom metadata and the number of the current version; None when there is no such secret."""
        import hvac.exceptions as vault

        def read(act: Callable[..., Any], **more: Any) -> dict[str, Any]:
            def asked() -> Any:
                try:
                    return act(path=path, mount_point=mount, **more)
                except vault.InvalidPath:
                    return {"data": {}}

            return self._dictionary(f"read {mount}/{path}", asked)

        kept = read(client.secrets.kv.v2.read_secret_metadata)
        if not kept:
            return None
        current = read(client.secrets.kv.v2.read_secret_version, raise_on_deleted_version=False)
        return {
            "data": current.get("data"),
            "settings": _settings(kept),
            "custom_metadata": kept.get("custom_metadata") or {},
            "version": int(kept.get("current_version") or 0),
        }

    def _write(self, client: Any, mount: str, path: str, document: Mapping[str, Any]) -> int:
        nothing: dict[str, Any] = {"data": None, "settings": {}, "custom_metadata": {}, "version": 0}
        current = self._read(client, mount, path) or nothing
        if any(current[part] != document[part] for part in ("settings", "custom_metadata")):
            # all of them, and first: the client resets what it is not told, and a new version follows the settings
            self._call(
                f"write the settings of {mount}/{path}",
                lambda: client.secrets.kv.v2.update_metadata(
                    path=path, mount_point=mount, custom_metadata=document["custom_metadata"],
                    **{**_DEFAULTS, **document["settings"]},
                ),
            )  # fmt: skip
        if current["data"] == document["data"]:
            return 0
        if document["data"] is None:
            delete = client.secrets.kv.v2.delete_latest_version_of_secret
            self._call(f"delete {mount}/{path}", partial(delete, path=path, mount_point=mount))
            return 1
        # check-and-set: another writer between our read and our write is told apart, not overwritten
        self._call(
            f"write {mount}/{path}",
            lambda: client.secrets.kv.v2.create_or_update_secret(
                path=path, secret=document["data"], cas=current["version"], mount_point=mount
            ),
        )
        return 1

    def _mounts(self, client: Any) -> dict[str, Any]:
        return self._dictionary("list its mounts", client.sys.list_mounted_secrets_engines)

    def _is_there(self, client: Any, mount: str) -> bool:
        """Return whether there is such a mount.

        :raises InvalidInput: it is another one than KV version 2, which answers the same paths otherwise
        """
        found = self._mounts(client).get(f"{mount}/")
        if not isinstance(found, Mapping):
            return False
        version = str((found.get("options") or {}).get("version", "1"))
        if found.get("type") != "kv" or version != "2":
            sort = f"KV version {version}" if found.get("type") == "kv" else f"of the type {found.get('type')}"
            raise InvalidInput(f"{self.label}: mount {mount} is {sort}, and this driver takes KV version 2 only; next: "
                               f"correct the option 'mount', or upgrade it with vault kv "
                               f"enable-versioning {mount}")  # fmt: skip
        return True

    def _enable(self, client: Any, mount: str, description: str) -> None:
        enable = client.sys.enable_secrets_engine
        self._call(f"mount {mount}", lambda: enable(backend_type="kv", path=mount, options={"version": "2"},
                                                    description=description))  # fmt: skip
        log.info("%s: mount %s enabled", self.label, mount)

    def _wait_until_ready(self, client: Any, mount: str) -> None:
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


def _settings(told: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of a secret or a mount that are not as they come."""
    return {key: told[key] for key, usual in _DEFAULTS.items() if told.get(key) not in (None, usual)}
