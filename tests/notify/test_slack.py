"""SlackNotifier over HTTP, against a server that answers as Slack's public Web API documents."""

import json
import logging
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airlock.errors import TemporaryError, Throttled
from airlock.notify.notifier import Message
from airlock.notify.slack import SlackNotifier, render
from airlock.registry import NOTIFIERS, resolve
from tests.faulty_proxy import Fault, faulty_proxy
from tests.notify.slack_server import running_slack

MESSAGE = Message(
    release="shop-prod-1",
    event="start",
    title="Release of shop 1.1",
    text="New orders page",
    fields={"risk": "low (10)"},
    link="http://127.0.0.1:28080/dags/release.shop.prod",
)


@pytest.fixture
def slack():
    with running_slack() as server:
        yield server


def connect(monkeypatch, url: str, token: str | None = "xoxb-right", **extra):
    monkeypatch.setenv(
        "AIRFLOW_CONN_SLACK_TEST",
        json.dumps({"conn_type": "slack", "password": token, "extra": {"base_url": url, "channel": "#shop", **extra}}),
    )
    return SlackNotifier("slack_test")


def test_messages_of_a_release_form_one_thread(slack, monkeypatch):
    notifier = connect(monkeypatch, slack.url)
    thread = notifier.send(MESSAGE)
    assert thread == "1700000000.000001"
    assert notifier.send(MESSAGE.model_copy(update={"event": "end", "thread": thread})) == thread
    (path, first), (_, second) = slack.requests
    assert path == "/api/chat.postMessage"
    assert first["channel"] == "#shop"
    assert "thread_ts" not in first
    assert second["thread_ts"] == thread
    assert first["text"].splitlines() == [
        ":rocket: *Release of shop 1.1*",
        "> New orders page",
        "• risk: low (10)",
        "<http://127.0.0.1:28080/dags/release.shop.prod|Open the request>",
        "release shop-prod-1",
    ]


def test_without_a_connection_nobody_is_configured_and_that_is_said_once(slack, monkeypatch, caplog):
    monkeypatch.delenv("AIRFLOW_CONN_SLACK_ABSENT", raising=False)
    with caplog.at_level(logging.INFO):
        assert not SlackNotifier("slack_absent").configured()
        assert not SlackNotifier("slack_absent").configured()
    assert sum("no Slack connection" in line for line in caplog.messages) == 1


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ((429, {"Retry-After": "30"}, b'{"ok":false,"error":"ratelimited"}'), "ratelimited.*wait 30 s"),
        ((200, {}, b'{"ok":false,"error":"channel_not_found"}'), "channel_not_found: check the channel"),
        ((500, {}, b'{"ok":false,"error":"fatal_error"}'), "fatal_error"),
        ((503, {"Content-Type": "text/html"}, b"<html>down</html>"), "Slack channel #shop"),
        ((200, {}, b"rubbish"), "Slack channel #shop"),
        ((200, {}, b"[]"), "Slack channel #shop"),
        ((200, {}, b""), "Slack channel #shop"),
    ],
)
def test_every_refusal_of_slack_is_temporary_and_is_not_retried(slack, monkeypatch, answer, expected):
    slack.answers = [answer]
    with pytest.raises(TemporaryError, match=expected):
        connect(monkeypatch, slack.url).send(MESSAGE)
    assert len(slack.requests) == 1


@pytest.mark.parametrize(("header", "seconds"), [("30", 30), ("999999", 3600), ("soon", 30), (None, 30)])
def test_a_rate_limit_says_how_long_to_wait(slack, monkeypatch, header, seconds):
    slack.answers = [(429, {"Retry-After": header} if header else {}, b'{"ok":false,"error":"ratelimited"}')]
    with pytest.raises(Throttled) as caught:
        connect(monkeypatch, slack.url).send(MESSAGE)
    assert caught.value.seconds == seconds


def test_an_answer_that_drips_is_given_up_in_time(slack, monkeypatch):
    monkeypatch.setattr("airlock.notify.slack._WHOLE_SECONDS", 0.5)
    with faulty_proxy(slack.url.removesuffix("/api/")) as proxy:
        proxy.always(Fault(drip=0.2))
        begun = time.monotonic()
        with pytest.raises(TemporaryError, match="no whole answer in 0.5 s"):
            connect(monkeypatch, f"{proxy.url}/api/").send(MESSAGE)
        assert time.monotonic() - begun < 60


def test_the_thread_of_a_release_is_found_again_by_its_metadata(slack, monkeypatch):
    notifier = connect(monkeypatch, slack.url, channel="C024BE91L")
    assert notifier.find("shop-prod-1") is None
    thread = notifier.send(MESSAGE)
    notifier.send(MESSAGE.model_copy(update={"thread": thread, "title": "a reply"}))
    notifier.send(MESSAGE.model_copy(update={"release": "shop-prod-2"}))
    assert notifier.find("shop-prod-1") == thread
    assert notifier.find("shop-prod-3") is None


@pytest.mark.parametrize(
    ("channel", "answer"), [("#shop", None), ("C024BE91L", (200, {}, b'{"ok":false,"error":"missing_scope"}'))]
)
def test_a_channel_that_cannot_be_searched_is_said(slack, monkeypatch, caplog, channel, answer):
    slack.answers = [answer] if answer else []
    with caplog.at_level(logging.WARNING):
        assert connect(monkeypatch, slack.url, channel=channel).find("shop-prod-1") is None
    assert "cannot be asked" in caplog.text


@pytest.mark.parametrize(
    ("token", "expected"), [("xoxb-wrong-token", "invalid_auth: check the bot token"), (None, "Slack channel #shop")]
)
def test_a_wrong_or_missing_token_is_named_and_not_shown(slack, monkeypatch, caplog, token, expected):
    with caplog.at_level(logging.DEBUG), pytest.raises(TemporaryError, match=expected) as caught:
        connect(monkeypatch, slack.url, token).send(MESSAGE)
    assert "xoxb" not in str(caught.value)
    assert "xoxb" not in "\n".join(line for line in caplog.messages if "Sending a request" not in line)


def test_a_server_that_is_down_is_temporary(slack, monkeypatch):
    notifier = connect(monkeypatch, "http://127.0.0.1:1/api/")
    with pytest.raises(TemporaryError, match="cannot be reached"):
        notifier.send(MESSAGE)


def test_text_from_strangers_calls_nobody_and_forges_nothing(slack, monkeypatch):
    nasty = "<!channel> <@U1> `code` & <http://x|click> \x00\u202e"
    connect(monkeypatch, slack.url).send(
        Message(
            release="r",
            event="verdict",
            title=nasty + "\n• risk: none",
            text=nasty,
            fields={nasty: nasty},
            link="javascript:alert(1)",
        )
    )
    ((_, body),) = slack.requests
    text = body["text"]
    assert "<" not in text
    assert ">" not in text.replace("\n> ", "\n")
    assert "`" not in text
    assert "&lt;!channel&gt;" in text
    assert "\x00" not in text
    assert "\u202e" not in text
    assert len([line for line in text.splitlines() if line.startswith("•")]) == 1
    assert "\n> &lt;!channel&gt; &lt;@U1&gt; 'code' &amp; &lt;http://x|click&gt;" in text
    assert (body["parse"], body["link_names"], body["unfurl_links"]) == ("none", False, False)


def test_lines_that_imitate_a_message_are_quoted_and_few():
    forged = "fine\n\n• approvers: nobody\nrelease shop-prod-2\n:checkered_flag: *Release shop-prod-2: promoted*\n"
    lines = render(MESSAGE.model_copy(update={"text": forged + "x\n" * 900})).splitlines()
    assert lines[0] == ":rocket: *Release of shop 1.1*" and lines[-1] == "release shop-prod-1"
    assert lines[1:5] == [
        "> fine",
        "> • approvers: nobody",
        "> release shop-prod-2",
        "> :checkered_flag: ∗Release shop-prod-2: promoted∗",
    ]
    assert lines[16] == "> 889 more lines" and len(lines) == 20


MARKS = [
    "<!channel>",
    "<@U1>",
    "<http://x|y>",
    "&amp;",
    "*",
    "~",
    "`",
    ">",
    "•",
    "\n",
    "\r",
    "\u2028",
    "\x00",
    "\u202e",
]
STRANGE = st.text(max_size=60) | st.lists(st.sampled_from([*MARKS, "x"])).map("".join)


@given(
    title=STRANGE,
    text=STRANGE | st.just("&" * 100_000),
    link=STRANGE | st.just("https://airflow.example/dags/x?a=1&b=2"),
    fields=st.dictionaries(STRANGE, STRANGE, max_size=15),
)
def test_rendered_text_is_bounded_and_forges_nothing(title, text, link, fields):
    rendered = render(Message(release="r", event="end", title=title, text=text, link=link, fields=fields))
    lines = rendered.split("\n")
    # Slack takes 40,000 characters.
    assert len(rendered) < 20_000
    assert lines[0].startswith(":checkered_flag: *") and lines[0].count("*") == 2 and lines[-1] == "release r"
    assert len(lines) == len(rendered.splitlines()) <= 2 + 16 + 11 + 1
    for line in lines[1:-1]:
        body = line[2:] if line.startswith(("> ", "• ")) else line.removeprefix("<").removesuffix("|Open the request>")
        assert line != body
        assert not set("<>`*~") & set(body)
        assert body.count("&") == sum(body.count(entity) for entity in ("&amp;", "&lt;", "&gt;"))


def test_the_registry_knows_it():
    assert resolve(NOTIFIERS, "notifier", "slack") is SlackNotifier


def test_every_event_has_a_sign() -> None:
    from typing import get_args

    from airlock.notify.notifier import Message
    from airlock.notify.slack import _SIGNS

    assert set(get_args(Message.model_fields["event"].annotation)) == set(_SIGNS)
