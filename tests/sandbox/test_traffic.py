from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from sandbox.traffic import CONNECTIONS, Stream

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def good(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while True:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    except asyncio.IncompleteReadError:
        writer.close()


async def rubbish(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n")
    writer.close()


@asynccontextmanager
async def running(port: int, rate: float) -> AsyncIterator[Stream]:
    """A stream that runs until the end of the block and does not end by itself."""
    stream = Stream(f"http://127.0.0.1:{port}", rate)
    task = asyncio.create_task(stream.run())
    try:
        yield stream
        assert not task.done()
    finally:
        task.cancel()


async def counted(stream: Stream, status: str, requests: int) -> None:
    """Wait until *stream* had the answer *status* so often."""
    async with asyncio.timeout(60):
        while stream.statuses[status] < requests:
            await asyncio.sleep(0.05)


def port_of(server: asyncio.Server) -> int:
    return int(server.sockets[0].getsockname()[1])


def test_requests_come_as_often_as_told_and_no_oftener() -> None:
    async def scenario() -> None:
        async with await asyncio.start_server(good, "127.0.0.1", 0) as server:
            began = time.monotonic()
            async with running(port_of(server), 200) as stream:
                await counted(stream, "200", 400)
                # Each connection may be two requests ahead of its time after it was kept waiting.
                assert stream.statuses["200"] <= 200 * (time.monotonic() - began) + 2 * CONNECTIONS
            assert set(stream.statuses) == {"200"}

    asyncio.run(scenario())


def test_rubbish_does_not_end_the_stream() -> None:
    async def scenario() -> None:
        async with (
            await asyncio.start_server(rubbish, "127.0.0.1", 0) as server,
            running(port_of(server), 200) as stream,
        ):
            await counted(stream, "ValueError", 10)

    asyncio.run(scenario())


def test_the_stream_goes_on_when_a_server_comes_back() -> None:
    async def scenario() -> None:
        async with await asyncio.start_server(good, "127.0.0.1", 0) as first:
            port = port_of(first)
        async with running(port, 100) as stream:
            await counted(stream, "ConnectionRefusedError", 5)
            async with await asyncio.start_server(good, "127.0.0.1", port):
                await counted(stream, "200", 20)

    asyncio.run(scenario())
