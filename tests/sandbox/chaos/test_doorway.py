"""A shut door puts a server out of reach, an open one changes nothing."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator

import pytest

from sandbox import reach
from sandbox.chaos.doorway import Doorway


@pytest.fixture
def server() -> Iterator[int]:
    class Answers(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b'{"here": true}' + b" " * 300_000)

        def log_message(self, *arguments: object) -> None:
            return None

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answers) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield running.server_address[1]
        running.shutdown()


def test_open_shut_and_open_again(server: int) -> None:
    with Doorway(server) as door:
        url = f"http://127.0.0.1:{door.port}/"
        assert reach.call("GET", url) == {"here": True}
        door.shut()
        with pytest.raises(OSError, match=r"reset|closed|refused|Remote end"):
            reach.call("GET", url)
        door.open()
        assert reach.call("GET", url) == {"here": True}
    assert not reach.listens(door.port)


def test_a_door_to_nothing_is_as_shut() -> None:
    with Doorway(reach.free_port()) as door, pytest.raises(OSError, match=r"reset|closed|refused|Remote end"):
        reach.call("GET", f"http://127.0.0.1:{door.port}/")
