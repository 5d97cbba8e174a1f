"""Tell a Slack channel through the Slack provider's connection. Knows Slack's text rules and nothing of releases.

The connection holds the bot token as its password, and the channel in its extra: ``{"channel": "#releases"}``.
"""

from __future__ import annotations

import logging
import time
from typing import Any
from urllib.parse import urlsplit

from airlock.connections import connection
from airlock.errors import TemporaryError, UnknownName
from airlock.notify.notifier import Message, Notifier
from airlock.plain_text import harmless

log = logging.getLogger(__name__)
DEFAULT_CHANNEL = "#releases"
_TITLE, _TEXT, _FIELD, _FIELDS = 150, 2000, 200, 10
_LINES = 15
_LOOKS_LIKE = str.maketrans({"*": "∗", "~": "∼", "`": "'"})
"""Slack has no way to escape its marks of layout, so others of the same shape stand for them."""
_TIMEOUT_SECONDS = 10
_SIGNS = {
    "start": ":rocket:",
    "approval_wanted": ":raised_hand:",
    "approval_reminder": ":alarm_clock:",
    "approval_escalated": ":arrow_up:",
    "approval_over": ":hourglass_flowing_sand:",
    "approver_absent": ":desert_island:",
    "conflict": ":no_entry:",
    "held": ":double_vertical_bar:",
    "verdict": ":scales:",
    "end": ":checkered_flag:",
    "fault": ":rewind:",
    "quiet": ":hourglass:",
    "alarm": ":rotating_light:",
}
_said_missing: set[str] = set()


class SlackNotifier(Notifier):
    """Posts to one channel; all messages of a release form one thread."""

    def __init__(self, connection_id: str = "airlock_slack", channel: str = "") -> None:
        """*channel* wins over the one in the connection's extra."""
        self.connection_id = connection_id
        self.channel = channel

    def send(self, message: Message) -> str | None:
        try:
            extra = connection(self.connection_id).extra_dejson
        except UnknownName:
            if self.connection_id not in _said_missing:
                _said_missing.add(self.connection_id)
                log.info("no Slack connection %r: messages about releases are not sent", self.connection_id)
            return None
        channel = self.channel or str(extra.get("channel") or DEFAULT_CHANNEL)
        begun = time.monotonic()
        answer = self._post(channel, message)
        thread = message.thread or str(answer.get("ts") or "") or None
        log.info("release %s: told Slack channel %s about %s in %.1f s (thread %s)", message.release, channel,
                 message.event, time.monotonic() - begun, thread)
        return thread

    def _post(self, channel: str, message: Message) -> dict[str, Any]:
        from airflow.providers.common.compat.sdk import AirflowException
        from airflow.providers.slack.hooks.slack import SlackHook
        from slack_sdk.errors import SlackApiError, SlackClientError

        where = f"Slack channel {channel} (connection {self.connection_id!r})"
        arguments = {"channel": channel, "text": render(message), "thread_ts": message.thread, "parse": "none",
                     "link_names": False, "unfurl_links": False, "unfurl_media": False}
        try:
            # No retries of the client's own: whoever calls decides, and a gate's task must not wait for a chat.
            hook = SlackHook(slack_conn_id=self.connection_id, timeout=_TIMEOUT_SECONDS, retry_handlers=[])
            response = hook.call("chat.postMessage",
                                 json={key: value for key, value in arguments.items() if value is not None})
        except SlackApiError as error:
            raise TemporaryError(f"{where} did not take the message: {_reason(error.response)}") from error
        except (SlackClientError, AirflowException, OSError, ValueError) as error:
            raise TemporaryError(f"{where} cannot be reached: {type(error).__name__}: {str(error)[:200]}") from error
        data = response.data
        if not isinstance(data, dict):
            raise TemporaryError(f"{where} answered something that is not JSON")
        return data


def render(message: Message) -> str:
    """Return *message* as Slack text: bounded, and with nothing in it that Slack would take for a command."""
    lines = [f"{_SIGNS[message.event]} *{_line(message.title, _TITLE)}*"]
    if message.text:
        lines += _quoted(message.text)
    shown = list(message.fields.items())[:_FIELDS]
    lines += [f"• {_line(name, _FIELD)}: {_line(value, _FIELD)}" for name, value in shown]
    if len(message.fields) > _FIELDS:
        lines.append(f"• and {len(message.fields) - _FIELDS} more")
    if _is_link(message.link):
        lines.append(f"<{_escape(message.link)}|Open in Airflow>")
    lines.append(f"release {_line(message.release, _FIELD)}")
    return "\n".join(lines)


def _quoted(text: str) -> list[str]:
    """Return *text* as lines that Slack shows as a quotation, so that none passes for a line of this message."""
    lines = [line for line in _short(text, _TEXT).splitlines() if line.strip()]
    more = [f"{len(lines) - _LINES} more lines"] if len(lines) > _LINES else []
    return [f"> {_inert(line)}" for line in [*lines[:_LINES], *more]]


def _line(text: str, limit: int) -> str:
    return _inert(_short(" ".join(text.split()), limit))


def _short(text: str, limit: int) -> str:
    plain = harmless(text)
    return plain if len(plain) <= limit else plain[: limit - 1] + "…"


def _inert(text: str) -> str:
    # After it was shortened, so that no entity is cut in half.
    return _escape(text).translate(_LOOKS_LIKE)


def _escape(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _is_link(link: str) -> bool:
    if not link or len(link) > _TEXT or any(character in "<>|`" or not character.isprintable() or character.isspace()
                                            for character in link):
        return False
    try:
        parts = urlsplit(link)
    except ValueError:
        return False
    return parts.scheme in {"http", "https"} and bool(parts.netloc)


def _reason(response: Any) -> str:
    headers = {str(name).lower(): value for name, value in (getattr(response, "headers", None) or {}).items()}
    data = getattr(response, "data", response)
    error = data.get("error", "an error without a name") if isinstance(data, dict) else "an answer that is not JSON"
    if getattr(response, "status_code", None) == 429:
        return f"{error}: too many messages, Slack asks to wait {headers.get('retry-after', 'some')} s"
    hint = {"invalid_auth": ": check the bot token in the connection's password",
            "not_authed": ": the connection has no bot token",
            "channel_not_found": ": check the channel in the connection's extra, and invite the bot to it",
            "not_in_channel": ": invite the bot to the channel"}
    return f"{error}{hint.get(str(error), '')}"
