"""Opens the client of one API server from an Airflow connection, and says what is wrong with its kube config.

A kube config holds secrets: no line of it is ever repeated.
"""

from __future__ import annotations

import logging
import shutil
from pathlib import Path
from typing import Any

import yaml

from airlock.backup.drivers.kubernetes.credential_plugin import (
    MOST_SECONDS,
    limited_config,
    plugin_of,
    without_config,
)
from airlock.connections import connection as airflow_connection
from airlock.errors import PermanentError


def open_client(connection: str, label: str) -> Any:
    """Return the API client of the Airflow *connection*; nothing is asked of the server yet.

    :raises UnknownName: Airflow has no such connection
    :raises PermanentError: its kube config cannot be used, or its plugin for credentials cannot be run
    """
    from airflow.providers.cncf.kubernetes.hooks.kubernetes import KubernetesHook
    from airflow.sdk.exceptions import AirflowException
    from kubernetes.config import ConfigException

    extra = airflow_connection(connection).extra_dejson
    # at DEBUG the client logs the body of every answer, and with it the content of Secrets
    logging.getLogger("kubernetes.client.rest").setLevel(logging.INFO)
    where = f"{label}: the kube config of connection {connection}"
    try:
        client = _hook(KubernetesHook, connection, extra).get_conn()
    except (ConfigException, OSError, AirflowException) as error:
        raise PermanentError(f"{where} cannot be used: {error}") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f" in line {mark.line + 1}" if mark else ""
        raise PermanentError(f"{where} is no YAML{line}; write it anew") from None
    except (ValueError, TypeError, LookupError, AttributeError) as error:
        raise PermanentError(
            f"{where} is no kube config ({type(error).__name__}); compare it with one that kubectl can use"
        ) from None
    _check_plugin(client, extra, where)
    return client


def _hook(hook: Any, connection: str, extra: dict[str, Any]) -> Any:
    """Return the provider's *hook*; where the kube config names a plugin, with a config in which that is limited in
    time: the client waits for it without end, at the beginning and whenever its credentials expire."""
    limited = limited_config(extra)
    if limited is None:
        return hook(conn_id=connection)
    made = hook(conn_id=connection, config_dict=limited)
    made.conn_extras = without_config(extra)
    return made


def _check_plugin(client: Any, extra: dict[str, Any], where: str) -> None:
    """Refuse a plugin that gave nothing: the client would go on as an anonymous user without a word."""
    settings = client.configuration
    tokens = [str(value).removeprefix("Bearer").strip() for value in (settings.api_key or {}).values()]
    if any(tokens) or settings.cert_file:
        return
    plugin = plugin_of(extra)
    if not plugin:
        return
    command = str(plugin.get("command", ""))
    found = shutil.which(command) or (Path(command).is_file() and command)
    state = (f"failed, gave no credentials, or was not done in {MOST_SECONDS:g} s" if found
             else "is not installed for the workers of Airflow")
    raise PermanentError(f"{where}: its plugin for credentials, {command!r}, {state}; run it by hand as Airflow's user")
