"""A whole release in a real Airflow whose request comes from a ticket and whose approval is decided there, while the
ticket system goes away in the middle and the chat is away from the beginning."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from airlock.evidence.ledger import Ledger
from airlock.evidence.pack import verify
from airlock.flow.stages.release import release_id
from airlock.models import Record
from airlock.recompute.release import recompute
from airlock.service.find import find
from airlock.signing import Signer
from sandbox import credentials
from sandbox.demo import EASY
from sandbox.layout import Layout
from tests.itsm.jira_server import JiraServer
from tests.itsm.ticket_server import LOGIN, SECRET
from tests.notify.slack_server import running_slack
from tests.running_sandbox import Running, running_sandbox
from tests.shipped_shop import shipped_shop

pytestmark = [pytest.mark.end_to_end, pytest.mark.timeout(600)]
ANALYSIS = {"minimum_requests": 10, "latency_floor_ms": 2000, "look_every_seconds": 1}
ROLLOUT = {"steps": [{"percent": 50, "observe_seconds": 2}], "bake_seconds": 2}
TICKETS = {
    "name": "jira", "connection": "tickets", "options": JiraServer.options, "people": {"acc-owner": "owner"},
    "decides_approval": True, "look_every_seconds": 2,
    "fields": {"title": "summary", "reason": "description", "impact": "impact", "rollback_plan": "backout"},
}  # fmt: skip


@dataclass(frozen=True)
class Followed:
    """What one release left behind, in the ledger, in Airflow, in the ticket and in the chat."""

    records: tuple[Record, ...]
    waited: Mapping[str, Any]
    status: str
    notes: str
    messages: list[dict[str, Any]]
    pack: Path

    def data(self, kind: str) -> list[Mapping[str, Any]]:
        return [one.data for one in self.records if one.type == kind]


def write_services(folder: Path) -> None:
    whole = shipped_shop()
    staging = whole["environments"]["staging"]
    staging["resources"] = [one for one in staging["resources"] if one["name"] == "env_file"]
    for name in ("without_kinds", "migrations"):
        staging.pop(name, None)
    whole["environments"] = {"staging": {**staging, "tickets": TICKETS, "analysis": ANALYSIS, "rollout": ROLLOUT}}
    folder.mkdir()
    (folder / "shop.yaml").write_text(yaml.safe_dump(whole))


def until(what: str, found: Callable[[], Any], seconds: float = 240) -> Any:
    limit = time.monotonic() + seconds
    while not (value := found()):
        assert time.monotonic() < limit, f"waited in vain: {what}"
        time.sleep(0.3)
    return value


def released(running: Running, services: Path, tickets: JiraServer, messages: list[dict[str, Any]]) -> Followed:
    """Release 1.1; the ticket system goes away as soon as the release waits for it, and people answer meanwhile."""
    environment = find(services, "shop", "staging")
    client, ledger = running.demo.client("release-manager"), Ledger(environment.ledger, "shop", "staging")
    key = tickets.opened("New orders page", "because customers asked", impact={"value": "low"},
                         backout="All traffic goes back to the version before.")  # fmt: skip
    client.wait_for_dag("release.shop.staging", 200)
    run = client.trigger("release.shop.staging", {"version": "1.1", "change_type": "normal", "ticket": key, **EASY})
    identity = release_id(environment, run.run_id, datetime.fromisoformat(run.run_after))

    def approve() -> str:
        return client.task_states(run).get("change.approve", "")

    until("the release waits for its ticket", lambda: approve() == "deferred")
    asked = len(tickets.asked)
    tickets.down = True
    until("the ticket is looked at", lambda: len(tickets.asked) > asked)
    tickets.ask_for_approval(key, "acc-stranger", "acc-owner")
    tickets.answer(key, "acc-stranger", "approve")
    tickets.answer(key, "acc-owner", "approve")
    until("the ticket is looked at again in vain", lambda: len(tickets.asked) > asked + 1)
    waited = {"state": approve(), "votes": [one for one in ledger.read(identity) if one.type == "vote"]}
    tickets.down = False
    until("the release has ended", lambda: client.run(run).state not in ("queued", "running"))
    return Followed(ledger.read(identity), waited, tickets.status(key), "\n".join(tickets.notes(key)), messages,
                    Path(environment.evidence) / f"{identity}.zip")


@pytest.fixture(scope="module")
def followed(open_folder: Path) -> Iterator[Followed]:
    services = open_folder / "services"
    write_services(services)
    with ExitStack() as stacked:
        tickets = JiraServer()
        stacked.enter_context(tickets.running())
        slack = stacked.enter_context(running_slack())
        slack.answers = [(503, {}, b"<html>down</html>")]
        given = {
            "AIRLOCK_SERVICES": str(services),
            "AIRFLOW_CONN_TICKETS": json.dumps(
                {"conn_type": "http", "host": tickets.url, "login": LOGIN, "password": SECRET}
            ),
            "AIRFLOW_CONN_AIRLOCK_SLACK": json.dumps(
                {"conn_type": "slack", "password": "xoxb-right",
                 "extra": {"base_url": slack.url, "channel": "C024BE91L"}}
            ),
        }

        def prepare(_: Layout) -> Mapping[str, str]:
            return given

        running = stacked.enter_context(running_sandbox(open_folder, prepare, ["envoy_staging"]))
        yield released(running, services, tickets, slack.posted)


def test_the_request_comes_from_the_ticket(followed: Followed) -> None:
    (rfc,) = [one["rfc"] for one in followed.data("rfc")]
    assert (rfc["title"], rfc["reason"], rfc["requester"]) == (
        "New orders page", "because customers asked", "release-manager",
    )  # fmt: skip
    assert rfc["impact"].startswith("low: ")


def test_while_the_ticket_system_is_away_the_release_waits_without_a_worker_and_nothing_passes(
    followed: Followed,
) -> None:
    assert followed.waited == {"state": "deferred", "votes": []}


def test_the_answer_in_the_ticket_carried_the_plan(followed: Followed) -> None:
    (vote,) = followed.data("vote")
    assert (vote["vote"]["person"], vote["vote"]["choice"]) == ("owner", "approve")
    assert vote["ticket"]["account"] == "acc-owner"
    (refused,) = followed.data("vote_refused")
    assert "in none of the groups" in refused["why"]
    assert followed.data("outcome")[0]["outcome"] == "promoted"


def test_the_ticket_followed_the_release_to_its_end(followed: Followed) -> None:
    assert followed.status == "closed"
    assert followed.data("plan")[0]["digest"] in followed.notes
    for said in ("Permit signed", "Canary 1.1: pass", "promoted: the canary passed"):
        assert said in followed.notes


def test_the_chat_got_everything_in_one_thread_although_it_was_away(followed: Followed) -> None:
    first = followed.messages[0]
    assert {one.get("thread_ts", one["ts"]) for one in followed.messages} == {first["ts"]}
    assert sum("thread_ts" not in one for one in followed.messages) == 1


def test_the_evidence_verifies_and_recomputes_and_holds_no_secret(followed: Followed) -> None:
    public = Signer.from_pem(credentials.load(followed.pack.parents[1] / "sandbox").signing_key).public_pem
    assert verify(followed.pack, (public,)).problems == ()
    again = recompute(followed.pack, [public])
    assert again.ok, again.differing
    assert SECRET not in "".join(one.model_dump_json() for one in followed.records)
