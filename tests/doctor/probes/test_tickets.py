"""Ticket systems: what the account may do, and statuses that exist."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from airlock import registry
from airlock.doctor.finding import Finding, Gravity, Subject
from airlock.doctor.probes import tickets
from airlock.errors import AirlockError
from tests.itsm.jira_server import STATES, JiraServer
from tests.itsm.servicenow_server import ServiceNowServer
from tests.itsm.ticket_server import LOGIN, SECRET, TicketServer
from tests.real_servers import set_connection

SUBJECT = Subject("tickets", "system")


@pytest.fixture
def jira() -> Iterator[Any]:
    with JiraServer().running() as server:
        yield server


@pytest.fixture
def servicenow() -> Iterator[Any]:
    with ServiceNowServer().running() as server:
        yield server


def asked(server: TicketServer, monkeypatch: pytest.MonkeyPatch, name: str, secret: str = SECRET,
          **options: Any) -> list[Finding]:  # fmt: skip
    set_connection(monkeypatch, "t", conn_type="http", host=server.url, login=LOGIN, password=secret)
    system = registry.resolve(registry.TICKET_SYSTEMS, "ticket system", name)
    given = system.Options.model_validate(options)
    bound = system.needs.bound(given, connection="t")
    return list(tickets.ask(SUBJECT, "t", bound.permissions, given.model_dump(mode="json")))


def test_an_agent_of_jira_is_fine(jira: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    found = asked(jira, monkeypatch, "jira", project="CHG", states=STATES)
    assert {one.gravity for one in found} == {Gravity.FINE}
    assert {method for method, _ in jira.asked} == {"GET"}


def test_a_permission_that_is_missing_in_jira_is_named(jira: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    jira.denied = {"TRANSITION_ISSUES"}
    found = asked(jira, monkeypatch, "jira", project="CHG", states=STATES)
    assert [one.gravity for one in found] == [Gravity.FAULT]
    assert "TRANSITION_ISSUES" in found[0].what
    assert "CREATE_ISSUES" not in found[0].what


def test_a_status_or_type_that_jira_does_not_have_is_named(jira: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    found = asked(jira, monkeypatch, "jira", project="CHG", states={**STATES, "closed": "Finito"})
    assert [one.what for one in found if one.gravity is Gravity.WARNING] == [
        "the project has no status 'Finito', which stands for closed"]  # fmt: skip
    found = asked(jira, monkeypatch, "jira", project="CHG", issue_type="Chnage")
    assert "no issue type 'Chnage'" in found[-1].what


def test_what_servicenow_does_not_tell_is_not_asked(servicenow: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    found = asked(servicenow, monkeypatch, "servicenow")
    assert [one.gravity for one in found] == [Gravity.FINE, Gravity.NOT_ASKED, Gravity.FINE]
    assert {method for method, _ in servicenow.asked} == {"GET"}


@pytest.mark.parametrize("name", ["jira", "servicenow"])
def test_a_wrong_secret_is_told_without_it(
    jira: Any, servicenow: Any, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    server = {"jira": jira, "servicenow": servicenow}[name]
    with pytest.raises(AirlockError) as told:
        asked(server, monkeypatch, name, secret="hunter2", **({"project": "CHG"} if name == "jira" else {}))
    assert "hunter2" not in str(told.value)
