from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from sandbox.traffic import Stream

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


async def serve(handler: Handler, stream_of: Callable[[int], Stream], port: int, seconds: float) -> Stream:
    async with await asyncio.start_server(handler, "127.0.0.1", port) as server:
        stream = stream_of(server.sockets[0].getsockname()[1])
        running = asyncio.create_task(stream.run())
        await asyncio.sleep(seconds)
        assert not running.done()
        running.cancel()
    return stream


def test_the_rate_is_kept() -> None:
    stream = asyncio.run(serve(good, lambda port: Stream(f"http://127.0.0.1:{port}", 100), 0, 3))
    assert set(stream.statuses) == {"200"}
    assert 180 < stream.statuses["200"] <= 310


def test_rubbish_does_not_end_the_stream() -> None:
    stream = asyncio.run(serve(rubbish, lambda port: Stream(f"http://127.0.0.1:{port}", 200), 0, 1))
    assert stream.statuses["ValueError"] > 10


def test_the_stream_goes_on_when_a_server_comes_back() -> None:
    async def scenario() -> Stream:
        async with await asyncio.start_server(good, "127.0.0.1", 0) as first:
            port = first.sockets[0].getsockname()[1]
        stream = Stream(f"http://127.0.0.1:{port}", 100)
        running = asyncio.create_task(stream.run())
        await asyncio.sleep(0.5)
        assert stream.statuses["ConnectionRefusedError"] > 0
        async with await asyncio.start_server(good, "127.0.0.1", port):
            await asyncio.sleep(1)
            assert stream.statuses["200"] > 20
            running.cancel()
        return stream

    asyncio.run(scenario())
