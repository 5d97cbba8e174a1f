"""Asks Slack as whom the bot's token works, with which scopes, and whether it sees the channel. Posts nothing."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from airlock.doctor.finding import Finding, Gravity, Subject
from airlock.errors import TemporaryError
from airlock.models.needs import Permission

_SECONDS = 5
_CHANNEL_ID = re.compile(r"[CGD][A-Z0-9]{2,20}")
_SAME = {"channels:history": {"groups:history"}, "chat:write": {"chat:write.public"}}


def ask(subject: Subject, connection: str, channel: str, permissions: Sequence[Permission]) -> Iterator[Finding]:
    """Ask for the scopes of *connection*'s token, and for *channel*."""
    answer = _call(connection, "auth.test")
    if not answer.get("ok"):
        yield subject.found(Gravity.WARNING, f"Slack does not accept the token: {answer.get('error')}",
                            "nobody is told what happens to a release", f"renew the token of {connection}")  # fmt: skip
        return
    yield subject.fine(f"Slack knows the bot as {answer.get('user')} of {answer.get('team')}")
    scopes = _scopes(answer)
    for action in [action for permission in permissions for action in permission.actions]:
        if scopes is None:
            yield subject.not_asked(f"the scope {action}", "Slack's answer does not say which scopes the token has")
        elif not scopes & {action, *_SAME.get(action, ())}:
            yield subject.found(Gravity.WARNING, f"the token has no scope {action}",
                                "messages about a release are not sent, or begin a second thread after a crash",
                                "add it to the Slack app, install the app again, and put in its new token")  # fmt: skip
        else:
            yield subject.fine(f"the token has the scope {action}")
    if not _CHANNEL_ID.fullmatch(channel):
        yield subject.found(Gravity.NOTE, f"the channel is given by its name ({channel})",
                            "a thread that was begun before a crash can be found by the channel's id only",
                            "write the id of the channel into the connection's extra")  # fmt: skip


def _scopes(answer: Any) -> set[str] | None:
    told = answer.headers.get("x-oauth-scopes") or answer.headers.get("X-OAuth-Scopes")
    return {one.strip() for one in told.split(",")} if told else None


def _call(connection: str, method: str) -> Any:
    from airflow.providers.common.compat.sdk import AirflowException
    from airflow.providers.slack.hooks.slack import SlackHook
    from slack_sdk.errors import SlackApiError, SlackClientError

    try:
        return SlackHook(slack_conn_id=connection, timeout=_SECONDS, retry_handlers=[]).get_conn().api_call(method)
    except SlackApiError as error:
        return error.response
    except (SlackClientError, AirflowException, OSError, ValueError) as error:
        raise TemporaryError(
            f"connection {connection}: Slack cannot be reached ({type(error).__name__}); check proxy and firewall"
        ) from error
