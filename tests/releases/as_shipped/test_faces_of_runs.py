"""In a real Airflow: a run says which version it brings and how it ended, and a refusal does not walk all tasks."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from airlock.deploy.delivery import delivery_of
from airlock.errors import PermanentError
from airlock.service.find import find
from sandbox.airflow_client import AirflowClient, Run
from sandbox.demo import EASY
from tests.running_sandbox import ROOT, Running, answer

pytestmark = [pytest.mark.end_to_end, pytest.mark.timeout(900)]
DAG = "release.shop.staging"
SERVICES = ROOT / "include" / "services"
FORM = {"version": "1.2", "change_type": "normal", "title": "A better shop", "reason": "Customers ask for it.",
        "impact": "low", "rollback_plan": "All traffic goes back to the version before.", **EASY}


class House:
    """The sandbox, seen by the release manager."""

    def __init__(self, running: Running) -> None:
        self.running = running
        self.manager: AirflowClient = running.demo.client("release-manager")
        self.admin: AirflowClient = running.demo.client("admin")
        self.manager.wait_for_dag(DAG, 120)

    def until(self, what: str, seen: Callable[[], Any]) -> Any:
        limit = time.monotonic() + 300
        while not (found := seen()):
            assert time.monotonic() < limit, f"not seen: {what}"
            time.sleep(0.5)
        return found

    def ended(self, run: Run) -> Run:
        self.until("the end", lambda: self.manager.run(run).state not in ("queued", "running"))
        return self.manager.run(run)

    def last_words(self, run: Run, task: str, *either: str) -> None:
        limit = time.monotonic() + 120
        while not any(words in (log := self.manager.log(run, task)) for words in either):
            assert time.monotonic() < limit, f"none of {either} is said in the log of {task}: {log[-4000:]}"
            time.sleep(0.5)

    def note(self, run: Run) -> str:
        return str(self.manager.note(run))


@pytest.fixture(scope="module")
def house(shipped_sandbox: Running) -> House:
    return House(shipped_sandbox)


def test_a_wrong_form_is_answered_at_once_and_there_is_no_run(house: House) -> None:
    before = house.manager.runs(DAG)
    with pytest.raises(PermanentError, match=r"400 .*no run was started: .*title: is missing"):
        house.manager.trigger(DAG, {**FORM, "title": None})
    with pytest.raises(PermanentError, match="403"):
        house.running.demo.client("viewer").trigger(DAG, {})
    assert house.manager.runs(DAG) == before


def test_a_refusal_is_the_one_failure_that_the_run_shows(house: House) -> None:
    run = house.ended(house.manager.trigger(DAG, {**FORM, "version": "9.9"}))
    assert (run.state, run.run_id.partition("~")[0]) == ("failed", "9.9")
    states = house.manager.task_states(run)
    assert {task for task, state in states.items() if state == "failed"} == {"change.validate", "close.outcome"}
    assert {state for task, state in states.items() if not task.startswith(("change.validate", "close."))} == {
        "skipped"}
    assert house.note(run).startswith("**9.9 → refused**: ")


def test_a_rejection_is_told_from_a_refusal(house: House) -> None:
    run = house.manager.trigger(DAG, FORM)
    house.until("the request", lambda: house.manager.pending_request(run))
    assert house.note(run) == "**1.2, under way**: normal change asked for by release-manager: A better shop"
    owner = house.running.demo.client("owner")
    answer(owner, run, "Reject", "not on a Sunday", lambda: int(house.manager.run(run).state != "running"))
    assert house.ended(run).state == "failed"
    assert house.note(run).startswith("**1.2 → rejected**: ") and "not on a Sunday" in house.note(run)


def test_what_settle_brought_back_says_so_on_the_run_and_in_the_log_of_its_last_task(house: House) -> None:
    runs = delivery_of(find(SERVICES, "shop", "staging")).inspect().stable
    version = "1.0" if runs == "1.1" else "1.1"
    run = house.manager.trigger(DAG, {"version": version, "change_type": "standard"})
    house.until("the canary", lambda: house.manager.task_states(run).get("deploy.canary") == "running")
    time.sleep(3)
    house.admin.set_run_state(run, "failed")
    house.admin.trigger("settle", {})  # it would come by itself within the minute
    house.until("the note", lambda: "rolled back" in house.note(run))
    note = house.note(run)
    assert note.startswith(f"**{version} → rolled back**: brought to its end by [settle](http://")
    assert "/dags/settle/runs/" in note
    # Airflow ends it, or it sees for itself that its release has gone back: whatever comes first.
    house.last_words(run, "deploy.canary", "this task is ended from outside", "deploy.canary: stopped:")
