"""The trigger form is answered at once, with the sentences of the rules; what Airflow's form can check, it does."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from airlock.change.form import FIELD_OF
from airlock.flow.api_server.trigger_requests import TriggerRequests, name_of_run, refusal
from airlock.flow.dags.trigger_form import form_params, rollback_params
from tests.service_data import write

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
NORMAL = {"version": "1.1", "change_type": "normal", "title": "More milk", "reason": "Customers ask for it.",
          "impact": "low", "rollback_plan": "All traffic goes back to 1.0."}
DAG = "release.cafe.live"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    write(tmp_path)
    monkeypatch.setenv("AIRLOCK_SERVICES", str(tmp_path / "services"))
    return tmp_path / "services"


def test_a_good_request_is_let_through(folder: Path) -> None:
    assert refusal(DAG, NORMAL, "rita", NOW) == ""
    assert refusal(DAG, {"version": "1.1", "change_type": "standard"}, "rita", NOW) == ""


@pytest.mark.parametrize("missing", ["title", "reason", "impact", "rollback_plan", "version"])
def test_a_normal_change_needs_its_words(folder: Path, missing: str) -> None:
    form = {name: value for name, value in NORMAL.items() if name != missing}
    assert f"{missing}: is missing, a normal change needs it" in refusal(DAG, form, "rita", NOW)


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"version": "../../etc/passwd"}, "exactly as its artifact is named"),
        ({"start_after": (NOW - timedelta(hours=1)).isoformat()}, "start_after: 2026-11-24 11:00 UTC has passed"),
        ({"start_after": "soon"}, "is no moment"),
        ({"change_type": "emergency"}, "incident: is missing"),
        ({"permit": {}}, "permit: unknown field"),
        ({"template": "regular"}, "belongs to a standard change only"),
        ({"change_type": "standard"}, "uses the words of its template"),
        ({"impact": "huge"}, "is not one of low, medium, high"),
    ],
)
def test_what_would_be_refused_later_is_refused_now(folder: Path, wrong: dict[str, Any], sentence: str) -> None:
    assert sentence in refusal(DAG, {**NORMAL, **wrong}, "rita", NOW)


def test_not_before_may_be_a_moment_ago_and_later(folder: Path) -> None:
    for minutes in (-4, 0, 60):
        at = (NOW + timedelta(minutes=minutes)).isoformat()
        assert refusal(DAG, {**NORMAL, "start_after": at}, "rita", NOW) == ""


def test_a_file_that_is_wrong_begins_nothing(folder: Path) -> None:
    from airlock.service import last_good
    from airlock.service.find import load_services

    last_good.keep(folder, load_services(folder))
    (folder / "cafe.yaml").write_text("service: [")
    assert "nothing new begins until it is mended" in refusal(DAG, NORMAL, "rita", NOW)


def test_what_is_not_known_here_is_left_to_airflow_and_the_tasks(folder: Path) -> None:
    assert refusal("release.bar.live", {}, "rita", NOW) == ""


@pytest.mark.parametrize(
    ("version", "name"),
    [("1.1", "1.1~2026-11-24T12:00:00.000Z"), ("1.1+b7", "1.1+b7~2026-11-24T12:00:00.000Z"), ("../x", ""), (None, ""),
     ("scheduled__x", ""), ("x" * 65, "")],
)
def test_a_run_is_named_by_its_version(version: str | None, name: str) -> None:
    assert name_of_run({"version": version}, NOW) == name


def passed(headers: list[tuple[bytes, bytes]], body: bytes, method: str = "POST", path: str = "") -> tuple[int, bytes]:
    """Return the status that is answered and the body that Airflow got, with an Airflow that accepts everything."""
    got = bytearray()

    async def airflow(scope: Any, receive: Any, send: Any) -> None:
        while (message := await receive()).get("more_body"):
            got.extend(message["body"])
        got.extend(message["body"])
        await send({"type": "http.response.start", "status": 299, "headers": []})

    pieces = [{"type": "http.request", "body": body[:10], "more_body": True},
              {"type": "http.request", "body": body[10:], "more_body": False}]
    said: list[Any] = []

    async def receive() -> Any:
        return pieces.pop(0)

    async def send(message: Any) -> None:
        said.append(message)

    scope = {"type": "http", "path": path or f"/api/v2/dags/{DAG}/dagRuns", "method": method, "headers": headers}
    asyncio.run(TriggerRequests(airflow)(scope, receive, send))
    return int(said[0]["status"]), bytes(got)


@pytest.mark.parametrize("headers", [[], [(b"authorization", b"Bearer nonsense")], [(b"cookie", b"_token=nonsense")]])
def test_a_stranger_gets_airflows_own_answer_and_learns_nothing(
    folder: Path, headers: list[tuple[bytes, bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    from airflow.api_fastapi import app
    from airflow.api_fastapi.auth.managers.simple.simple_auth_manager import SimpleAuthManager

    monkeypatch.setattr(app, "get_auth_manager", SimpleAuthManager)
    monkeypatch.setattr("airflow.api_fastapi.core_api.security.get_auth_manager", SimpleAuthManager)
    body = json.dumps({"conf": {"version": "../.."}}).encode()
    assert passed(headers, body) == (299, body)


def test_what_is_no_request_for_a_release_is_not_touched(folder: Path) -> None:
    for method, path in (("GET", ""), ("POST", "/api/v2/dags/rollback.cafe.live/dagRuns"),
                         ("POST", f"/api/v2/dags/{DAG}/dagRuns/list"), ("POST", "/api/v2/dags/settle/dagRuns")):
        assert passed([], b'{"conf": {"version": "../.."}}', method, path)[0] == 299


@pytest.mark.parametrize("scheduled", [False, True])
def test_airflows_form_offers_no_null_and_shows_what_a_normal_change_needs(scheduled: bool) -> None:
    params = form_params(scheduled)
    for name, param in params.items():
        assert None not in param.schema.get("enum", ()), name
        assert (param.schema.get("section") is not None) == ("normal" not in FIELD_OF[name].needed_for), name
        if param.has_value:
            jsonschema.validate(param.value, param.schema)
        if "" in param.schema.get("enum", ()):
            assert param.schema["values_display"] == {"": "(not chosen)"} and param.value == ""
    assert params["change_type"].schema["enum"] == ["normal", "standard", "emergency"]
    assert {name for name, param in rollback_params().items() if param.schema.get("section")} == set()


def test_a_form_that_is_sent_untouched_but_for_what_is_needed_is_right(folder: Path) -> None:
    form = {name: param.value for name, param in form_params(scheduled=False).items() if param.has_value}
    assert refusal(DAG, {**form, **NORMAL}, "rita", NOW) == ""
