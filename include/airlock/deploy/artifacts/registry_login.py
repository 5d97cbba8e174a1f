"""Who asks a registry: the log-in in an Airflow connection, or what a cloud gives for it. Knows no repository."""

from __future__ import annotations

import re
from base64 import b64decode
from typing import Any

from airlock.connections import ConnectionId, connection
from airlock.deploy.artifacts.oras_session import Login
from airlock.errors import AccessRefused, InvalidInput, TemporaryError

_ECR = re.compile(r"[0-9]{12}\.dkr[.-]ecr(-fips)?\.([a-z0-9-]+)\.(amazonaws\.(com|com\.cn|eu)|on\.aws|"
                  r"on\.amazonwebservices\.com\.cn)")


def login_of(connection_id: ConnectionId | None, host: str) -> Login:
    """Return the log-in for the registry *host*. A connection that names another host is not used for it.

    :raises UnknownConnection: Airflow has no such connection
    :raises InvalidInput: it is for another host, or holds no secret
    """
    if connection_id is None:
        return Login()
    given = connection(connection_id)
    if given.conn_type == "aws":
        return _of_aws(connection_id, host)
    named = re.sub(r"^[a-z]+://", "", given.host or "").partition("/")[0]
    if named and host not in (named, f"{named}:{given.port}") and not _same(named, host):
        raise InvalidInput(f"connection {connection_id!r} is for {named}, so its secret is not sent to {host}; name "
                           "the connection of that registry, or correct its host")
    if not given.password:
        raise InvalidInput(f"connection {connection_id!r} has no password; put that of the registry (or a token) "
                           "there, or remove the option to ask without a log-in")
    return Login(given.login or "", given.password)


def _same(named: str, host: str) -> bool:
    return host == "registry-1.docker.io" and named in ("docker.io", "index.docker.io", "hub.docker.com")


def _of_aws(connection_id: ConnectionId, host: str) -> Login:
    """Return what Amazon's registry lets in for some hours, for whoever the connection stands for.

    :raises InvalidInput: *host* is none of Amazon's: it could use that to read whatever the connection may
    """
    from airflow.providers.amazon.aws.hooks.base_aws import AwsBaseHook
    from botocore.exceptions import BotoCoreError, ClientError

    match = _ECR.fullmatch(host)
    if match is None:
        raise InvalidInput(f"connection {connection_id!r} is of type aws, and {host} is no registry of AWS "
                           "(ACCOUNT.dkr.ecr.REGION.amazonaws.com), so its log-in is not sent there; name a connection "
                           "of that registry")
    hook = AwsBaseHook(aws_conn_id=connection_id, client_type="ecr", region_name=match[2])
    try:
        client: Any = hook.get_conn()
        found = client.get_authorization_token()["authorizationData"][0]["authorizationToken"]
        name, _, secret = b64decode(found).decode().partition(":")
    except ClientError as error:
        code = error.response.get("Error", {}).get("Code", "")
        raise AccessRefused(f"AWS gives connection {connection_id!r} no log-in for {host} ({code[:80]!a}); it needs "
                            "ecr:GetAuthorizationToken") from error
    except (BotoCoreError, OSError) as error:
        raise TemporaryError(f"AWS does not answer connection {connection_id!r} ({type(error).__name__})") from error
    return Login(name, secret)
