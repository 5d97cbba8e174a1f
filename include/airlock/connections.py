"""The one place where Airflow connections are read, so that no other domain code knows Airflow.

Secrets stay inside the returned connection: callers pass them on to a client and never log them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

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
