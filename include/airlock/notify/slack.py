"""Tell a Slack channel through the Slack provider's connection. Knows Slack's text rules and nothing of releases.

The connection holds the bot token as its password, and the channel in its extra: ``{"channel": "#releases"}``.
"""

from __future__ import annotations

import http.client
import logging
import queue
import re
import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar, cast
from urllib.parse import urlsplit

from airlock.connections import connection
from airlock.errors import TemporaryError, Throttled, UnknownName
from airlock.models.needs import CONNECTION, ConnectionNeed, Needs, Permission, Stage, System
from airlock.notify.notifier import Message, Notifier
from airlock.plain_text import harmless

log = logging.getLogger(__name__)
DEFAULT_CHANNEL = "#releases"
_TITLE, _TEXT, _FIELD, _FIELDS = 150, 2000, 200, 10
_LINES = 15
_LOOKS_LIKE = str.maketrans({"*": "∗", "~": "∼", "`": "'"})
"""Slack has no way to escape its marks of layout, so others of the same shape stand for them."""
_SILENCE_SECONDS = 5
_WHOLE_SECONDS = 10.0
_DEFAULT_WAIT = 30.0
_LOOKED_AT = 100
_EVENT_TYPE = "airlock_release"
_CHANNEL_ID = re.compile(r"[CGD][A-Z0-9]{2,20}")
Answer = TypeVar("Answer")
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
    "vote": ":ballot_box_with_ballot:",
    "permitted": ":key:",
    "begun": ":hammer_and_wrench:",
    "fault": ":rewind:",
    "quiet": ":hourglass:",
    "alarm": ":rotating_light:",
}
_said_missing: set[str] = set()


class SlackNotifier(Notifier):
    """Posts to one channel; all messages of a release form one thread."""

    needs = Needs(
        connections=(ConnectionNeed(sort="Slack", stages=(Stage.NOTICE,)),),
        permissions=(
            Permission(system=System.SLACK, actions=("chat:write",), on="{channel}", connection=CONNECTION,
                       stages=(Stage.NOTICE,), why="or chat:write.public for a channel that the bot is not in"),
            Permission(system=System.SLACK, actions=("channels:history",), on="{channel}", connection=CONNECTION,
                       stages=(Stage.NOTICE,), why="to find the thread again after a crash (groups:history of a "
                       "private channel); the channel must then be given by its id"),
        ),
    )  # fmt: skip

    def __init__(self, connection_id: str = "airlock_slack", channel: str = "") -> None:
        """*channel* wins over the one in the connection's extra."""
        self.connection_id = connection_id
        self.channel = channel

    def configured(self) -> bool:
        try:
            connection(self.connection_id)
        except UnknownName:
            if self.connection_id not in _said_missing:
                _said_missing.add(self.connection_id)
                log.info("no Slack connection %r: messages about releases are not sent", self.connection_id)
            return False
        return True

    def send(self, message: Message) -> str:
        channel, begun = self._channel(), time.monotonic()
        arguments = {"channel": channel, "text": render(message), "thread_ts": message.thread, "parse": "none",
                     "link_names": False, "unfurl_links": False, "unfurl_media": False,
                     "metadata": {"event_type": _EVENT_TYPE, "event_payload": {"release": message.release}}}
        answer = self._call("chat.postMessage", channel,
                            json={key: value for key, value in arguments.items() if value is not None})
        thread = message.thread or str(answer.get("ts") or "")
        if not thread:
            raise TemporaryError(f"{self._where(channel)} took the message and does not say where it is")
        log.info("release %s: told Slack channel %s about %s in %.1f s (thread %s)", message.release, channel,
                 message.event, time.monotonic() - begun, thread)
        return thread

    def find(self, release: str) -> str | None:
        channel = self._channel()
        if not _CHANNEL_ID.fullmatch(channel):
            log.warning("%s is given by name, so what was posted before a crash cannot be asked: write its "
                        "id into the connection's extra", self._where(channel))
            return None
        arguments = {"channel": channel, "limit": _LOOKED_AT, "include_all_metadata": True}
        try:
            answer = self._call("conversations.history", channel, params=arguments)
        except Throttled:
            raise
        except TemporaryError as error:
            if "missing_scope" not in str(error):
                raise
            log.warning("%s; whether a message was posted before a crash cannot be asked: give the bot the scope "
                        "channels:history", error)
            return None
        found = [one for one in answer.get("messages") or () if isinstance(one, dict) and _carries(one, release)]
        return min((str(one["ts"]) for one in found if one.get("ts")), default=None)

    def _channel(self) -> str:
        return self.channel or str(connection(self.connection_id).extra_dejson.get("channel") or DEFAULT_CHANNEL)

    def _where(self, channel: str) -> str:
        return f"Slack channel {channel} (connection {self.connection_id!r})"

    def _call(self, method: str, channel: str, **arguments: Any) -> dict[str, Any]:
        from airflow.providers.common.compat.sdk import AirflowException
        from airflow.providers.slack.hooks.slack import SlackHook
        from slack_sdk.errors import SlackApiError, SlackClientError

        where = self._where(channel)
        try:
            # No retries of the client's own: whoever calls decides, and a gate's task must not wait for a chat.
            hook = SlackHook(slack_conn_id=self.connection_id, timeout=_SILENCE_SECONDS, retry_handlers=[])
            client = hook.get_conn()
            response = _in_time(lambda: client.api_call(method, **arguments), where)
        except SlackApiError as error:
            reason = f"{where} refused {method}: {_reason(error.response)}"
            if getattr(error.response, "status_code", None) == 429:
                raise Throttled(reason, _seconds(error.response)) from error
            raise TemporaryError(reason) from error
        except (SlackClientError, AirflowException, OSError, ValueError, http.client.HTTPException) as error:
            raise TemporaryError(f"{where} cannot be reached: {type(error).__name__}: {str(error)[:200]}") from error
        data = response.data
        if not isinstance(data, dict):
            raise TemporaryError(f"{where} answered something that is not JSON")
        return data


def _in_time(call: Callable[[], Answer], where: str) -> Answer:
    """Return what *call* returns. An answer that comes byte by byte is silent for no moment, so it is left alone after
    a time: the thread that reads it ends with its process.

    :raises TemporaryError: it takes too long
    """
    done: queue.Queue[tuple[Answer | None, Exception | None]] = queue.Queue(1)

    def run() -> None:
        try:
            done.put((call(), None))
        except Exception as error:  # noqa: BLE001 - it is raised again where it belongs
            done.put((None, error))

    threading.Thread(target=run, daemon=True, name="slack").start()
    try:
        answer, error = done.get(timeout=_WHOLE_SECONDS)
    except queue.Empty:
        raise TemporaryError(f"{where} gave no whole answer in {_WHOLE_SECONDS:g} s") from None
    if error is not None:
        raise error
    return cast("Answer", answer)


def _carries(message: dict[str, Any], release: str) -> bool:
    """Whether *message* is the first one of the thread of *release*."""
    metadata = message.get("metadata")
    if not isinstance(metadata, dict) or metadata.get("event_type") != _EVENT_TYPE:
        return False
    payload = metadata.get("event_payload")
    first = message.get("thread_ts") in (None, message.get("ts"))
    return first and isinstance(payload, dict) and payload.get("release") == release


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
        lines.append(f"<{_escape(message.link)}|Open the request>")
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
    data = getattr(response, "data", response)
    error = data.get("error", "an error without a name") if isinstance(data, dict) else "an answer that is not JSON"
    if getattr(response, "status_code", None) == 429:
        return f"{error}: too many messages, Slack asks to wait {_seconds(response):g} s"
    hint = {"invalid_auth": ": check the bot token in the connection's password",
            "not_authed": ": the connection has no bot token",
            "channel_not_found": ": check the channel in the connection's extra, and invite the bot to it",
            "not_in_channel": ": invite the bot to the channel"}
    return f"{error}{hint.get(str(error), '')}"


def _seconds(response: Any) -> float:
    """Return how long Slack asks to wait, by its header ``Retry-After``."""
    headers = {str(name).lower(): value for name, value in (getattr(response, "headers", None) or {}).items()}
    value = headers.get("retry-after")
    text = str(value[0] if isinstance(value, list) and value else value)
    return float(text[:6]) if text.isascii() and text.isdigit() else _DEFAULT_WAIT
