"""What a release waits for while its approval is decided in a ticket: over HTTP, without Airflow's triggerer."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta

import pytest
from airflow.sdk.module_loading import import_string

from airlock.flow.operators import ticket_trigger
from airlock.flow.operators.ticket_trigger import GONE, LATE, TicketTrigger
from airlock.itsm.account import account_of
from airlock.itsm.ticket_system import fingerprint
from airlock.models import utc_now
from tests.itsm.jira_server import JiraServer
from tests.itsm.ticket_server import LOGIN, SECRET
from tests.itsm.ticketed import SERVERS
from tests.real_servers import set_connection


@pytest.fixture(params=["jira", "servicenow"])
def site(request, monkeypatch):
    with SERVERS[request.param]().running() as server:
        server.name = request.param
        set_connection(monkeypatch, "tickets", conn_type="http", host=server.url, login=LOGIN, password=SECRET)
        server.key = server.opened("x")
        server.ask_for_approval(server.key, "acc-olga")
        yield server


def trigger(site, seen: str, every: float = 0.05, seconds: float = 60) -> TicketTrigger:
    until = (utc_now() + timedelta(seconds=seconds)).isoformat()
    return TicketTrigger(site.name, "tickets", site.options, site.key, seen, every, until)


def now_seen(site) -> str:
    async def look() -> str:
        return await trigger(site, "")._look()

    return asyncio.run(look())


def fired(waiting: TicketTrigger, *then) -> object:
    """Return the payload of the event; *then* is what is done meanwhile, one after the other."""

    async def both() -> object:
        event = asyncio.ensure_future(anext(waiting.run()))
        for do in then:
            await asyncio.sleep(0.4)
            assert not event.done(), "it fired too early"
            do()
        return (await asyncio.wait_for(event, 60)).payload

    return asyncio.run(both())


def test_it_fires_when_somebody_answers_and_not_before(site):
    seen = now_seen(site)
    found = fired(trigger(site, seen), lambda: site.opened("another ticket"),
                  lambda: site.answer(site.key, "acc-olga", "approve"))  # fmt: skip
    assert found not in (seen, GONE, LATE) and found == now_seen(site)


def test_it_fires_when_the_ticket_is_deleted_or_ended(site):
    seen = now_seen(site)
    assert fired(trigger(site, seen), lambda: site.set_status(site.key, "canceled")) not in (seen, GONE, LATE)
    assert fired(trigger(site, now_seen(site)), lambda: site.delete(site.key)) == GONE


def test_it_wakes_the_task_when_time_is_up(site):
    assert fired(trigger(site, now_seen(site), seconds=0.5)) == LATE


def test_an_outage_is_waited_out_with_a_sentence_and_no_answer(site, caplog, monkeypatch):
    monkeypatch.setattr(ticket_trigger, "LONGEST_WAIT_SECONDS", 0.2)
    seen = now_seen(site)

    def down() -> None:
        site.down = True
        site.answer(site.key, "acc-olga", "approve")

    def up() -> None:
        assert "cannot be read" in caplog.text and "the release waits" in caplog.text
        site.down = False

    assert fired(trigger(site, seen), down, up) == now_seen(site) != seen
    assert SECRET not in caplog.text


def test_throttling_is_respected(site):
    asked = len(site.asked)
    site.faults = [(429, {"Retry-After": "1"}, b"")]
    waiting = trigger(site, "", every=0.05)
    begun = utc_now()
    fired(waiting)
    assert utc_now() - begun >= timedelta(seconds=0.9)
    assert len(site.asked) - asked <= 4


def test_credentials_that_were_changed_or_removed_are_waited_for_too(site, monkeypatch, caplog):
    seen = now_seen(site)
    monkeypatch.delenv("AIRFLOW_CONN_TICKETS")
    given = {"conn_type": "http", "host": site.url, "login": LOGIN}

    def wrong() -> None:
        assert "Airflow has no connection" in caplog.text
        monkeypatch.setenv("AIRFLOW_CONN_TICKETS", json.dumps({**given, "password": "wrong"}))
        site.answer(site.key, "acc-olga", "approve")

    def right() -> None:
        assert "401" in caplog.text
        monkeypatch.setenv("AIRFLOW_CONN_TICKETS", json.dumps({**given, "password": SECRET}))

    monkeypatch.setattr(ticket_trigger, "LONGEST_WAIT_SECONDS", 0.2)
    assert fired(trigger(site, seen), wrong, right) == now_seen(site)


def test_it_survives_the_way_to_the_triggerer_without_a_secret(site):
    path, arguments = trigger(site, "x").serialize()
    assert SECRET not in json.dumps(arguments)
    assert import_string(path)(**arguments).serialize() == (path, arguments)


@pytest.mark.parametrize(
    ("fields", "address"),
    [
        ({"host": "https://x.example.test/"}, "https://x.example.test/"),
        ({"host": "x.example.test"}, "https://x.example.test"),
        ({"host": "127.0.0.1", "schema": "http", "port": 8080}, "http://127.0.0.1:8080"),
        ({}, ""),
    ],
)
def test_a_connection_is_an_account(monkeypatch, fields, address):
    from airlock.connections import connection

    set_connection(monkeypatch, "one", conn_type="generic", login=LOGIN, password=SECRET, **fields)
    account = account_of(connection("one"))
    assert (account.address, account.login, account.secret) == (address, LOGIN, SECRET)
    assert SECRET not in repr(account)


def test_a_ticket_without_answers_has_a_fingerprint_too():
    from airlock.itsm.ticket_system import Ticket

    one = Ticket(key="CHG-1", status="x", closed=False)
    assert fingerprint(one, ()) != fingerprint(one.model_copy(update={"closed": True}), ())
    assert JiraServer.options["project"] == "CHG"
