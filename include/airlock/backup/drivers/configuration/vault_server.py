"""One Vault (or OpenBao) server through an Airflow connection: its client, its mounts, and its errors in our words.

Knows ``hvac``; knows no secret, no path and no recovery point. Nothing that is said here holds a value.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from airlock.connections import connection as airflow_connection
from airlock.errors import InvalidInput, PermanentError, TemporaryError

log = logging.getLogger(__name__)
_QUOTED = re.compile(r"cannot unmarshal (\w+) \S+")  # a number that a server cannot read, which it quotes
_TUNED: Mapping[str, Any] = {
    "default_lease_ttl": 0, "max_lease_ttl": 0, "listing_visibility": "", "audit_non_hmac_request_keys": [],
    "audit_non_hmac_response_keys": [], "passthrough_request_headers": [],
}  # fmt: skip
"""What people set on a mount, and what it is where nobody did."""


@dataclass(frozen=True)
class VaultServer:
    """The server of the Airflow connection *connection*; *label* names the resource in logs and errors."""

    connection: str
    label: str

    @cached_property
    def client(self) -> Any:
        """An ``hvac`` client: by the provider's hook, or by token when the host is a whole address.

        :raises InvalidInput: such a connection asks for another log-in than by token
        """
        import hvac

        given = airflow_connection(self.connection)
        host, extra = given.host or "", given.extra_dejson
        if "://" in host:
            if extra.get("auth_type", "token") != "token":
                raise InvalidInput(
                    f"{self.label}: connection {self.connection} has a whole address as its host, which goes with "
                    f"the log-in by token only, and asks for {extra['auth_type']!r}; next: give the host without "
                    "'https://', and the scheme by the extra 'use_tls'"
                )
            address = host if not given.port or host.count(":") > 1 else f"{host}:{given.port}"
            more = extra.get("client_kwargs") or {}  # as the hook does: a namespace, an authority, ...
            return hvac.Client(**{"timeout": 30, **more, "url": address, "token": given.password})
        from airflow.providers.hashicorp.hooks.vault import VaultHook

        hook = VaultHook(vault_conn_id=self.connection, timeout=30)
        return self.call("log in", hook.get_conn)

    def call(self, what: str, act: Callable[[], Any]) -> Any:
        """Return what *act* returns; its client's errors are put in our words, without any value."""
        import hvac.exceptions as vault
        import requests

        where = f"{self.label}: Vault (connection {self.connection}) did not {what}"
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
            told = _QUOTED.sub(r"cannot unmarshal \1", told)
            if "check-and-set parameter did not match" in told:
                raise TemporaryError(f"{where}: somebody else wrote it meanwhile; try again") from error
            raise PermanentError(f"{where}: {told}") from error
        except requests.RequestException as error:
            raise TemporaryError(
                f"{where}: {type(error).__name__}; check that the server runs, then try again"
            ) from error
        except RecursionError:
            raise InvalidInput(
                f"{self.label}: Vault (connection {self.connection}) was asked to {what}: a value is nested deeper "
                "than can be read; next: keep it as text (a string that holds the JSON)"
            ) from None

    def dictionary(self, what: str, act: Callable[[], Any]) -> dict[str, Any]:
        """Return the data that *act* is answered.

        :raises TemporaryError: it is answered something that is not Vault's
        """
        answer = self.call(what, act)
        if not isinstance(answer, dict) or not isinstance(answer.get("data"), dict):
            raise TemporaryError(
                f"{self.label}: Vault (connection {self.connection}) was asked to {what} and answered "
                f"something that is not Vault's; check what stands in front of it"
            )
        return dict(answer["data"])

    def mounts(self) -> dict[str, Any]:
        """Return what is mounted, by path."""
        return self.dictionary("list its mounts", self.client.sys.list_mounted_secrets_engines)

    def mount(self, mount: str) -> dict[str, Any] | None:
        """Return what people set on *mount*, as far as it is not as it comes; None where there is no such mount.

        :raises InvalidInput: it is another one than KV version 2, which answers the same paths otherwise
        """
        found = self.mounts().get(f"{mount}/")
        if not isinstance(found, Mapping):
            return None
        version = str((found.get("options") or {}).get("version", "1"))
        if found.get("type") != "kv" or version != "2":
            sort = f"KV version {version}" if found.get("type") == "kv" else f"of the type {found.get('type')}"
            raise InvalidInput(f"{self.label}: mount {mount} is {sort}, and this driver takes KV version 2 only; next: "
                               f"correct the option 'mount', or upgrade it with vault kv "
                               f"enable-versioning {mount}")  # fmt: skip
        told = found.get("config") or {}
        tuned = {key: told[key] for key, usual in _TUNED.items() if told.get(key) not in (None, usual)}
        return {"description": found.get("description") or "", **tuned}

    def enable(self, mount: str, wanted: Mapping[str, Any]) -> None:
        """Mount KV version 2 at *mount*, as ``mount`` told it."""
        tuned = {key: value for key, value in wanted.items() if key in _TUNED}
        self.call(f"mount {mount}", lambda: self.client.sys.enable_secrets_engine(
            backend_type="kv", path=mount, options={"version": "2"}, description=wanted["description"],
            **({"config": tuned} if tuned else {})))  # fmt: skip
        log.info("%s: mount %s enabled", self.label, mount)

    def tune(self, mount: str, wanted: Mapping[str, Any]) -> None:
        """Set on *mount* what ``mount`` told of it; what is not told is set as it comes."""
        self.call(f"set what was set on mount {mount} (sys/mounts/{mount}/tune)", lambda:
                  self.client.sys.tune_mount_configuration(path=mount, **{**_TUNED, **wanted}))  # fmt: skip
        log.info("%s: settings of mount %s set back", self.label, mount)

    def disable(self, mount: str) -> bool:
        """Unmount *mount* with all that is in it; return whether it was there."""
        if f"{mount}/" not in self.mounts():
            return False
        self.call(f"disable mount {mount}", lambda: self.client.sys.disable_secrets_engine(path=mount))
        return True
