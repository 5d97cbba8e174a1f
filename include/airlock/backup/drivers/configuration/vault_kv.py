"""Back up the secrets below one path of a KV version 2 mount (Vault, OpenBao), and prove it in a mount of its own.

Knows KV version 2 and the driver contract; the server lives in the module beside this one. No secret value leaves this
module but into the encrypted store and into Vault.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property, partial
from typing import Any, ClassVar

from pydantic import Field, field_validator

from airlock.backup.driver import Capabilities, Place
from airlock.backup.drivers.configuration import vault_needs
from airlock.backup.drivers.configuration.vault_server import VaultServer
from airlock.backup.secret_documents import SecretDocumentDriver
from airlock.connections import ConnectionId
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
    mount: str = Field("secret", pattern=r"^[^\s/]([^\r\n]*\S)?$", description="the KV version 2 mount")
    path: str = Field(
        "", pattern=r"^([^\s/]([^\r\n]*\S)?)?$", description="only secrets below this path; empty: the whole mount"
    )

    @field_validator("mount")
    @classmethod
    def _one_mount(cls, mount: str) -> str:
        if {".", ".."} & set(mount.split("/")):
            raise ValueError("a mount has no part that is '.' or '..'")
        return mount

    def identities(self) -> tuple[str, ...]:
        return (server_identity("vault", self.connection, 8200, self.mount, self.path),)


class VaultKvDriver(SecretDocumentDriver):
    """The current version of every secret below one path, with its settings and custom metadata; of a whole mount, its
    settings too. A secret that has none of these (its last version deleted, settings as they come) counts as absent."""

    kind: ClassVar[Kind] = Kind.CONFIGURATION
    Options = VaultKvOptions
    options: VaultKvOptions
    capabilities: ClassVar[Capabilities] = Capabilities(
        consistent="each secret at the moment it is read",
        leaves_out=(
            "versions of a secret before its latest, their numbers and times, and secrets whose latest one is deleted",
            "policies, log-ins, leases and other mounts; of a path within a mount, the settings of the mount",
            "digits of a number beyond the precision of 64 bits",
        ),
    )
    needs = vault_needs.NEEDS

    def export(self, place: Place) -> Mapping[str, Any]:
        mount = self._mount_of(place)
        documents: dict[str, Any] = {}
        tuned = self._server.mount(mount)
        if tuned is None:
            return documents
        for path in self._paths(mount, self._prefix):
            found = self._read(mount, path)
            if found is not None and (found["data"] is not None or found["settings"] or found["custom_metadata"]):
                documents[path] = {key: value for key, value in found.items() if key != "version"}
        log.info("%s: %d secret(s) read below %s/%s", self.label, len(documents), mount, self._prefix)
        if documents and not self._prefix:
            told = self._server.dictionary(
                f"read the settings of mount {mount}", lambda: self._kv.read_configuration(mount)
            )
            documents[_MOUNT] = {"settings": _settings(told), "mount": tuned}
        return documents

    def left_out(self) -> list[str]:
        """Say of the secret that has the name of the path itself that it is not below it."""
        path, mount = self._prefix.rstrip("/"), self._mount_of(Place(origin=True))
        beside = path and self._server.mount(mount) is not None and self._read(mount, path) is not None
        return [f"the secret {path} itself, which is beside the folder {path}/ and not in it"] if beside else []

    def parts(self, name: str, document: Any) -> Mapping[str, Any]:
        if name == _MOUNT:
            return {name: document["settings"], "/mount": document["mount"]}
        data = document["data"]
        keys = {f"{name}#{key}": value for key, value in (data or {}).items()}
        rest = {"settings": document["settings"], "custom_metadata": document["custom_metadata"]}
        return {name: {"keys": None if data is None else sorted(data), **rest}, **keys}

    def load(self, documents: Mapping[str, Any], place: Place) -> None:
        mount = self._mount_of(place)
        self._put_mount(mount, documents.get(_MOUNT), place)
        wanted = {path: document for path, document in documents.items() if path != _MOUNT}
        written = sum(self._write(mount, path, document) for path, document in sorted(wanted.items()))
        removed = 0
        if place.origin:
            for path in sorted(set(self.export(place)) - set(documents) - {_MOUNT}):
                # the latest version only: whoever made it after the backup can still undelete it
                self._write(mount, path, {"data": None, "settings": {}, "custom_metadata": {}})
                removed += 1
        log.info(
            "%s: %d of %d secret(s) written to %s, %d removed", self.label, written, len(wanted), mount, removed
        )

    def discard(self, place: Place) -> None:
        if place.origin:
            raise InvalidInput(f"{self.label}: the origin is no scratch place and is never discarded")
        mount = self._mount_of(place)
        if self._server.disable(mount):
            log.info("%s: scratch mount %s disabled", self.label, mount)

    # --- parts --------------------------------------------------------------------------------------------------------

    @cached_property
    def _server(self) -> VaultServer:
        return VaultServer(self.options.connection, self.label)

    @property
    def _kv(self) -> Any:
        return self._server.client.secrets.kv.v2

    @property
    def _prefix(self) -> str:
        return f"{self.options.path.strip('/')}/" if self.options.path.strip("/") else ""

    def _mount_of(self, place: Place) -> str:
        if place.origin:
            return self.options.mount.strip("/")
        if not place.name:
            raise InvalidInput(f"{self.label}: a scratch place needs a name")
        return f"airlock-scratch-{place.name}"

    def _put_mount(self, mount: str, wanted: Mapping[str, Any] | None, place: Place) -> None:
        """See that *mount* is there, and is what was recorded of it; of a path within a mount, nothing is."""
        held = self._server.mount(mount)
        if held is None:
            self._server.enable(mount, wanted["mount"] if wanted else {"description": ""})
            if place.origin:
                log.warning("%s: mount %s was gone and is made anew%s", self.label, mount, "" if wanted else
                            "; next: set on it what was set on it")  # fmt: skip
        elif wanted is not None and wanted["mount"] != held:
            self._server.tune(mount, wanted["mount"])
        self._wait_until_ready(mount)
        if wanted is not None:
            self._server.call(f"write the settings of mount {mount}", lambda: self._kv.configure(
                mount_point=mount, **{**_DEFAULTS, **wanted["settings"]}))  # fmt: skip

    def _paths(self, mount: str, folder: str) -> Iterator[str]:
        import hvac.exceptions as vault

        def listed(below: str) -> Any:
            try:
                return self._kv.list_secrets(path=below, mount_point=mount)
            except vault.InvalidPath:  # nothing below this folder
                return {"data": {"keys": []}}

        folders = [folder]  # no recursion: people nest as deep as a path may be long
        while folders:
            below = folders.pop()
            for key in self._server.dictionary(f"list {mount}/{below}", partial(listed, below))["keys"]:
                if key.endswith("/"):
                    folders.append(below + key)
                else:
                    yield below + key

    def _read(self, mount: str, path: str) -> dict[str, Any] | None:
        """Return ``data`` (None when the current version is deleted, or there is none), settings that are not as they
        come, custom metadata and the number of the current version; None when there is no such secret."""
        import hvac.exceptions as vault

        def read(act: Callable[..., Any], **more: Any) -> dict[str, Any]:
            def asked() -> Any:
                try:
                    return act(path=path, mount_point=mount, **more)
                except vault.InvalidPath:
                    return {"data": {}}

            return self._server.dictionary(f"read {mount}/{path}", asked)

        kept = read(self._kv.read_secret_metadata)
        if not kept:
            return None
        current = read(self._kv.read_secret_version, raise_on_deleted_version=False)
        return {
            "data": current.get("data"),
            "settings": _settings(kept),
            "custom_metadata": kept.get("custom_metadata") or {},
            "version": int(kept.get("current_version") or 0),
        }

    def _write(self, mount: str, path: str, document: Mapping[str, Any]) -> int:
        nothing: dict[str, Any] = {"data": None, "settings": {}, "custom_metadata": {}, "version": 0}
        current = self._read(mount, path) or nothing
        if any(current[part] != document[part] for part in ("settings", "custom_metadata")):
            # all of them, and first: the client resets what it is not told, and a new version follows the settings
            self._server.call(
                f"write the settings of {mount}/{path}",
                lambda: self._kv.update_metadata(
                    path=path, mount_point=mount, custom_metadata=document["custom_metadata"],
                    **{**_DEFAULTS, **document["settings"]},
                ),
            )  # fmt: skip
        if current["data"] == document["data"]:
            return 0
        if document["data"] is None:
            delete = self._kv.delete_latest_version_of_secret
            self._server.call(f"delete {mount}/{path}", partial(delete, path=path, mount_point=mount))
            return 1
        # check-and-set: another writer between our read and our write is told apart, not overwritten
        self._server.call(
            f"write {mount}/{path}",
            lambda: self._kv.create_or_update_secret(
                path=path, secret=document["data"], cas=current["version"], mount_point=mount
            ),
        )
        return 1

    def _wait_until_ready(self, mount: str) -> None:
        deadline = time.monotonic() + _UPGRADE_SECONDS
        while True:
            try:
                next(self._paths(mount, ""), None)
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
