"""A server that answers as Slack's public Web API documents say: ``chat.postMessage`` and ``conversations.history``."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl


class Slack(ThreadingHTTPServer):
    """Takes chat.postMessage; ``answers`` holds (status, headers, body) of the next answers."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), SlackHandler)
        self.requests: list[tuple[str, dict[str, Any]]] = []
        self.answers: list[tuple[int, dict[str, str], bytes]] = []
        self.posted: list[dict[str, Any]] = []

    def reply(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        if path == "/api/conversations.history":
            return {"ok": True, "has_more": False, "messages": self.posted[::-1]}
        ts = f"1700000000.{len(self.posted) + 1:06d}"
        thread = {"thread_ts": body["thread_ts"]} if "thread_ts" in body else {}
        self.posted.append({"ts": ts, "text": body["text"], "metadata": body["metadata"], **thread})
        return {"ok": True, "channel": "C1", "ts": ts}

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/api/"


class SlackHandler(BaseHTTPRequestHandler):
    server: Slack

    def do_POST(self) -> None:
        raw = self.rfile.read(int(self.headers["Content-Length"] or 0)).decode()
        given = (self.headers["Content-Type"] or "").startswith("application/json")
        body = json.loads(raw) if given and raw else dict(parse_qsl(raw))
        self.server.requests.append((self.path, body))
        status: int = 200
        headers: dict[str, str] = {}
        if self.server.answers:
            status, headers, data = self.server.answers.pop(0)
        elif self.headers["Authorization"] != "Bearer xoxb-right":
            data = b'{"ok":false,"error":"invalid_auth"}'
        else:
            data = json.dumps(self.server.reply(self.path.partition("?")[0], body)).encode()
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", "Content-Length": str(len(data)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:
        pass

    do_GET = do_POST


@contextmanager
def running_slack() -> Iterator[Slack]:
    server = Slack()
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
