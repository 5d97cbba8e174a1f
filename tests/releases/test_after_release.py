"""An emergency in a running Airflow whose approval afterwards is forgotten, what that blocks, and how it is mended."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import pytest
import yaml

from airlock.evidence.ledger import Ledger
from airlock.evidence.pack import verify
from airlock.flow.stages.release import release_id
from airlock.models import Record
from airlock.recompute.release import recompute
from airlock.service.find import ServiceEnvironment, find
from airlock.signing import Signer
from sandbox import credentials
from sandbox.airflow_client import AirflowClient, Run
from sandbox.demo import EASY
from tests.running_sandbox import Running, answer, running_sandbox
from tests.shipped_shop import shipped_shop

pytestmark = [pytest.mark.end_to_end, pytest.mark.timeout(900)]
STAGING = "release.shop.staging"
PATIENCE_SECONDS = 240.0
OWED = timedelta(seconds=3.6)
EMERGENCY = {
    "version": "1.1", "change_type": "emergency", "title": "The order page is down", "incident": "INC-1042",
    "reason": "Nobody can order.", "justification": "Every minute costs.", "impact": "low",
    "rollback_plan": "All traffic goes back to the version before.", **EASY,
}
REVIEW = {"what_happened": "The order page answered with errors for an hour.", "way_back": "not_used",
          "surprises": None, "will_change": "The pool of connections is watched.", "caused_by": None}
Found = TypeVar("Found")


def write_services(folder: Path) -> None:
    """The shop's staging, small; emergencies there are decided by one person and overdue after seconds."""
    whole = shipped_shop()
    staging = whole["environments"]["staging"]
    staging["resources"] = [one for one in staging["resources"] if one["name"] == "env_file"]
    for gone in ("without_kinds", "after", "migrations"):
        staging.pop(gone, None)
    two = {"service_owner": 1, "change_advisory_board": 1}
    staging["approvals"] |= {"low": two, "medium": two, "high": two, "emergency": {"service_owner": 1}}
    staging["emergency"] = {"retro_approval_hours": OWED.total_seconds() / 3600}
    staging["production"] = False
    whole["environments"] = {"staging": staging}
    folder.mkdir()
    (folder / "shop.yaml").write_text(yaml.safe_dump(whole))


@dataclass
class After:
    running: Running
    folder: Path

    @property
    def environment(self) -> ServiceEnvironment:
        return find(self.folder, "shop", "staging")

    def client(self, user: str) -> AirflowClient:
        return self.running.demo.client(user)

    def records(self, run: Run) -> tuple[Record, ...]:
        name = release_id(self.environment, run.run_id, datetime.fromisoformat(run.run_after))
        return Ledger(self.environment.ledger, "shop", "staging").read(name)

    def until(self, what: str, look: Callable[[], Found | None]) -> Found:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while (found := look()) is None:
            assert time.monotonic() < deadline, f"{what} was not seen"
            time.sleep(0.5)
        return found

    def ended(self, run: Run) -> Run:
        def look() -> Run | None:
            now = self.client("admin").run(run)
            return None if now.state in ("queued", "running") else now

        return self.until(f"the end of {run.run_id}", look)

    def answer(self, user: str, run: Run, task: str, given: tuple[str, dict[str, Any]], kind: str) -> None:
        """Answer, again where Airflow lost it, until one more record of *kind* tells of it."""
        ledger = Ledger(f"{self.environment.ledger}/_follow_up", "shop", "staging")
        name = run.run_id.split("__")[1]

        def count() -> int:
            return sum(record.type == kind for record in ledger.read(name))

        before = count()

        def look() -> bool | None:
            states = self.client("admin").task_states(run)
            if count() > before:
                return True
            if states.get(task) == "awaiting_input":
                time.sleep(2)
                self.client(user).answer(run, task, *given)
                time.sleep(2)
            return None

        self.until(f"the answer of {user} to {task}", look)


@pytest.fixture(scope="module")
def after(open_folder: Path) -> Iterator[After]:
    services = open_folder / "services"

    def prepare(_: Any) -> dict[str, str]:
        write_services(services)
        return {"AIRLOCK_SERVICES": str(services)}

    with running_sandbox(open_folder, prepare, ["envoy_staging"]) as running:
        found = After(running, services)
        for dag in (STAGING, "follow_up", "follow_up_release"):
            found.client("release-manager").wait_for_dag(dag, 120)
        yield found


def test_an_emergency_that_is_not_approved_afterwards_stops_standard_changes_until_it_is(after: After) -> None:
    manager, owner = after.client("release-manager"), after.client("owner")
    run = manager.trigger(STAGING, EMERGENCY)
    after.until("the request", lambda: owner.pending_request(run))
    answer(owner, run, "Approve", "it is down", lambda: sum(one.type == "vote" for one in after.records(run)))
    assert after.ended(run).state == "success"
    landed = after.records(run)[-1]
    released = landed.release
    after.until("the end of the time in which it is owed", lambda: datetime.now(UTC) > landed.at + OWED or None)

    refused = manager.trigger(STAGING, {"version": "1.2", "change_type": "standard"})
    assert after.ended(refused).state == "failed"
    said = next(str(one.data["message"]) for one in after.records(refused) if one.type == "fault")
    assert "makes no standard change" in said and f"{released} (incident INC-1042)" in said

    manager.trigger("follow_up", {})
    ask = after.until("the run that asks", lambda: next(
        (one for one in manager.runs("follow_up_release") if one.run_id == f"after__{released}"), None))
    after.until("both requests", lambda: {"retro_approval", "review"} <= {
        task for task, state in manager.task_states(ask).items() if state == "awaiting_input"} or None)
    for person in ("owner", "board-1"):
        after.answer(person, ask, "retro_approval", ("Approve", {"answer_reason": "seen and agreed"}), "retro_vote")
    after.answer("owner", ask, "review", ("Submit", REVIEW), "review")
    assert after.ended(ask).state == "success"

    public = Signer.from_pem(credentials.load(after.running.layout.sandbox).signing_key).public_pem
    pack = Path(after.environment.evidence) / "follow_up" / f"{released}.zip"
    assert verify(pack, (public,)).problems == ()
    again = recompute(pack, (public,))
    assert (again.problems, again.differing) == ((), ())
    assert {"approved afterwards", "review complete"} <= {one.decision for one in again.decisions}

    allowed = manager.trigger(STAGING, {"version": "1.2", "change_type": "standard"})

    def decided() -> bool | None:
        found = (bool(one.data["allowed"]) for one in after.records(allowed) if one.type == "standard_change")
        return next(found, None)

    assert after.until("the decision on the standard change", decided)
