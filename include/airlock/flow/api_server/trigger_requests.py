"""The trigger form is answered at once: a request that would be refused is refused before there is a run of it.

Airflow's form knows no rule between two fields. This middleware of the API server asks the rules of requests when
somebody triggers a release, and answers with their sentences; the task ``validate`` asks them again, whoever triggered.
It gives a run that has no name one that begins with its version. It speaks only to people whom Airflow lets trigger the
DAG; all others get Airflow's own answer. Imports nothing heavy. Holds no rule.
"""

from __future__ import annotations

import json
import logging
import re
from datetime import UTC, datetime
from http import HTTPStatus
from http.cookies import SimpleCookie
from typing import Any
from urllib.parse import unquote

from airlock.errors import AirlockError, InvalidInput
from airlock.flow.api_server.middleware import Call, Message, Middleware, answer, send_all, with_length

log = logging.getLogger(__name__)
_LARGEST = 1 << 20
_VERSION = re.compile(r"[0-9A-Za-z][0-9A-Za-z.+-]{0,63}")


class TriggerRequests(Middleware):
    """ASGI middleware; see the module."""

    method = "POST"
    path = re.compile(r"(?:/.*)?/api/v2/dags/(release\.[^/]+)/dagRuns/?")

    async def handle(self, call: Call) -> None:
        """Pass the request on, but for one for a release that would be refused."""
        receive, scope = call.receive, call.scope
        heard = [await receive()]
        while heard[-1].get("more_body") and sum(len(one.get("body", b"")) for one in heard) <= _LARGEST:
            heard.append(await receive())
        if not heard[-1].get("more_body"):
            body = b"".join(one.get("body", b"") for one in heard)
            user = await _user(scope)
            if user is not None:
                import anyio.to_thread

                why, body = await anyio.to_thread.run_sync(_judged, unquote(call.names[0]), body, user)
                if why:
                    refused = f"invalid request, no run was started: {why}"
                    await send_all(call.send, answer(HTTPStatus.BAD_REQUEST, refused))
                    return
            heard = [{"type": "http.request", "body": body, "more_body": False}]
            scope = with_length(scope, body)

        async def again() -> Message:
            return heard.pop(0) if heard else await receive()

        await self.app(scope, again, call.send)


async def _user(scope: Message) -> Any:
    """Return who asks, as Airflow knows them, or ``None``: then Airflow's own answer will say so."""
    from airflow.api_fastapi.auth.managers.base_auth_manager import COOKIE_NAME_JWT_TOKEN
    from airflow.api_fastapi.core_api.security import resolve_user_from_token
    from fastapi import HTTPException

    headers = {name.lower(): value.decode("latin-1") for name, value in scope["headers"]}
    scheme, _, token = headers.get(b"authorization", "").partition(" ")
    if scheme.lower() != "bearer":
        cookie = SimpleCookie(headers.get(b"cookie", "")).get(COOKIE_NAME_JWT_TOKEN)
        token = cookie.value if cookie else ""
    try:
        return await resolve_user_from_token(token.strip())
    except HTTPException:
        return None


def _may_trigger(dag_id: str, user: Any) -> bool:
    from airflow.api_fastapi.app import get_auth_manager
    from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity, DagDetails
    from airflow.models.dag import DagModel

    details = DagDetails(id=dag_id, team_name=DagModel.get_team_name(dag_id))
    return bool(get_auth_manager().is_authorized_dag(
        method="POST", access_entity=DagAccessEntity.RUN, details=details, user=user))


def _judged(dag_id: str, body: bytes, user: Any) -> tuple[str, bytes]:
    """Return why the request is refused, empty if it is not, and the body that Airflow gets."""
    try:
        asked = json.loads(body)
        form = asked.get("conf") or {}
        if not isinstance(form, dict) or not _may_trigger(dag_id, user):
            return "", body
    except (ValueError, AttributeError):
        return "", body
    # A choice that was cleared in the form is null, which is to say that nothing was chosen.
    form = {name: value for name, value in form.items() if value is not None}
    now = datetime.now(UTC)
    why = refusal(dag_id, form, user.get_name(), now)
    run_id = asked.get("dag_run_id") or name_of_run(form, now)
    return why, json.dumps({**asked, "conf": form, **({"dag_run_id": run_id} if run_id else {})}).encode()


def refusal(dag_id: str, form: dict[str, Any], requester: str, now: datetime) -> str:
    """Return why the release that *form* asks for would be refused as it stands; empty if nothing is known against it.

    What needs a server (the ticket, the artifact, the target) is asked later, by the tasks.
    """
    from airlock.change.rfc import rfc_from_form
    from airlock.service.find import services_folder
    from airlock.service.stand_ins import read_standing, require_declared

    _, _, rest = dag_id.partition(".")
    service, _, name = rest.partition(".")
    try:
        reading, stand_ins = read_standing(services_folder(), service)
        for environment in (*reading.declared, *stand_ins):
            if (environment.service, environment.environment) == (service, name):
                require_declared(environment)
                if not (environment.tickets and form.get("ticket")):
                    rfc_from_form(form, requester, environment, asked_at=now)
    except InvalidInput as error:
        return str(error)
    except AirlockError as error:
        log.warning("the request for %s was not looked at before its run: %s", dag_id, error)
    return ""


def name_of_run(form: dict[str, Any], now: datetime) -> str:
    """Return the name of a run that says its version; empty where Airflow is to name it."""
    version = form.get("version")
    if not isinstance(version, str) or not _VERSION.fullmatch(version):
        return ""
    return f"{version}~{now:%Y-%m-%dT%H:%M:%S}.{now.microsecond // 1000:03}Z"
