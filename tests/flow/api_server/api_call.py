"""One call of Airflow's API through a middleware, with an Airflow behind it that answers whatever reaches it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from airlock.flow.api_server.middleware import Middleware


def answered(
    middleware: type[Middleware], path: str, method: str, status_of: Callable[[str], int]
) -> tuple[int, str]:
    """Return status and body of the answer; Airflow itself says ``{}``, with the status that *status_of* its method is.
    """

    async def airflow(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": status_of(scope["method"]), "headers": []})
        await send({"type": "http.response.body", "body": b"{}"})

    said: list[Any] = []

    async def send(message: Any) -> None:
        said.append(message)

    async def receive() -> Any:
        return {"type": "http.request", "body": b""}

    asyncio.run(middleware(airflow)({"type": "http", "path": path, "method": method, "headers": []}, receive, send))
    return int(said[0]["status"]), said[1]["body"].decode()
