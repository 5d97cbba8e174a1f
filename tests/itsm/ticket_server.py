"""What the servers of ticket systems have in common: HTTP on loopback, one account, faults on demand, and people."""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

LOGIN, SECRET = "airlock@example.test", "ticket-secret-7d1f"


class Refused(Exception):
    def __init__(self, status: int, body: Any) -> None:
        super().__init__(str(status))
        self.status, self.body = status, body


class TicketServer(ThreadingHTTPServer):
    """``faults`` holds (status, headers, body) of the next answers; ``down`` answers everything with 503."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.asked: list[tuple[str, str]] = []
        self.faults: list[tuple[int, dict[str, str], bytes]] = []
        self.down = False
        self.lock = threading.RLock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def reply(self, method: str, path: str, query: dict[str, str], body: Any) -> tuple[int, Any]:
        raise NotImplementedError

    @contextmanager
    def running(self) -> Iterator[TicketServer]:
        thread = threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self.shutdown()
            self.server_close()
            thread.join()

    # --- what people do in it -----------------------------------------------------------------------------------------

    def opened(self, title: str, text: str = "", **fields: str) -> str:
        """A person makes a ticket; return its key."""
        raise NotImplementedError

    def ask_for_approval(self, key: str, *accounts: str) -> None:
        raise NotImplementedError

    def answer(self, key: str, account: str, choice: str, by: str = "") -> None:
        """*account* answers ``approve`` or ``reject`` the newest request; *by* does it in that account's name."""
        raise NotImplementedError

    def set_status(self, key: str, status: str) -> None:
        raise NotImplementedError

    def status(self, key: str) -> str:
        raise NotImplementedError

    def edit(self, key: str, field: str, value: Any) -> None:
        raise NotImplementedError

    def delete(self, key: str) -> None:
        raise NotImplementedError

    def notes(self, key: str) -> list[str]:
        raise NotImplementedError

    def carried(self, release: str) -> list[str]:
        """The tickets that carry *release*."""
        raise NotImplementedError


class _Handler(BaseHTTPRequestHandler):
    server: TicketServer

    def _any(self) -> None:
        raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = urlsplit(self.path)
        self.server.asked.append((self.command, self.path))
        expected = "Basic " + base64.b64encode(f"{LOGIN}:{SECRET}".encode()).decode()
        headers: dict[str, str] = {}
        if self.server.faults:
            status, headers, content = self.server.faults.pop(0)
        elif self.server.down:
            status, content = 503, b"<html>down for maintenance</html>"
        elif self.headers.get("Authorization") != expected:
            status, content = 401, b'{"error":{"message":"User Not Authenticated"}}'
        else:
            query = {name: values[0] for name, values in parse_qs(parts.query).items()}
            try:
                with self.server.lock:
                    status, body = self.server.reply(
                        self.command, parts.path, query, json.loads(raw) if raw else None
                    )
            except Refused as refused:
                status, body = refused.status, refused.body
            content = b"" if body is None else json.dumps(body).encode()
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", "Content-Length": str(len(content)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _any

    def log_message(self, format: str, *args: object) -> None:
        pass


def stamp() -> str:
    """Now, as ServiceNow writes it: in UTC, to the second, without an offset."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime())
