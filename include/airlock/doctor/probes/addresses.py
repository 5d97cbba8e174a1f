"""Asks whether an address answers, and what its clock says. Any answer is an answer; knows no particular server."""

from __future__ import annotations

import contextlib
import http.client
import socket
import ssl
from collections.abc import Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from urllib.parse import SplitResult, urlsplit

from airlock.doctor.finding import Finding, Gravity, Subject
from airlock.doctor.measures import clock
from airlock.models import utc_now
from airlock.models.needs import Address

_SECONDS = 5.0


def ask(subject: Subject, address: Address) -> Iterator[Finding]:
    """Connect to *address*; of HTTP, ask for it. Where nobody need answer now, a host that refuses is reached."""
    try:
        parts = urlsplit(address.url if "://" in address.url else f"//{address.url}")
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port, parts = None, None, urlsplit("")
    if not host or (port is None and parts.scheme not in ("http", "https")):
        yield subject.fault(f"{shown(address.url)} is no address", _needed(address), "write host and port there")
        return
    try:
        if parts.scheme in ("http", "https"):
            yield from _http(subject, address)
            return
        with socket.create_connection((host, port), timeout=_SECONDS):
            yield subject.fine(f"{shown(address.url)} can be connected to")
    except (OSError, http.client.HTTPException) as error:
        if address.idle and isinstance(error, ConnectionRefusedError):
            yield subject.fine(f"{shown(address.url)}: its host is reached, and nothing runs there now")
            return
        yield subject.fault(
            f"{shown(address.url)} does not answer ({type(error).__name__}: {error})",
            _needed(address), "see whether the server runs and whether a firewall is between",
        )  # fmt: skip


def shown(url: str) -> str:
    """Return *url* without a log-in or query, which may be secret."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return url.rpartition("@")[2].partition("?")[0]
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}" if parts.scheme else url


def _needed(address: Address) -> str:
    return f"it is needed for {', '.join(address.stages)}{f': {address.why}' if address.why else ''}"


def _opened(address: Address, parts: SplitResult) -> http.client.HTTPConnection:
    host = parts.hostname or ""
    if parts.scheme == "http":
        return http.client.HTTPConnection(host, parts.port, timeout=_SECONDS)
    trusted = ssl.create_default_context(cafile=address.authority or None)
    if address.authority:
        trusted.check_hostname = False  # the options beside it say under which name the server must be known
    return http.client.HTTPSConnection(host, parts.port, timeout=_SECONDS, context=trusted)


def _http(subject: Subject, address: Address) -> Iterator[Finding]:
    url, parts = address.url, urlsplit(address.url)
    connection = _opened(address, parts)
    before = utc_now()
    try:
        connection.request("GET", parts.path or "/", headers={"Connection": "close", "User-Agent": "airlock-doctor"})
        answer = connection.getresponse()
    finally:
        connection.close()
    after = utc_now()
    if answer.status >= 500 and not address.idle:
        yield subject.found(Gravity.WARNING, f"{shown(url)} answers with status {answer.status}",
                            "something answers there, and it is not well", "look at the server's log")  # fmt: skip
    else:
        yield subject.fine(f"{shown(url)} answers (status {answer.status})")
    told = date_of(answer.getheader("Date"), answer.getheader("Age"))
    if told is not None:
        yield clock(subject, told, before, after)


def date_of(date: str | None, age: str | None = None) -> datetime | None:
    """Return the time that a server says it is; ``None`` where the header is no date, or of an answer that a cache
    kept, whose date is an old one."""
    if not date or (age or "0").strip() != "0":
        return None
    with contextlib.suppress(ValueError, TypeError):
        told = parsedate_to_datetime(date)
        return told if told.tzinfo else told.replace(tzinfo=UTC)
    return None
