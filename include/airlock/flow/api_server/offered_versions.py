"""The trigger form offers the versions that there are, the newest first; any other may be typed.

They are put into what the API server says of a DAG when somebody opens its form, not into the DAG: a list in the DAG
would be a new version of it in Airflow for each version of the service, and reading a DAG file would wait for a
registry. Imports nothing heavy. Asks no source.
"""

from __future__ import annotations

import json
import re
from http import HTTPStatus
from urllib.parse import unquote

from airlock.flow.api_server.middleware import Call, Message, Middleware, keeping, send_all, with_body


class OfferedVersions(Middleware):
    """ASGI middleware; see the module."""

    method = "GET"
    path = re.compile(r"(?:/.*)?/api/v2/dags/(release\.[^/]+)/details/?")

    async def handle(self, call: Call) -> None:
        """Have Airflow answer, and add the versions to the field of the form."""
        import anyio.to_thread

        # Airflow would compress the answer, which is to be read here.
        headers = [one for one in call.scope["headers"] if one[0].lower() != b"accept-encoding"]
        keep, answered = keeping()
        await self.app({**call.scope, "headers": headers}, call.receive, keep)
        if answered and answered[0].get("status") == HTTPStatus.OK:
            answered = await anyio.to_thread.run_sync(offering, unquote(call.names[0]), answered)
        await send_all(call.send, answered)


def offering(dag_id: str, answered: list[Message]) -> list[Message]:
    """Return the answer about the DAG with the versions that are kept; as it was, where there are none."""
    from airlock.service.offered_versions import kept

    _, _, rest = dag_id.partition(".")
    service, _, environment = rest.partition(".")
    versions = kept(service, environment) if re.fullmatch(r"[a-z0-9_.-]+", rest) and ".." not in rest else ()
    try:
        said = json.loads(b"".join(one.get("body", b"") for one in answered[1:]))
        schema = said["params"]["version"]["schema"]
        if not versions or not isinstance(schema, dict):
            return answered
        schema["examples"] = list(versions)
    except (ValueError, KeyError, TypeError):
        return answered
    return with_body(answered[0], said)
