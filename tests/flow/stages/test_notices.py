"""What a release tells people, over HTTP: one thread for each release, whatever crashes; and a chat that is away, slow
or throttles neither stops nor delays it, and gets later what it missed."""

from __future__ import annotations

import time
from datetime import timedelta

import pytest

from airlock.flow.stages import notices
from airlock.flow.stages.notices import notify
from airlock.flow.stages.release import Release
from airlock.models import utc_now
from tests.faulty_proxy import Fault, faulty_proxy
from tests.notify.slack_server import running_slack
from tests.real_servers import set_connection
from tests.recompute import flown


@pytest.fixture
def slack():
    with running_slack() as server:
        yield server


@pytest.fixture
def release(tmp_path, monkeypatch, slack):
    connect(monkeypatch, slack.url)
    with flown.keys():
        yield flown.prepared(tmp_path, "{}", (), ()).release


def connect(monkeypatch, url: str, channel: str = "C024BE91L") -> None:
    set_connection(monkeypatch, "airlock_slack", conn_type="slack", password="xoxb-right",
                   extra={"base_url": url, "channel": channel})  # fmt: skip


def again(release: Release) -> Release:
    """Return the release as another process sees it."""
    return Release(release.environment, release.id, "another task")


def titles(slack) -> list[str]:
    return [one["text"].split("\n")[0].split("*")[1] for one in slack.posted]


def threads(slack) -> set[str]:
    return {one.get("thread_ts", one["ts"]) for one in slack.posted}


def later(monkeypatch, seconds: float) -> None:
    monkeypatch.setattr(notices, "utc_now", lambda: utc_now() + timedelta(seconds=seconds))


def test_all_messages_of_a_release_form_one_thread_whichever_process_sends_them(release, slack):
    notify(release, "start", "Release of cafe 1.1", "x", requester="rita")
    notify(again(release), "approval_wanted", "Approval wanted", "plan sha256:0")
    notify(again(release), "verdict", "Canary 1.1: pass", "12 of 900")
    notify(again(release), "start", "Release of cafe 1.1", "x", requester="rita")
    assert titles(slack) == ["Release of cafe 1.1", "Approval wanted", "Canary 1.1: pass"]
    assert threads(slack) == {slack.posted[0]["ts"]}


def test_a_crash_between_the_first_message_and_its_record_begins_no_second_thread(release, slack, monkeypatch):
    class Killed(BaseException):
        pass

    record = release.record

    def killed(kind, subject="", **data):
        if data.get("delivered"):
            raise Killed
        record(kind, subject, **data)

    monkeypatch.setattr(release, "record", killed)
    with pytest.raises(Killed):
        notify(release, "start", "Release of cafe 1.1", "x")
    notify(again(release), "start", "Release of cafe 1.1", "x")
    notify(again(release), "verdict", "Canary 1.1: pass", "fine")
    assert titles(slack) == ["Release of cafe 1.1", "Canary 1.1: pass"]
    assert threads(slack) == {slack.posted[0]["ts"]}


def test_an_answer_that_is_lost_begins_no_second_thread(release, slack, monkeypatch):
    with faulty_proxy(slack.url.removesuffix("/api/")) as proxy:
        proxy.once("postMessage", Fault(cut=3))
        connect(monkeypatch, f"{proxy.url}/api/")
        notify(release, "start", "Release of cafe 1.1", "x")
    connect(monkeypatch, slack.url)
    later(monkeypatch, 61)
    notify(again(release), "verdict", "Canary 1.1: pass", "fine")
    assert titles(slack) == ["Release of cafe 1.1", "Canary 1.1: pass"]
    assert threads(slack) == {slack.posted[0]["ts"]}


@pytest.mark.parametrize(
    "fault", [Fault(status=503), Fault(drop=True), Fault(status=200, body=b'{"ok":false,"error":"fatal_error"}'),
              Fault(status=200, body=b"rubbish"), Fault(drip=0.2)],
)  # fmt: skip
def test_a_chat_that_is_away_costs_bounded_time_and_gets_later_what_it_missed(
    release, slack, monkeypatch, caplog, fault
):
    monkeypatch.setattr("airlock.notify.slack._WHOLE_SECONDS", 1.0)
    begun = time.monotonic()
    with faulty_proxy(slack.url.removesuffix("/api/")) as proxy:
        proxy.always(fault)
        connect(monkeypatch, f"{proxy.url}/api/")
        notify(release, "start", "Release of cafe 1.1", "x")
        asked = len(proxy.seen)
        notify(again(release), "held", "1.1 held", "no data")
        assert len(proxy.seen) == asked == 1, "it is not asked again within the minute"
    assert time.monotonic() - begun < 60
    assert "was not delivered, the release goes on" in caplog.text
    slack.posted.clear()
    connect(monkeypatch, slack.url)
    later(monkeypatch, 61)
    notify(again(release), "verdict", "Canary 1.1: pass", "fine")
    assert titles(slack) == ["Release of cafe 1.1", "1.1 held", "Canary 1.1: pass"]
    assert threads(slack) == {slack.posted[0]["ts"]}
    notify(again(release), "held", "1.1 held", "no data")
    assert len(slack.posted) == 3


def test_a_rate_limit_is_respected(release, slack, monkeypatch):
    slack.answers = [(429, {"Retry-After": "600"}, b'{"ok":false,"error":"ratelimited"}')]
    notify(release, "start", "Release of cafe 1.1", "x")
    later(monkeypatch, 500)
    notify(again(release), "held", "1.1 held", "no data")
    assert len(slack.requests) == 1
    later(monkeypatch, 601)
    notify(again(release), "verdict", "Canary 1.1: pass", "fine")
    assert titles(slack) == ["Release of cafe 1.1", "1.1 held", "Canary 1.1: pass"]


def test_the_end_of_a_quick_release_is_the_last_chance_to_tell_all(release, slack):
    slack.answers = [(503, {}, b"down")]
    for number in range(8):
        notify(again(release), "held", f"held {number}", "no data")
    assert slack.posted == []
    notify(again(release), "end", "Release: promoted", "fine")
    assert titles(slack) == [*(f"held {number}" for number in range(8)), "Release: promoted"]
    assert threads(slack) == {slack.posted[0]["ts"]}


def test_a_short_wait_is_waited_for(release, slack):
    slack.answers = [(429, {"Retry-After": "1"}, b'{"ok":false,"error":"ratelimited"}')]
    notify(release, "start", "Release of cafe 1.1", "x")
    assert titles(slack) == ["Release of cafe 1.1"]


def test_without_a_connection_nothing_is_asked_and_nothing_is_kept(release, slack, monkeypatch):
    monkeypatch.delenv("AIRFLOW_CONN_AIRLOCK_SLACK")
    notify(release, "start", "Release of cafe 1.1", "x")
    notify(again(release), "end", "Release: promoted", "y")
    assert slack.requests == []
    (kept,) = release.recorded("notification")
    assert kept.data["unconfigured"] and "message" not in kept.data


def test_a_ledger_that_cannot_be_written_or_a_sealed_release_stops_nobody(release, slack, monkeypatch, caplog):
    from airlock.errors import TemporaryError

    def full(*_, **__):
        raise TemporaryError("the disk is full")

    monkeypatch.setattr(release, "record", full)
    notify(release, "start", "Release of cafe 1.1", "x")
    assert "the disk is full" in caplog.text
