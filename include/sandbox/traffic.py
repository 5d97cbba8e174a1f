"""A steady stream of requests through Envoy, so that a canary sees traffic. Never ends because something else failed.

``python -m sandbox.traffic http://127.0.0.1:28001=120 ...``: address and requests per second.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import sys
import time
from collections import Counter
from collections.abc import Mapping
from types import MappingProxyType
from urllib.parse import urlsplit

from sandbox.layout import Layout
from sandbox.processes import Program, Server
from sandbox.processes import start as start_process

logger = logging.getLogger(__name__)
CONNECTIONS = 16
REPORT_SECONDS = 30.0
PATHS = ("/orders", "/orders/17", "/orders", "/", "/orders/42", "/orders", "/orders/1", "/orders/99")
RATES: Mapping[str, float] = MappingProxyType({"envoy": 120.0, "envoy_staging": 60.0})
"""Requests per second through each of Envoy's listeners."""
_FAULTS = (OSError, EOFError, ValueError, asyncio.TimeoutError, asyncio.LimitOverrunError)


class Stream:
    """Requests at one address at a steady rate, spread over a few connections that are kept alive."""

    def __init__(self, url: str, rate: float) -> None:
        self._address = urlsplit(url)
        self.url = url
        self._pause = CONNECTIONS / rate
        self.statuses: Counter[str] = Counter()

    async def run(self) -> None:
        """Send for ever."""
        await asyncio.gather(*(self._lane(number) for number in range(CONNECTIONS)))

    async def _lane(self, number: int) -> None:
        due = time.monotonic() + self._pause * number / CONNECTIONS
        paths = itertools.islice(itertools.cycle(PATHS), number, None)
        streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        while True:
            # A lane that is late does not catch up with a burst.
            due = max(due + self._pause, time.monotonic() - self._pause)
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            try:
                if streams is None:
                    opening = asyncio.open_connection(self._address.hostname, self._address.port)
                    streams = await asyncio.wait_for(opening, 5)
                self.statuses[await asyncio.wait_for(self._ask(*streams, next(paths)), 20)] += 1
            except _FAULTS as error:
                self.statuses[type(error).__name__] += 1
                if streams is not None:
                    streams[1].close()
                streams = None

    async def _ask(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, path: str) -> str:
        """Return the status code of one request."""
        writer.write(f"GET {path} HTTP/1.1\r\nHost: shop.internal\r\nUser-Agent: sandbox\r\n\r\n".encode())
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        length = next((line[15:] for line in head.split("\r\n") if line.startswith("content-length:")), None)
        if length is None:
            raise ValueError("an answer without a length")
        await reader.readexactly(int(length))
        return head.split(" ", 2)[1]


async def _report(streams: list[Stream]) -> None:
    while True:
        await asyncio.sleep(REPORT_SECONDS)
        for stream in streams:
            counts = " ".join(f"{status}:{count}" for status, count in sorted(stream.statuses.items()))
            logger.info("%s in %.0f s: %s", stream.url, REPORT_SECONDS, counts or "nothing")
            stream.statuses.clear()


async def run(rates: dict[str, float]) -> None:
    """Send to every address of *rates* (requests per second) until cancelled."""
    streams = [Stream(url, rate) for url, rate in rates.items()]
    await asyncio.gather(_report(streams), *(stream.run() for stream in streams))


def start(layout: Layout, rates: Mapping[str, float]) -> Server:
    """Start the traffic through all listeners that *rates* names as a process of its own."""
    program = Program(
        name="traffic",
        command=(sys.executable, "-m", __spec__.name, *(f"{layout.url(name)}={rate}" for name, rate in rates.items())),
        log=layout.log / "traffic.log",
        ready=lambda: True,
        folder=layout.repository / "include",
    )
    return start_process(program, layout.run)


def main() -> None:
    """Send until interrupted."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    pairs = (argument.rpartition("=") for argument in sys.argv[1:])
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(run({url: float(rate) for url, _, rate in pairs}))


if __name__ == "__main__":
    main()
