"""The coffee house with a ticket system beside it, without Airflow: its releases go through the stages of the flow."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from airlock.flow.stages import change, tickets
from airlock.flow.stages.release import Release
from airlock.models import ArmSample, Plan
from airlock.service.reading import load_file
from sandbox.demo import EASY
from tests.itsm.jira_server import JiraServer
from tests.itsm.servicenow_server import ServiceNowServer
from tests.itsm.ticket_server import LOGIN, SECRET, TicketServer
from tests.real_servers import set_connection
from tests.recompute import flown

SERVERS: Mapping[str, type[TicketServer]] = {"jira": JiraServer, "servicenow": ServiceNowServer}
TITLES = {"jira": "summary", "servicenow": "short_description"}
FORM = {
    "version": "1.1", "change_type": "normal", "title": "New orders page", "reason": "people asked for it",
    "impact": "low", "rollback_plan": "traffic goes back to 1.0", **EASY,
}  # fmt: skip
GOOD = (
    ArmSample(version="-", requests=900, errors=1, latency_p95_ms=20),
    ArmSample(version="-", requests=100, errors=0, latency_p95_ms=21),
)
BAD = (GOOD[0], ArmSample(version="-", requests=100, errors=90, latency_p95_ms=21))
ACCOUNTS = {"acc-olga": "olga", "acc-bert": "bert", "acc-rita": "rita"}


def setting(name: str, **more: Any) -> dict[str, Any]:
    """The block ``tickets`` of a service file."""
    return {
        "name": name, "connection": "tickets", "options": SERVERS[name].options, "people": ACCOUNTS,
        "decides_approval": True, "look_every_seconds": 1,
        "fields": {"title": TITLES[name], "reason": "description", "impact": "impact", "version": "u_version"},
        "values": {"impact": {"3 - Low": "low", "1 - High": "high"}}, **more,
    }  # fmt: skip


class TicketedHouse:
    """Makes releases of the coffee house; ``site`` is the server of its tickets."""

    def __init__(self, folder: Path, name: str, site: TicketServer, patch: pytest.MonkeyPatch, **more: Any) -> None:
        self.folder, self.name, self.site, self.patch = folder, name, site, patch
        self.connect(site.url)
        self.flight = flown.prepared(folder, "{}", (GOOD,) * 12, ())
        self.path = Path(self.flight.release.environment.source)
        block = f"    tickets: {json.dumps(setting(name, **more))}\n    calendar:"
        self.path.write_text(self.path.read_text().replace("    calendar:", block))
        self.release = self.again()

    def connect(self, url: str) -> None:
        set_connection(self.patch, "tickets", conn_type="http", host=url, login=LOGIN, password=SECRET)

    def again(self, name: str = "cafe-live-1") -> Release:
        """Return the release as another process sees it."""
        release = Release(load_file(self.path)[0], name, "a test")
        release.delivery, release.metrics = self.flight.release.delivery, self.flight.release.metrics
        self.flight.release = release
        return release

    def requested(self, requester: str = "rita", **form: str) -> Plan:
        given = tickets.filled(self.release, {**FORM, **form})
        change.validate(self.release, given, requester)
        return change.assess(self.release)


@contextmanager
def ticketed(folder: Path, name: str, patch: pytest.MonkeyPatch, **more: Any) -> Iterator[TicketedHouse]:
    with flown.keys(), SERVERS[name]().running() as site:
        yield TicketedHouse(folder, name, site, patch, **more)
