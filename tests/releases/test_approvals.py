"""In a real Airflow: time runs out and another group decides; two services want the same database."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from airlock.errors import PermanentError
from airlock.evidence.ledger import Ledger
from airlock.flow.stages.release import release_id
from airlock.models import Record
from airlock.recompute.release import recompute
from airlock.service.find import find
from sandbox.airflow_client import Run
from tests.running_sandbox import Running, answer, form, running_sandbox
from tests.shipped_shop import shipped_shop

pytestmark = [pytest.mark.end_to_end, pytest.mark.timeout(900)]
PATIENCE_SECONDS = 400.0


def services(folder: Path) -> Path:
    """Write two services whose releases touch the same database, one of which has little patience."""
    shop = shipped_shop()
    staging, other = (copy.deepcopy(shop["environments"][name]) for name in ("staging", "prod"))
    for settings in (staging, other):
        settings["production"] = False
        for name in ("after", "without_kinds", "migrations"):
            settings.pop(name, None)
        for name in ("schedule", "drills", "retention"):
            settings["backup"].pop(name, None)
        settings["standard_changes"]["regular"]["maximum_risk"] = 100
    staging["resources"] = [one for one in staging["resources"] if one["name"] in ("shop_db", "env_file")]
    own = next(one for one in other["resources"] if one["name"] == "env_file")
    shared = next(one for one in staging["resources"] if one["name"] == "shop_db")
    other["resources"] = [own, {**shared, "name": "orders"}]
    both = {"service_owner": 1, "change_advisory_board": 1}
    other["approvals"] = dict.fromkeys(("low", "medium", "high"), both)
    staging["approvals"] |= {"timeout_hours": 0.015, "reminder_hours": [0.01],
                             "escalation": {"seats": {"change_advisory_board": 1}, "timeout_hours": 1}}
    folder.mkdir()
    for name, environments in (("shop", {"staging": staging}), ("till", {"counter": other})):
        document = {**shop, "service": name, "environments": environments}
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(document, sort_keys=False))
    return folder


@pytest.fixture(scope="module")
def running(open_folder: Path) -> Iterator[Running]:
    folder = services(open_folder / "services")
    with running_sandbox(open_folder, lambda _: {"AIRLOCK_SERVICES": str(folder)}) as found:
        for dag_id in ("release.shop.staging", "release.till.counter"):
            found.demo.client("release-manager").wait_for_dag(dag_id, 120)
        yield found


def records(running: Running, run: Run) -> tuple[Record, ...]:
    _, service, name = run.dag_id.split(".")
    environment = find(running.given["AIRLOCK_SERVICES"], service, name)
    identity = release_id(environment, run.run_id, datetime.fromisoformat(run.run_after))
    return Ledger(environment.ledger, service, name).read(identity)


def of(running: Running, run: Run, kind: str) -> list[dict[str, Any]]:
    return [dict(one.data) for one in records(running, run) if one.type == kind]


def wait_for(what: str, is_so: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not (found := is_so()):
        assert time.monotonic() < deadline, f"{what} was not seen"
        time.sleep(0.5)
    return found


def test_answers_given_at_once_are_each_taken_and_told_to_whoever_is_asked_next(running: Running) -> None:
    """Each person answers once, as soon as the request can be seen: mostly while the task still ends its try."""
    manager, owner, board = (running.demo.client(name) for name in ("release-manager", "owner", "board-1"))
    # Another content than the releases below: what people rejected is carried by no standard change.
    run = manager.trigger("release.till.counter", {**form("1.2"), "title": "Many answers"})

    def answers() -> int:
        return len(of(running, run, "vote")) + len(of(running, run, "vote_refused"))

    answer(owner, run, "Reject", "", answers)
    answer(owner, run, "Approve", "now I have a reason to agree", answers)
    answer(owner, run, "Approve", "once more", answers)
    shown = wait_for("the request", lambda: board.pending_request(run))["body"]
    assert "Only these may answer" in shown and "owner" in shown
    assert "It does not count" in shown and "rejected without a reason" in shown
    assert shown.count("It fills a seat of service\\_owner") == shown.count("A second answer fills no second seat") == 1
    assert "change\\_advisory\\_board lacks 1 of 1" in shown
    answer(board, run, "Reject", "not today", answers)
    assert outcome(running, run)["outcome"] == "refused"
    assert [one["vote"]["choice"] for one in of(running, run, "vote")] == ["approve", "approve", "reject"]
    assert [one["vote"]["choice"] for one in of(running, run, "vote_refused")] == ["reject"]
    with pytest.raises(PermanentError, match="409"):
        board.approve(run, "Approve", "too late")


def test_time_runs_out_another_group_decides_and_a_second_release_waits_for_the_database(running: Running) -> None:
    manager = running.demo.client("release-manager")
    first = manager.trigger("release.shop.staging", form("1.1"))
    wait_for("the reminder", lambda: of(running, first, "reminder"))
    wait_for("the escalation", lambda: of(running, first, "escalation"))
    board = running.demo.client("board-1")
    shown = wait_for("the escalated request", lambda: asked_as_escalated(board, first))
    assert "change\\_advisory\\_board" in shown["body"]
    assert "Conflicts" in shown["body"]
    answer(board, first, "Approve", "the owner is away, I have read it", lambda: len(of(running, first, "vote")))
    wait_for("the first release's start", lambda: of(running, first, "hold_resources"))
    second = manager.trigger("release.till.counter", {"version": "1.1", "change_type": "standard",
                                                      "template": "regular"})
    conflict = wait_for("the conflict", lambda: of(running, second, "conflict"))[0]
    assert conflict["code"] == "conflict"
    (found,) = conflict["found"]
    assert (found["service"], found["state"]) == ("shop", "under way")
    assert [one.rpartition("/")[2] for one in found["shared"]] == ["shop_staging"]
    assert conflict["slots"]
    outcomes = [outcome(running, run) for run in (first, second)]
    assert [one["outcome"] for one in outcomes] == ["promoted", "promoted"], outcomes
    begun = next(one.at for one in records(running, second) if one.type == "hold_resources")
    sealed = next(one.at for one in records(running, first) if one.type == "outcome")
    assert begun > sealed, "the second release began before the first one ended"
    check_packs(running)


def asked_as_escalated(board: Any, run: Run) -> Any:
    shown = board.pending_request(run)
    return shown if shown is not None and shown["subject"].startswith("Escalated: ") else None


def outcome(running: Running, run: Run) -> dict[str, Any]:
    client = running.demo.client("admin")
    wait_for(f"the end of {run.dag_id}", lambda: client.run(run).state not in ("queued", "running"))
    return of(running, run, "outcome")[-1]


def check_packs(running: Running) -> None:
    """Everything that was decided is decided again from the packs alone."""
    packs = sorted((running.layout.home / "evidence").glob("*.zip"))
    assert len(packs) == 3
    seen = set()
    for pack in packs:
        found = recompute(pack, any_signer=True)
        assert found.ok, list(found.differing) or found.problems
        seen |= {one.decision for one in found.decisions}
    assert {"reminder", "escalation", "conflicts", "resources held", "vote counts"} <= seen
