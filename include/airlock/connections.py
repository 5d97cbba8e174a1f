"""The one place where Airflow connections are read, so that no other domain code knows Airflow.

Secrets stay inside the returned connection: callers pass them on to a client and never log them.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any, get_args

from pydantic import AfterValidator, BaseModel

from airlock.errors import UnknownConnection

if TYPE_CHECKING:
    from airflow.sdk import Connection


_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")
_TOKEN = re.compile(r"(?i)(gh[opsur]_|github_pat_|glpat-|xox[a-z]-|hv[sb]\.|sk-|pk_|eyJ|AKIA|ASIA|age-secret)\S{12,}")
"""How secrets begin that services give out, and no id of a connection."""


def _checked(text: str) -> str:
    if not _ID.fullmatch(text) or _TOKEN.match(text):
        # Without the value: it may be what must be nowhere but in a connection.
        raise ValueError("is no id of an Airflow connection: write the id alone (letters, digits, _, - and .), and "
                         "keep address, log-in and password in that connection")
    return text


ConnectionId = Annotated[str, AfterValidator(_checked)]
"""The id of an Airflow connection, and nothing else."""


def named(model: BaseModel, place: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """Yield each connection that *model* names, at any depth, with its place."""
    for name, info in type(model).model_fields.items():
        value, where = getattr(model, name), (*place, info.alias or name)
        if isinstance(value, str) and _is_id(info.annotation, info.metadata):
            yield where, value
        elif isinstance(value, BaseModel):
            yield from named(value, where)
        elif isinstance(value, tuple):
            for index, one in enumerate(value):
                if isinstance(one, BaseModel):
                    yield from named(one, (*where, index))


def _is_id(annotation: Any, metadata: Any) -> bool:
    if any(isinstance(one, AfterValidator) and one.func is _checked for one in metadata):
        return True
    return any(_is_id(one, getattr(one, "__metadata__", ())) for one in get_args(annotation) if one is not str)


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

    runner = sys.modules.get("airflow.sdk.execution_time.task_runner")
    return (hasattr(runner, "SUPERVISOR_COMMS") or any(name.startswith("AIRFLOW_CONN_") for name in os.environ)
            or bool(conf.get("secrets", "backend", fallback="")))


def aws_client(connection_id: str, service: str, **settings: Any) -> Any:
    """Return a boto3 client of *service*, made by the Amazon provider's hook as the Airflow connection says; without a
    connection, by what the machine itself has.

    :param settings: of botocore's ``Config``, over those of the connection
    :raises UnknownConnection: Airflow has no such connection
    """
    from botocore.config import Config

    # few quick tries: the caller's retries are the ones that people see
    own = Config(**{"retries": {"mode": "standard", "max_attempts": 3}, "connect_timeout": 10, "read_timeout": 30,
                    **settings})
    if not connection_id:
        import boto3

        return boto3.session.Session().client(service, config=own)
    from airflow.providers.amazon.aws.hooks.base_aws import AwsBaseHook

    connection(connection_id)  # the hook would go on with the machine's own credentials
    hook: Any = AwsBaseHook(aws_conn_id=connection_id, client_type=service)
    said = hook.conn_config.botocore_config
    return hook.get_client_type(config=own if said is None else said.merge(own))


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
