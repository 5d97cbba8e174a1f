"""What the middlewares of the API server share: which calls they look at, and answers whose length is right."""

from __future__ import annotations

import re

import pytest

from airlock.flow.api_server.middleware import Call, Middleware, answer, send_all, with_body, with_length
from tests.flow.api_server import api_call


class Refusing(Middleware):
    method = "POST"
    path = re.compile(r"/api/v2/dags/([^/]+)/dagRuns")

    async def handle(self, call: Call) -> None:
        await send_all(call.send, answer(400, f"no run of {call.names[0]}"))


def test_a_call_of_its_kind_is_answered_by_it() -> None:
    assert api_call.answered(Refusing, "/api/v2/dags/a/dagRuns", "POST", lambda _: 299) == (
        400, '{"detail": "no run of a"}')


@pytest.mark.parametrize(("method", "path"), [
    ("GET", "/api/v2/dags/a/dagRuns"), ("POST", "/api/v2/dags/a/dagRuns/list"), ("POST", "/x/api/v2/dags/a/dagRuns"),
])
def test_all_else_is_passed_on(method: str, path: str) -> None:
    assert api_call.answered(Refusing, path, method, lambda _: 299) == (299, "{}")


def test_a_length_is_that_of_the_new_body_and_stands_once() -> None:
    first = {"type": "http.response.start", "status": 201,
             "headers": [(b"Content-Length", b"2"), (b"x-trace", b"7"), (b"content-length", b"3")]}
    start, body = with_body(first, {"a": "ü"})
    assert body["body"] == b'{"a": "\\u00fc"}'
    assert start == {**first, "headers": [(b"x-trace", b"7"), (b"content-length", b"15")]}
    assert with_length({"headers": []}, b"")["headers"] == [(b"content-length", b"0")]
