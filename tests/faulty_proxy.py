"""A real HTTP proxy that stands in front of a server and, when told, answers late, with an error, or with rubbish."""

from __future__ import annotations

import http.client
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit


@dataclass
class Fault:
    """What happens to a request instead of, or before, being passed on."""

    status: int = 0
    body: bytes = b""
    content_type: str = "text/plain"
    delay: float = 0
    drop: bool = False


@dataclass
class FaultyProxy:
    """``decide`` is asked for each request (method, path with query) and returns a fault, or None to pass it on."""

    upstream: str
    decide: Callable[[str, str], Fault | None] = lambda method, path: None
    url: str = ""
    seen: list[tuple[str, str]] = field(default_factory=list)

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
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            proxy.seen.append((self.command, self.path))
            fault = proxy.decide(self.command, self.path)
            if fault is not None:
                time.sleep(fault.delay)
                if fault.drop:
                    self.close_connection = True
                    return
                if fault.status:
                    self._answer(fault.status, [("Content-Type", fault.content_type)], fault.body)
                    return
            upstream = http.client.HTTPConnection(target.hostname or "", target.port, timeout=60)
            headers = {name: value for name, value in self.headers.items() if name.lower() != "connection"}
            upstream.request(self.command, self.path, body, headers)
            answer = upstream.getresponse()
            content = answer.read()
            hop = ("transfer-encoding", "content-length", "connection")
            self._answer(answer.status, [(n, v) for n, v in answer.getheaders() if n.lower() not in hop], content)
            upstream.close()

        do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = do_LIST = do_HEAD = handle_any

        def _answer(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
            self.send_response(status)
            for name, value in headers:
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    return Handler


@contextmanager
def faulty_proxy(upstream: str) -> Iterator[FaultyProxy]:
    proxy = FaultyProxy(upstream)
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(proxy))
    proxy.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
