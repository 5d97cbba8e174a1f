"""Three releases of the shop, through every stage, on the sandbox: one is promoted, one rolled back, one refused.

Acts as the people around a release do: a release manager triggers runs, approvers answer, all through Airflow's REST
API, each with a log-in of their own. The third release meets the one act of sabotage: a backup is damaged in the store.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from rich.console import Console

from airlock.errors import AirlockError, TemporaryError
from airlock.evidence.ledger import Ledger
from airlock.evidence.pack import pack_path, verify
from airlock.flow.stages.release import release_id
from airlock.models import Outcome, Record, RecoveryPoint
from airlock.service.find import ServiceEnvironment, find
from sandbox import credentials, stack, trusted_keys
from sandbox.airflow_client import AirflowClient, Run
from sandbox.demo_view import DemoView
from sandbox.layout import ENVIRONMENTS, Layout

REQUESTER = "release-manager"
APPROVERS = ("owner", "board-1", "board-2", "board-3")
LONGEST_SECONDS = 600.0
PATIENCE_SECONDS = 15.0
DAG = "release.shop.prod"
DAMAGED = "storage.uploads"


@dataclass(frozen=True)
class Scenario:
    """One release of the demo, and how it must end."""

    version: str
    title: str
    impact: str
    expected: Outcome
    story: str
    damage: str = ""

    def form(self) -> dict[str, str]:
        """Return the answers of the trigger form."""
        return {
            "version": self.version,
            "change_type": "normal",
            "title": self.title,
            "reason": "Shown by the demo: " + self.story,
            "impact": self.impact,
            "rollback_plan": "All traffic goes back to the version before, which stays warm until the bake has passed.",
            **(HARD if self.impact == "high" else EASY),
        }


EASY = {"users": "some", "tested": "production_like", "done_before": "often", "downtime": "none"}
HARD = {"users": "everyone", "tested": "elsewhere", "done_before": "never", "downtime": "none"}
"""Answers to the risk questions."""
SCENARIOS = (
    Scenario("1.1", "Faster order page", "low", Outcome.PROMOTED, "a good version is promoted"),
    Scenario("1.2", "New order totals", "high", Outcome.ROLLED_BACK, "5 % of its answers fail; the canary sees it"),
    Scenario(
        "1.2",
        "New order totals, again",
        "low",
        Outcome.REFUSED,
        f"the backup of {DAMAGED} is damaged in the store",
        damage=DAMAGED,
    ),
)


@dataclass(frozen=True)
class Result:
    """How one release of the demo ended."""

    service: str
    environment: str
    version: str
    outcome: str
    reason: str
    duration_s: float
    evidence: str
    as_expected: bool


class Demo:
    """Runs the scenarios against a running sandbox."""

    def __init__(self, layout: Layout, view: DemoView) -> None:
        self.layout = layout
        self.view = view
        self.environment: ServiceEnvironment = find(layout.repository / "include" / "services", "shop", "prod")
        self.ledger = Ledger(self.environment.ledger, "shop", "prod")
        self._clients: dict[str, AirflowClient] = {}

    def client(self, user: str) -> AirflowClient:
        """Return the session of *user*, logged in once."""
        if user not in self._clients:
            password = credentials.load(self.layout.sandbox).people[user]
            self._clients[user] = AirflowClient(self.layout.url("airflow"), user, password)
        return self._clients[user]

    def release(self, scenario: Scenario) -> Result:
        """Carry out one release and return how it ended.

        :raises TemporaryError: it did not end in time
        """
        begun = time.monotonic()
        requester = self.client(REQUESTER)
        requester.wait_for_dag(DAG, 90)
        run = requester.trigger(DAG, scenario.form())
        identity = release_id(self.environment, run.run_id, datetime.fromisoformat(run.run_after))
        self.view.begin(identity, scenario.version, scenario.story)
        answered: dict[str, float] = {}
        damaged = not scenario.damage
        look_at_airflow = 0.0
        while run.state in ("queued", "running"):
            if not damaged:
                damaged = self._damage(identity, scenario.damage)
            if time.monotonic() >= look_at_airflow:
                look_at_airflow = time.monotonic() + 0.7
                run = requester.run(run)
                states = requester.task_states(run)
                records = self.ledger.read(identity)
                self.view.show(states, records)
                if states.get("change.approve") == "awaiting_input":
                    self._answer(run, records, answered)
            if time.monotonic() - begun > LONGEST_SECONDS:
                raise TemporaryError(
                    f"release {identity} did not end within {LONGEST_SECONDS:.0f} s; look at its run in "
                    "Airflow with 'make up'"
                )
            time.sleep(0.1 if not damaged else 0.5)
        self.view.show(requester.task_states(run), self.ledger.read(identity))
        result = self._result(scenario, identity, time.monotonic() - begun)
        self.view.end(result.outcome, result.reason)
        return result

    def _answer(self, run: Run, records: Sequence[Record], answered: dict[str, float]) -> None:
        """Let the next person who was asked, and whose vote is not on record, answer.

        Who is still asked after a while answers again, as a person who was told to load the page again would.
        """
        request = self.client(REQUESTER).pending_request(run)
        if request is None:
            return
        asked = {user["id"] for user in request["assigned_users"]}
        voted = {record.subject for record in records if record.type == "vote"}
        for person in APPROVERS:
            if person not in asked - voted:
                continue
            if time.monotonic() - answered.get(person, -PATIENCE_SECONDS) < PATIENCE_SECONDS:
                return
            try:
                self.client(person).approve(run, "Approve", f"read and agreed by {person}")
            except AirlockError as error:  # the request was renewed, or the server is busy: the next look tries again
                self.view.say(f"the answer of {person} was not taken: {error}")
                return
            answered[person] = time.monotonic()
            self.view.say(f"{person} approves")
            time.sleep(2)
            return

    def _damage(self, identity: str, subject: str) -> bool:
        """Flip one byte of the backup of *subject* as soon as it is on record; return whether it was done."""
        record = self.ledger.latest(identity, "recovery_point", subject)
        if record is None:
            return False
        stored = RecoveryPoint.model_validate(record.data["point"]).objects[0]
        path = Path(stored.path.removeprefix("file://"))
        with path.open("r+b") as file:
            file.seek(stored.cipher_bytes // 2)
            byte = file.read(1)
            file.seek(-1, 1)
            file.write(bytes([byte[0] ^ 0xFF]))
        self.view.say(f"sabotage: one byte of {path.name}, the backup of {subject}, was changed in the store")
        return True

    def _result(self, scenario: Scenario, identity: str, seconds: float) -> Result:
        record = self.ledger.latest(identity, "outcome")
        outcome = str(record.data["outcome"]) if record else "unknown"
        reason = str(record.data["why"]) if record else "no outcome is on record; read the task logs"
        pack = pack_path(self.environment.evidence, identity)
        report = verify(pack, trusted_keys.public_keys(self.layout)) if pack.exists() else None
        if report is None or not report.ok:
            reason += "; the evidence pack is missing or does not verify"
        return Result(
            service="shop",
            environment="prod",
            version=scenario.version,
            outcome=outcome,
            reason=reason,
            duration_s=round(seconds, 1),
            evidence=str(pack),
            as_expected=outcome == scenario.expected and report is not None and report.ok,
        )


def _begin_at_the_first_version(layout: Layout) -> None:
    """Forget which versions an earlier demo left installed: 1.1 cannot be released where it runs already."""
    if not stack.running(layout):
        for environment in ENVIRONMENTS:
            shutil.rmtree(layout.host(environment) / "slots", ignore_errors=True)


def write_summary(path: Path, results: list[Result]) -> bool:
    """Write ``summary.json`` and return whether every release ended as it should."""
    ok = len(results) == len(SCENARIOS) and all(result.as_expected for result in results)
    releases = [{key: value for key, value in vars(result).items() if key != "as_expected"} for result in results]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"ok": ok, "releases": releases}, indent=2) + "\n", encoding="utf-8")
    return ok


def run(layout: Layout) -> int:
    """Start the sandbox, take the three releases through it, stop it. Return 0 only if all ended as they should.

    :raises InvalidInput: the sandbox runs already: it is somebody's, and is left alone
    """
    console = Console()
    view = DemoView(console, layout.url("airflow"))
    begun = time.monotonic()
    _begin_at_the_first_version(layout)
    given = stack.start_all(layout, view.say)
    # The service file names the sandbox's ports and ids by these variables; this process reads it too.
    os.environ.update({name: value for name, value in given.items() if name.startswith("AIRLOCK_")})
    view.say(f"the sandbox is up after {time.monotonic() - begun:.0f} s")
    results: list[Result] = []
    try:
        demo = Demo(layout, view)
        for scenario in SCENARIOS:
            results.append(demo.release(scenario))
    except AirlockError as error:
        view.say(f"the demo stopped: {error}")
    finally:
        view.close()
        stack.stop_all(layout, view.say)
    summary = layout.home / "demo" / "summary.json"
    ok = write_summary(summary, results)
    view.table([vars(result) for result in results])
    view.check_with(layout.home / "evidence", layout.trusted_keys, layout.home / "anchor")
    console.print(f"summary: {summary}; logs: {layout.log}; {'all as it should be' if ok else 'NOT as it should be'}",
                  soft_wrap=True)
    return 0 if ok else 1
