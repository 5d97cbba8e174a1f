"""The one place where Airflow connections are read, so that no other domain code knows Airflow.

Secrets stay inside the returned connection: callers pass them on to a client and never log them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airlock.errors import UnknownName

if TYPE_CHECKING:
    from airflow.sdk import Connection


def connection(connection_id: str) -> Connection:
    """Return the Airflow connection *connection_id* (``host``, ``port``, ``login``, ``password``, ``extra_dejson``).

    :raises UnknownName: Airflow has no such connection
    """
    from airflow.sdk import BaseHook
    from airflow.sdk.exceptions import AirflowNotFoundException

    try:
        return BaseHook.get_connection(connection_id)
    except AirflowNotFoundException as error:
        raise UnknownName(
            f"Airflow has no connection {connection_id!r}: add it under Admin > Connections, "
            f"or set AIRFLOW_CONN_{connection_id.upper()}"
        ) from error


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
