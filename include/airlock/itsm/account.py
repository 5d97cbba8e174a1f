"""An Airflow connection as the account of a ticket system. Knows no system."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airlock.itsm.ticket_system import Account

if TYPE_CHECKING:
    from airflow.sdk import Connection


def account_of(connection: Connection) -> Account:
    """Return the account: Host is ``https://host``, or a host with Schema and Port beside it."""
    host = (connection.host or "").strip()
    if host and "://" not in host:
        port = f":{connection.port}" if connection.port else ""
        host = f"{connection.schema or 'https'}://{host}{port}"
    return Account(host, connection.login or "", connection.password or "")
