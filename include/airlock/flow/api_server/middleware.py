"""What our middlewares of Airflow's API server have in common: each looks at one kind of call, and passes on all else.

Loaded in every component by the plugin, so it imports nothing heavy. Knows no call of its own.
"""

from __future__ import annotations

import json
import re
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Message, Receive, Send], Awaitable[None]]


@dataclass(frozen=True)
class Call:
    """One call of the kind that a middleware looks at; ``names`` are the groups of its ``path``."""

    names: tuple[str, ...]
    scope: Message
    receive: Receive
    send: Send


class Middleware(ABC):
    """ASGI middleware that handles the calls of one ``method`` whose whole path fits ``path``."""

    method: ClassVar[str]
    path: ClassVar[re.Pattern[str]]

    def __init__(self, app: Application) -> None:
        """Wrap *app*."""
        self.app = app

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Handle the call, or pass it on."""
        fits = self.path.fullmatch(scope.get("path", "")) if scope["type"] == "http" else None
        if fits is None or scope["method"] != self.method:
            await self.app(scope, receive, send)
        else:
            await self.handle(Call(fits.groups(), scope, receive, send))

    @abstractmethod
    async def handle(self, call: Call) -> None:
        """Answer *call*, or have ``app`` answer it."""


def overhearing(receive: Receive) -> tuple[Receive, bytearray]:
    """Return a *receive* that hands on what it gets, and the body that came so far."""
    body = bytearray()

    async def heard() -> Message:
        message = await receive()
        body.extend(message.get("body", b""))
        return message

    return heard, body


def keeping() -> tuple[Send, list[Message]]:
    """Return a send that keeps the answer, and the list of its messages."""
    kept: list[Message] = []

    async def keep(message: Message) -> None:
        kept.append(message)

    return keep, kept


def with_body(first: Message, said: Any) -> list[Message]:
    """Return the answer that begins with *first*, with *said* as its body."""
    body = json.dumps(said).encode()
    return [with_length(first, body), {"type": "http.response.body", "body": body}]


def with_length(message: Message, body: bytes) -> Message:
    """Return *message*, a call or the beginning of an answer, with the length of *body* among its headers."""
    kept = (one for one in message["headers"] if one[0].lower() != b"content-length")
    return {**message, "headers": [*kept, (b"content-length", str(len(body)).encode())]}


def answer(status: int, detail: Any) -> list[Message]:
    """Return an answer as Airflow gives it: JSON with a *detail*."""
    first = {"type": "http.response.start", "status": int(status), "headers": [(b"content-type", b"application/json")]}
    return with_body(first, {"detail": detail})


async def send_all(send: Send, messages: Sequence[Message]) -> None:
    """Send *messages*, in order."""
    for message in messages:
        await send(message)
