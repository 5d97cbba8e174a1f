"""A real HTTP proxy that stands in front of a server and, when told, answers late, with an error, with rubbish, with
half of an answer, byte by byte, with another answer than the server's, or not at all."""

from __future__ import annotations

import http.client
import ssl
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit


@dataclass
class Fault:
    """What happens to a request instead of, or before, being passed on; or to its answer.

    ``status``, ``body`` and ``headers`` answer instead of the server. ``alter`` changes the server's body; ``cut``
    sends that many bytes of it; ``drip`` waits so many seconds after each byte. ``lose`` lets the server do it, and
    breaks the connection before its answer.
    """

    status: int = 0
    body: bytes = b""
    content_type: str = "text/plain"
    headers: dict[str, str] = field(default_factory=dict)
    delay: float = 0
    drop: bool = False
    alter: Callable[[bytes], bytes] | None = None
    cut: int | None = None
    drip: float = 0
    lose: bool = False


@dataclass
class FaultyProxy:
    """``decide`` is asked for each request (method, path with query) and returns a fault, or None to pass it on.

    ``body`` and ``headers``, by lower-case names, hold what the request carries.
    """

    upstream: str
    decide: Callable[[str, str], Fault | None] = lambda method, path: None
    url: str = ""
    body: bytes = b""
    seen: list[tuple[str, str]] = field(default_factory=list)
    authorizations: list[str] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=dict)

    def always(self, fault: Fault) -> None:
        self.decide = lambda method, path: fault

    def once(self, when: str, fault: Fault) -> None:
        """Answer the next request whose path contains *when* with *fault*, and pass on all others."""
        left = [fault]
        self.decide = lambda method, path: left.pop() if left and when in path else None


def _handler(proxy: FaultyProxy) -> type[BaseHTTPRequestHandler]:
    target = urlsplit(proxy.upstream)

    class Handler(BaseHTTPRequestHandler):
        def handle_any(self) -> None:
            if self.headers.get("Expect", "").lower() == "100-continue":
                self.send_response_only(100)
                self.end_headers()
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            proxy.body = body
            proxy.seen.append((self.command, self.path))
            proxy.authorizations.append(self.headers.get("Authorization", ""))
            proxy.headers = {name.lower(): value for name, value in self.headers.items()}
            fault = proxy.decide(self.command, self.path)
            if fault is not None:
                time.sleep(fault.delay)
                if fault.drop:
                    self.close_connection = True
                    return
                if fault.status:
                    given = [("Content-Type", fault.content_type), *fault.headers.items()]
                    self._answer(fault.status, given, fault.body, fault)
                    return
            upstream = http.client.HTTPConnection(target.hostname or "", target.port, timeout=60)
            own = ("connection", "expect")
            headers = {name: value for name, value in self.headers.items() if name.lower() not in own}
            upstream.request(self.command, self.path, body, headers)
            answer = upstream.getresponse()
            content = answer.read()
            hop = ("transfer-encoding", "connection", *(() if self.command == "HEAD" else ("content-length",)))
            upstream.close()
            if fault is not None and fault.lose:
                self.close_connection = True
                return
            if fault is not None and fault.alter is not None:
                content = fault.alter(content)
            kept = [(n, v) for n, v in answer.getheaders() if n.lower() not in hop]
            self._answer(answer.status, kept, content, fault or Fault())

        do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = do_LIST = do_HEAD = handle_any

        def _answer(self, status: int, headers: list[tuple[str, str]], body: bytes, fault: Fault) -> None:
            self.send_response(status)
            for name, value in headers:
                self.send_header(name, value)
            if "content-length" not in {name.lower() for name, _ in headers}:
                self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            sent = body[: fault.cut]
            step = 1 if fault.drip else max(1, len(sent))
            for start in range(0, len(sent), step):
                self.wfile.write(sent[start : start + step])
                time.sleep(fault.drip)
            self.close_connection = self.close_connection or fault.cut is not None

        def log_message(self, format: str, *args: object) -> None:
            pass

    return Handler


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of a client that has given up, which is what many a fault is for."""
        if not isinstance(sys.exception(), ConnectionError | ssl.SSLError):
            super().handle_error(request, client_address)


@contextmanager
def faulty_proxy(upstream: str, tls: ssl.SSLContext | None = None) -> Iterator[FaultyProxy]:
    """Run a proxy in front of *upstream*, which speaks TLS when there is a context for it."""
    proxy = FaultyProxy(upstream)
    server = _Server(("127.0.0.1", 0), _handler(proxy))
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    proxy.url = f"http{'s' if tls else ''}://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
