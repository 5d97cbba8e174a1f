"""Asks a ticket system over HTTP, with httpx. Knows no particular system; must not know what a ticket is for.

Everything that comes back is hostile: an answer is bounded in size and time, no redirect is followed, and what a server
says of an error is shortened and stripped before it becomes part of a sentence.
"""

from __future__ import annotations

import email.utils
import ipaddress
import json
import re
import ssl
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from airlock.errors import InvalidInput, PermanentError, TemporaryError, Throttled, TicketGone
from airlock.itsm.ticket_system import Account
from airlock.plain_text import harmless

if TYPE_CHECKING:
    import httpx

_LARGEST = 4 << 20
_SILENCE_SECONDS = 8.0
_WHOLE_SECONDS = 20.0
_SHOWN = 200
_DEFAULT_WAIT = 30.0


class Site:
    """One server, asked as one account."""

    def __init__(self, account: Account, what: str) -> None:
        """Bind *account*; *what* names the system in messages.

        :raises InvalidInput: the address is none, or would send the secret in clear over a network
        """
        self.address = _checked(account.address, what)
        self.what = f"{what} at {urlsplit(self.address).netloc}"
        self._account = account

    def ask(self, method: str, path: str, *, params: Mapping[str, str] | None = None, body: Any = None) -> Any:
        """Return the JSON that the server answers; an empty answer is an empty mapping.

        :raises TicketGone: it has nothing at *path*
        :raises PermanentError: it refuses, or sends elsewhere
        :raises Throttled: it asks to wait
        :raises TemporaryError: it does not answer, or not as it should
        """
        import httpx

        account = self._account
        headers = {"Accept": "application/json", "User-Agent": "airlock"}
        if not account.login and account.secret:
            headers["Authorization"] = f"Bearer {account.secret}"
        client = httpx.Client(
            follow_redirects=False,
            timeout=_SILENCE_SECONDS,
            auth=(account.login, account.secret) if account.login else None,
            headers=headers,
            verify=_certificates(),
        )
        try:
            with client, client.stream(method, self.address + path, params=params, json=body) as answer:
                content = self._content(answer)
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            why = f"{type(error).__name__} {_shown(str(error))}".strip()
            raise TemporaryError(f"{self.what} does not answer ({why}); it is tried again") from error
        self._refuse(answer, content, f"{method} {path}")
        return self._decoded(content, path) if content.strip() else {}

    def _content(self, answer: httpx.Response) -> bytes:
        """Return the whole answer, unless it is too large or comes too slowly."""
        content, limit = bytearray(), time.monotonic() + _WHOLE_SECONDS
        for piece in answer.iter_bytes():
            content += piece
            if len(content) > _LARGEST:
                raise PermanentError(f"{self.what} answers with more than {_LARGEST >> 20} MiB: shorten the ticket")
            if time.monotonic() > limit:
                raise TemporaryError(f"{self.what} gave no whole answer in {_WHOLE_SECONDS:g} s; it is tried again")
        return bytes(content)

    def _refuse(self, answer: httpx.Response, content: bytes, asked: str) -> None:
        status, who = answer.status_code, f"{self.what}: {asked}"
        if 200 <= status < 300:
            return
        if 300 <= status < 400:
            elsewhere = re.sub(r"^[a-z]+://([^/?#]*).*$", r"\1", answer.headers.get("location", ""))
            raise PermanentError(
                f"{who}: it sends to {_shown(elsewhere) or 'another page'}, which might tell the account's secret to a "
                "stranger and is not followed; correct the address of the connection"
            )
        said = _said(content)
        if status in (404, 410):
            raise TicketGone(f"{who}: there is no such thing, or it is hidden from this account{said}")
        if status in (401, 403):
            raise PermanentError(f"{who}: refused with status {status}{said}; check the account and its rights")
        if status == 429 or (status == 503 and "retry-after" in answer.headers):
            seconds = _seconds(answer.headers.get("retry-after", ""))
            raise Throttled(f"{who}: too busy, it asks to wait {seconds:g} s{said}", seconds)
        if status >= 500 or status in (408, 425):
            raise TemporaryError(f"{who}: answered with status {status}{said}; it is tried again")
        raise PermanentError(f"{who}: refused with status {status}{said}")

    def _decoded(self, content: bytes, path: str) -> Any:
        try:
            return json.loads(content)
        except (ValueError, RecursionError) as error:
            raise TemporaryError(
                f"{self.what}: the answer to {path} is not JSON; a page of a log-in or of an outage? It is tried again"
            ) from error


@lru_cache(maxsize=1)
def _certificates() -> ssl.SSLContext:
    """Return whose certificates are trusted; to read them takes longer than most questions."""
    import httpx

    return httpx.create_ssl_context()


def plain(value: Any, limit: int) -> str:
    """Return *value*, whatever it is, as text of at most *limit* characters with nothing hidden in it."""
    text = value if isinstance(value, str) else "" if value is None else str(value)[: limit + 1]
    return harmless(text[: limit + 1])[:limit]


def mapping(value: Any) -> Mapping[str, Any]:
    """Return *value* if it is a JSON object, else an empty one."""
    return value if isinstance(value, dict) else {}


def listed(value: Any) -> list[Mapping[str, Any]]:
    """Return the JSON objects in the list *value*; anything else is left out."""
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def _checked(address: str, what: str) -> str:
    try:
        parts = urlsplit(address.strip().rstrip("/"))
        port, host = parts.port, parts.hostname or ""
    except ValueError:
        port, host, parts = None, "", urlsplit("")
    odd = parts.username or parts.query or parts.fragment or port == 0
    if parts.scheme not in ("http", "https") or not host or odd:
        raise InvalidInput(f"the connection of {what} has no usable address; write https://host into its field Host")
    if parts.scheme == "http" and not _loopback(host):
        raise InvalidInput(f"the connection of {what} would send its secret in clear to {_shown(host)}; use https")
    return f"{parts.scheme}://{parts.netloc}{parts.path}"


def _loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _shown(text: str) -> str:
    return " ".join(plain(text, _SHOWN).split())


def _said(content: bytes) -> str:
    """Return what the server says of an error, in the shapes of the systems that are known."""
    try:
        data = mapping(json.loads(content[:65536]))
    except (ValueError, RecursionError):
        return ""
    error, messages = data.get("error"), data.get("errorMessages")
    texts = [*mapping(data.get("errors")).values(), data.get("errorMessage")]
    texts += messages if isinstance(messages, list) else []
    texts += [mapping(error).get("message"), mapping(error).get("detail"), error if isinstance(error, str) else None]
    said = "; ".join(_shown(text) for text in texts if isinstance(text, str) and text.strip())
    return f" ({said[: 2 * _SHOWN]})" if said else ""


def _seconds(header: str) -> float:
    """Return the seconds of a ``Retry-After``, which is a number or a date (RFC 9110, 10.2.3)."""
    if header.strip().isdigit():
        return float(header.strip()[:6])
    try:
        return max(0.0, (email.utils.parsedate_to_datetime(header) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError):
        return _DEFAULT_WAIT
