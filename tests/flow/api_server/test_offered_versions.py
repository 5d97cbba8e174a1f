"""The form offers the versions that there are: from a list that a task keeps, and never in place of free text."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from typing import Any

import pytest

from airlock.flow.api_server.offered_versions import OfferedVersions
from airlock.flow.stages.offered_versions import refresh
from airlock.service import offered_versions
from tests.service_data import environment

DETAILS = "/api/v2/dags/release.cafe.live/details"
FIELD = {"value": None, "schema": {"type": "string"}}
SAID = {"dag_id": "release.cafe.live", "params": {"version": FIELD, "title": {}}}


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRLOCK_HOME", str(tmp_path / "home"))


def asked(path: str = DETAILS, said: Any = SAID, status: int = 200) -> tuple[dict[str, Any], dict[bytes, bytes]]:
    """Return what the browser gets, and its headers; Airflow's answer comes in two pieces."""
    given: list[Any] = []

    async def airflow(scope: Any, receive: Any, send: Any) -> None:
        given.append([name for name, _ in scope["headers"]])
        body = json.dumps(said).encode() if not isinstance(said, bytes) else said
        head = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": status, "headers": head})
        await send({"type": "http.response.body", "body": body[:5], "more_body": True})
        await send({"type": "http.response.body", "body": body[5:]})

    answer: list[Any] = []

    async def send(message: Any) -> None:
        answer.append(message)

    async def receive() -> Any:
        return {"type": "http.request", "body": b""}

    scope = {"type": "http", "path": path, "method": "GET", "headers": [(b"accept-encoding", b"gzip"), (b"x", b"y")]}
    asyncio.run(OfferedVersions(airflow)(scope, receive, send))
    assert given == ([[b"x"]] if "/release." in path else [[b"accept-encoding", b"x"]])
    body = b"".join(one.get("body", b"") for one in answer[1:])
    headers = dict(answer[0]["headers"])
    assert headers[b"content-length"] == str(len(body)).encode()
    return json.loads(body) if body.startswith(b"{") else {}, headers


def offered(*path: str) -> Any:
    return asked(*path)[0]["params"]["version"]["schema"].get("examples")


def test_the_form_offers_what_a_task_found_newest_first(tmp_path: Path) -> None:
    cafe = environment(tmp_path)
    assert offered() is None
    for version in ("1.2", "1.10", "1.10-rc1"):
        (tmp_path / f"cafe-{version}.bin").write_bytes(b"x")
    assert refresh([cafe]) == 1
    assert offered() == ["1.10", "1.10-rc1", "1.2"]
    assert "enum" not in asked()[0]["params"]["version"]["schema"], "any other version may be typed"
    assert offered("/api/v2/dags/release.cafe.other/details") is None
    assert offered("/api/v2/dags/rollback.cafe.live/details") is None


def test_a_source_that_does_not_answer_leaves_the_list_as_it_was(tmp_path: Path) -> None:
    cafe = environment(tmp_path)
    offered_versions.keep(cafe, ("1.1",))
    away = {"name": "oci", "options": {"registry": "127.0.0.1:1", "repository": "a/b", "plain_http": True}}
    source = '{name: file, options: {path: "FOLDER/cafe-{version}.bin"}}'
    assert refresh([environment(tmp_path, (source, json.dumps(away)))]) == 1
    assert offered() == ["1.1"]


def test_who_waited_longest_comes_first_and_nobody_waits_for_all(tmp_path: Path) -> None:
    cafe = environment(tmp_path)
    others = [cafe.model_copy(update={"environment": name}) for name in ("a", "b", "c")]
    for age, one in enumerate(others):
        offered_versions.keep(one, ())
        path = tmp_path / "home" / "offered-versions" / f"cafe.{one.environment}.json"
        os.utime(path, (1000 - age, 1000 - age))
    (tmp_path / "cafe-1.1.bin").write_bytes(b"x")
    assert refresh(others, seconds=-1) == 0
    assert refresh([*others, cafe]) == 4
    assert offered_versions.kept("cafe", "c") == ("1.1",)


def test_no_more_are_kept_than_anybody_scrolls_through(tmp_path: Path) -> None:
    offered_versions.keep(environment(tmp_path), [f"1.{number}" for number in range(500)])
    assert len(offered()) == offered_versions.MOST


@pytest.mark.parametrize("content", [b"", b"{}", b"[1, null]", b"\xff"])
def test_a_list_that_is_damaged_offers_nothing(tmp_path: Path, content: bytes) -> None:
    offered_versions.keep(environment(tmp_path), ("1.1",))
    (tmp_path / "home" / "offered-versions" / "cafe.live.json").write_bytes(content)
    assert offered() is None


@pytest.mark.parametrize("said", [b"<html>", b"[]", {"params": None}, {"params": {"version": {"schema": 3}}}, {}])
def test_an_answer_of_another_form_is_passed_on(tmp_path: Path, said: Any) -> None:
    offered_versions.keep(environment(tmp_path), ("1.1",))
    found, _ = asked(said=said)
    assert found == (said if isinstance(said, dict) else {})
    assert asked(status=403)[0] == SAID
