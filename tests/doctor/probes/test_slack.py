"""Slack: token, scopes and channel, asked without posting."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from airlock.doctor.finding import Finding, Gravity, Subject
from airlock.doctor.probes import slack
from airlock.errors import TemporaryError
from airlock.notify.slack import SlackNotifier
from tests.notify.slack_server import Slack, running_slack
from tests.real_servers import set_connection

WHO = {"ok": True, "user": "airlock", "team": "Cafe"}


@pytest.fixture
def server() -> Iterator[Slack]:
    with running_slack() as running:
        yield running


def asked(server: Slack, monkeypatch: pytest.MonkeyPatch, channel: str = "C0123456", scopes: str | None = None,
          body: dict[str, object] | None = None) -> list[Finding]:  # fmt: skip
    set_connection(monkeypatch, "s", conn_type="slack", password="xoxb-right", extra={"base_url": server.url})
    headers = {} if scopes is None else {"x-oauth-scopes": scopes}
    server.answers.append((200, headers, json.dumps(body or WHO).encode()))
    bound = SlackNotifier.needs.bound(None, connection="s", channel=channel)
    return list(slack.ask(Subject("notices", "slack"), "s", channel, bound.permissions))


def test_a_bot_with_its_scopes_is_fine_and_nothing_is_posted(server: Slack, monkeypatch: pytest.MonkeyPatch) -> None:
    found = asked(server, monkeypatch, scopes="chat:write,channels:history")
    assert {one.gravity for one in found} == {Gravity.FINE}
    assert [path for path, _ in server.requests] == ["/api/auth.test"]
    assert server.posted == []


@pytest.mark.parametrize(("scopes", "missing"), [
    ("chat:write", ["channels:history"]), ("channels:history", ["chat:write"]),
    ("chat:write.public, groups:history", []), ("", None)])  # fmt: skip
def test_scopes_that_are_missing_are_named(
    server: Slack, monkeypatch: pytest.MonkeyPatch, scopes: str, missing: list[str] | None
) -> None:
    found = asked(server, monkeypatch, scopes=scopes)
    if missing is None:
        assert Gravity.NOT_ASKED in {one.gravity for one in found}
        return
    warned = [one.what for one in found if one.gravity is Gravity.WARNING]
    assert [name for name in ("chat:write", "channels:history") if any(name in one for one in warned)] == missing


def test_a_token_that_slack_refuses_is_told_without_it(server: Slack, monkeypatch: pytest.MonkeyPatch) -> None:
    (found,) = asked(server, monkeypatch, body={"ok": False, "error": "token_revoked"})
    assert found.gravity is Gravity.WARNING
    assert "token_revoked" in found.what
    assert "xoxb" not in found.model_dump_json()


def test_a_channel_that_is_given_by_name_is_a_note(server: Slack, monkeypatch: pytest.MonkeyPatch) -> None:
    found = asked(server, monkeypatch, channel="#releases", scopes="chat:write,channels:history")
    assert found[-1].gravity is Gravity.NOTE


def test_slack_that_is_away_is_temporary(server: Slack, monkeypatch: pytest.MonkeyPatch) -> None:
    set_connection(monkeypatch, "s", conn_type="slack", password="xoxb-right",
                   extra={"base_url": "http://127.0.0.1:9/api/"})  # fmt: skip
    bound = SlackNotifier.needs.bound(None, connection="s", channel="C0123456")
    with pytest.raises(TemporaryError, match="cannot be reached"):
        list(slack.ask(Subject("notices", "slack"), "s", "C0123456", bound.permissions))
