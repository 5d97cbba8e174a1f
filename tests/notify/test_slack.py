"""SlackNotifier over HTTP, against a server that answers as Slack's public Web API documents."""

import json
import logging
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airlock.errors import TemporaryError
from airlock.notify.notifier import Message
from airlock.notify.slack import SlackNotifier, render
from airlock.registry import NOTIFIERS, resolve

MESSAGE = Message(
    release="shop-prod-1",
    event="start",
    title="Release of shop 1.1",
    text="New orders page",
    fields={"risk": "low (10)"},
    link="http://127.0.0.1:28080/dags/release.shop.prod",
)


class Slack(ThreadingHTTPServer):
    """Takes chat.postMessage; ``answers`` holds (status, headers, body) of the next answers."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), SlackHandler)
        self.requests: list[tuple[str, dict]] = []
        self.answers: list[tuple[int, dict, bytes]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/api/"


class SlackHandler(BaseHTTPRequestHandler):
    server: Slack

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.requests.append((self.path, body))
        ok = {"ok": True, "channel": "C1", "ts": f"1700000000.{len(self.server.requests):06d}"}
        if self.headers["Authorization"] != "Bearer xoxb-right":
            ok = {"ok": False, "error": "invalid_auth"}
        status, headers, data = (
            self.server.answers.pop(0) if self.server.answers else (200, {}, json.dumps(ok).encode())
        )
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", "Content-Length": str(len(data)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *arguments):
        pass


@pytest.fixture
def slack():
    server = Slack()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


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
        "<http://127.0.0.1:28080/dags/release.shop.prod|Open in Airflow>",
        "release shop-prod-1",
    ]


def test_without_a_connection_nothing_is_sent_and_that_is_said_once(monkeypatch, caplog):
    monkeypatch.delenv("AIRFLOW_CONN_SLACK_ABSENT", raising=False)
    with caplog.at_level(logging.INFO):
        assert SlackNotifier("slack_absent").send(MESSAGE) is None
        assert SlackNotifier("slack_absent").send(MESSAGE) is None
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
        body = line[2:] if line.startswith(("> ", "• ")) else line.removeprefix("<").removesuffix("|Open in Airflow>")
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
