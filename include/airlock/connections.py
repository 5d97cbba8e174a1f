"""The one place where Airflow connections are read, so that no other domain code knows Airflow.

Secrets stay inside the returned connection: callers pass them on to a client and never log them.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from airlock.errors import UnknownConnection

if TYPE_CHECKING:
    from airflow.sdk import Connection


def connection(connection_id: str) -> Connection:
    """Return the Airflow connection *connection_id* (``host``, ``port``, ``login``, ``password``, ``extra_dejson``).

    :raises UnknownConnection: Airflow has no such connection
    """
    from airflow.sdk import BaseHook
    from airflow.sdk.exceptions import AirflowNotFoundException

    try:
        return BaseHook.get_connection(connection_id)
    except AirflowNotFoundException as error:
        raise UnknownConnection(
            f"Airflow has no connection {connection_id!r}: add it under Admin > Connections, "
            f"or set AIRFLOW_CONN_{connection_id.upper()}"
        ) from error


def visible() -> bool:
    """Return whether connections can be seen here: on a command line, those of Airflow's own database cannot. Where
    none is in the environment and no secrets backend is set, nothing follows from one that is not known."""
    from airflow.sdk.configuration import conf

    return any(name.startswith("AIRFLOW_CONN_") for name in os.environ) or bool(
        conf.get("secrets", "backend", fallback=""))


def postgres_parameters(connection_id: str, database: str) -> dict[str, Any]:
    """Return what ``psycopg.connect`` needs to open *database* as the Airflow connection says. Never log it.

    :raises UnknownName: Airflow has no such connection
    """
    given = connection(connection_id)
    secured = {key: value for key, value in given.extra_dejson.items() if key.startswith("ssl") and value}
    return {
        "host": given.host,
        "port": given.port,
        "user": given.login,
        "password": given.password,
        "dbname": database or given.schema or "postgres",
        "connect_timeout": 10,
        "application_name": "airlock",
        **secured,
    }
