"""What answers, and how, is not in our hands: every answer is whole and in time, or a temporary error."""

from __future__ import annotations

import http.client
import socket
import threading
from collections.abc import Iterator

import pytest

from airlock.errors import TemporaryError
from airlock.fetch import Reply, Terms, TooLarge, TooLate, ask, fetch, fetch_json
from tests.faulty_proxy import Fault, FaultyProxy, faulty_proxy

NOBODY = "http://127.0.0.1:9"


@pytest.fixture
def proxy() -> Iterator[FaultyProxy]:
    with faulty_proxy(NOBODY) as started:
        yield started


def test_any_status_is_an_answer(proxy: FaultyProxy) -> None:
    proxy.always(Fault(status=503, body=b"busy"))
    reply = fetch(proxy.url, "/x?y=1")
    assert (reply.status, reply.body) == (503, b"busy")
    assert proxy.seen == [("GET", "/x?y=1")]


@pytest.mark.parametrize("status", [301, 404, 429, 500, 503])
def test_json_is_only_in_a_200(proxy: FaultyProxy, status: int) -> None:
    proxy.always(Fault(status=status, body=b"{}"))
    with pytest.raises(TemporaryError, match=f"answers with status {status}"):
        fetch_json(proxy.url, "/stats")


@pytest.mark.parametrize(
    "body",
    [b"", b"<html>", b'{"a": ', b"NaN", b'{"a": Infinity}', b"[-Infinity]", b"[" * 200_000, b"\xff\xfe", b"9" * 9999],
)
def test_what_is_no_json_is_temporary(proxy: FaultyProxy, body: bytes) -> None:
    proxy.always(Fault(status=200, body=body))
    with pytest.raises(TemporaryError, match="not JSON"):
        fetch_json(proxy.url, "/stats")


@pytest.mark.parametrize("fault", [Fault(drop=True), Fault(status=200, body=b"[1, 2, 3]", cut=4)], ids=["none", "half"])
def test_a_connection_that_is_cut_is_temporary(proxy: FaultyProxy, fault: Fault) -> None:
    proxy.always(fault)
    with pytest.raises(TemporaryError, match="does not answer"):
        fetch_json(proxy.url, "/stats")
    with pytest.raises(TemporaryError, match="does not answer"):
        fetch(NOBODY, "/")


def test_a_silent_server_and_one_that_answers_byte_by_byte_are_temporary(proxy: FaultyProxy) -> None:
    proxy.always(Fault(delay=2, status=200, body=b"[]"))
    with pytest.raises(TemporaryError, match="does not answer"):
        fetch(proxy.url, "/", timeout=0.2)
    proxy.always(Fault(status=200, body=b"[" + b"1," * 2000 + b"1]", drip=0.05))
    with pytest.raises(TemporaryError, match="no whole answer in 1 s"):
        fetch(proxy.url, "/", timeout=0.25)


@pytest.mark.parametrize(
    ("fault", "raised"),
    [
        (Fault(status=200, body=b"x" * 11), TooLarge),
        (Fault(status=200, delay=1), TooLate),
        (Fault(status=200, body=b"x" * 10, drip=0.2), TooLate),
        (Fault(status=200, body=b"x" * 10, cut=5), http.client.IncompleteRead),
        (Fault(drop=True), http.client.RemoteDisconnected),
    ],
)
def test_whoever_asks_on_terms_of_their_own_learns_what_was_wrong(
    proxy: FaultyProxy, fault: Fault, raised: type[Exception]
) -> None:
    terms = Terms(silence_seconds=0.5, whole_seconds=0.5, largest_bytes=10)
    proxy.always(fault)
    with pytest.raises(raised):
        ask(proxy.url, "/", terms)
    proxy.always(Fault(status=302, body=b"x" * 10, headers={"Location": "/there"}))
    assert ask(proxy.url, "/", terms) == Reply(302, b"x" * 10, "/there")


@pytest.mark.parametrize(
    "before", [b"", b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n", b"HTTP/1.1 102 Processing\r\n\r\n" * 3]
)
def test_what_is_sent_before_the_answer_is_none(before: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            client, _ = listener.accept()
            with client:
                client.recv(4096)
                client.sendall(before + b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")

        thread = threading.Thread(target=serve)
        thread.start()
        reply = fetch(f"http://127.0.0.1:{listener.getsockname()[1]}", "/")
        thread.join()
    assert (reply.status, reply.body) == (200, b"{}")
