"""The shop: a small HTTP service with orders in PostgreSQL. Started with PORT and DATABASE_URL in its environment."""

import hashlib
import json
import os
import random
import socket
import sys
import time
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import database

ARTIFACT = Path(sys.argv[0]).resolve()


def _release():
    with zipfile.ZipFile(ARTIFACT) as archive:
        return json.loads(archive.read("release.json"))


def _digest():
    with ARTIFACT.open("rb") as stream:
        return "sha256:" + hashlib.file_digest(stream, "sha256").hexdigest()


RELEASE = _release()
DIGEST = _digest()
ORDERS = database.Orders(os.environ.get("DATABASE_URL", ""), RELEASE["order_columns"])


class Handler(BaseHTTPRequestHandler):
    """Answers /health, /, /orders and /orders/<id> in JSON."""

    protocol_version = "HTTP/1.1"
    server_version = f"shop/{RELEASE['version']}"
    sys_version = ""
    wbufsize = -1
    disable_nagle_algorithm = True
    timeout = 120

    def do_GET(self):
        path = self.path.partition("?")[0]
        if path == "/health":
            return self._health()
        if RELEASE["delay_seconds"]:
            time.sleep(RELEASE["delay_seconds"])
        if random.random() < RELEASE["error_share"]:  # noqa: S311 - no secret
            return self._fail("a fault of this version")
        try:
            return self._answer(path)
        except database.Unavailable as error:
            return self._fail(str(error))

    def do_HEAD(self):
        return self.do_GET()

    def _answer(self, path):
        if path == "/":
            return self._send(200, {"service": "shop", "version": RELEASE["version"], "orders": "/orders"})
        if path == "/orders":
            return self._send(200, {"orders": ORDERS.latest()})
        prefix, _, number = path.rpartition("/")
        if prefix == "/orders" and number.isascii() and number.isdigit() and len(number) < 10:
            order = ORDERS.one(int(number))
            return self._send(200, order) if order else self._send(404, {"error": f"no order {number}"})
        return self._send(404, {"error": "no such page"})

    def _health(self):
        reason = ORDERS.fault()
        body = {"service": "shop", "version": RELEASE["version"], "digest": DIGEST, "ok": not reason, "reason": reason}
        self._send(503 if reason else 200, body)

    def _fail(self, reason):
        print(f"500 {self.command} {self.path[:200]}: {reason}", file=sys.stderr, flush=True)
        self._send(500, {"error": reason})

    def _send(self, status, body):
        content = json.dumps(body, default=str).encode() + b"\n"
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, *arguments):
        """Log failures only: a line per request would fill the disk."""


class Server(ThreadingHTTPServer):
    """One thread per connection, kept alive."""

    daemon_threads = True
    request_queue_size = 128
    address_family = socket.AF_INET


def main():
    """Serve until the process is ended."""
    address = ("127.0.0.1", int(os.environ["PORT"]))
    with Server(address, Handler) as server:
        print(f"shop {RELEASE['version']} ({DIGEST}) listens on 127.0.0.1:{address[1]}", flush=True)
        server.serve_forever(poll_interval=0.2)


main()
