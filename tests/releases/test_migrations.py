"""Two releases in a real Airflow that change the shop's database: one that can be taken back, and one that cannot."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest
import yaml

from airlock.deploy.delivery import delivery_of
from airlock.errors import AirlockError
from airlock.evidence.ledger import Ledger
from airlock.flow.stages.release import release_id
from airlock.models import Record
from airlock.recompute.release import recompute
from airlock.service.find import ServiceEnvironment, find
from airlock.signing import Signer
from sandbox import credentials, postgres
from sandbox.airflow_client import Run
from sandbox.demo import EASY
from sandbox.layout import Layout
from tests.running_sandbox import ROOT, Running, running_sandbox
from tests.shipped_shop import shipped_shop

pytestmark = [pytest.mark.end_to_end, pytest.mark.timeout(900)]
DAG = "release.shop.staging"
ANALYSIS = {
    "minimum_requests": 20, "latency_floor_ms": 2000, "look_every_seconds": 1, "silent_looks": 2, "extend_looks": 3,
    "hold_looks": 1, "hold_every_seconds": 2,
}  # fmt: skip
ROLLOUT = {"steps": [{"percent": 50, "observe_seconds": 3}], "bake_seconds": 3}


@dataclass(frozen=True)
class Landed:
    """How one release ended: its records, what approvers read, its log lines by task, and its pack."""

    records: tuple[Record, ...]
    asked: str
    logs: Mapping[str, str]
    pack: Path

    def data(self, kind: str) -> list[Mapping[str, Any]]:
        return [one.data for one in self.records if one.type == kind]


class Shop:
    """The shop's staging, with two resources to back up."""

    def __init__(self, running: Running, services: Path) -> None:
        self.layout, self.demo = running.layout, running.demo
        self.environment: ServiceEnvironment = find(services, "shop", "staging")
        self.ledger = Ledger(self.environment.ledger, "shop", "staging")

    def release(self, version: str) -> Landed:
        form = {"version": version, "change_type": "normal", "category": "database_schema", "title": "A schema change",
                "reason": "It is shown end to end.", "impact": "low", "rollback_plan": "Traffic goes back.",
                **EASY}  # fmt: skip
        manager = self.demo.client("release-manager")
        manager.wait_for_dag(DAG, 200)
        run = manager.trigger(DAG, form)
        asked, limit = "", time.monotonic() + 600
        while run.state in ("queued", "running"):
            assert time.monotonic() < limit, f"{run} did not end: {manager.task_states(run)}"
            if manager.task_states(run).get("change.approve") == "awaiting_input":
                asked = self._approve(run) or asked
            time.sleep(1)
            run = manager.run(run)
        identity = release_id(self.environment, run.run_id, datetime.fromisoformat(run.run_after))
        pack = Path(self.environment.evidence) / f"{identity}.zip"
        return Landed(self.ledger.read(identity), asked, self._logs(run), pack)

    def _approve(self, run: Run) -> str:
        request = self.demo.client("release-manager").pending_request(run)
        if request is None:
            return ""
        with suppress(AirlockError):  # the server was busy: the next look tries again
            self.demo.client("owner").approve(run, "Approve", "read, with its verdict")
        return str(request["body"])

    def _logs(self, run: Run) -> dict[str, str]:
        folder = self.layout.airflow_home / "logs" / f"dag_id={run.dag_id}" / f"run_id={run.run_id}"
        found = {}
        for path in folder.glob("task_id=*"):
            lines = [line for log in sorted(path.glob("*.log")) for line in log.read_text().splitlines()]
            found[path.name.removeprefix("task_id=")] = "\n".join(str(json.loads(line).get("event")) for line in lines)
        return found

    @contextmanager
    def traffic(self) -> Iterator[None]:
        command = [sys.executable, "-m", "sandbox.traffic", f"{self.layout.url('envoy_staging')}=40"]
        with subprocess.Popen(command, cwd=ROOT / "include", stderr=subprocess.DEVNULL) as process:
            try:
                yield
            finally:
                process.terminate()

    def columns(self, table: str) -> set[str]:
        held = credentials.load(self.layout.sandbox)
        url = f"postgresql://{postgres.ADMIN}:{held.postgres}@127.0.0.1:{self.layout.port('postgres')}/shop_staging"
        with psycopg.connect(url) as session:
            rows = session.execute("SELECT column_name FROM information_schema.columns WHERE table_name = %s", [table])
            return {row[0] for row in rows}


def write_services(folder: Path) -> None:
    whole = shipped_shop()
    staging = whole["environments"]["staging"]
    staging["resources"] = [one for one in staging["resources"] if one["name"] in ("shop_db", "env_file")]
    staging.pop("without_kinds", None)
    whole["environments"] = {"staging": {**staging, "analysis": ANALYSIS, "rollout": ROLLOUT}}
    folder.mkdir()
    (folder / "shop.yaml").write_text(yaml.safe_dump(whole))


@dataclass(frozen=True)
class Seen:
    shop: Shop
    reversible: Landed
    irreversible: Landed


@pytest.fixture(scope="module")
def seen(open_folder: Path) -> Iterator[Seen]:
    services = open_folder / "services"

    def prepare(_: Layout) -> Mapping[str, str]:
        write_services(services)
        return {"AIRLOCK_SERVICES": str(services)}

    with running_sandbox(open_folder, prepare, listeners=()) as running:
        shop = Shop(running, services)
        with shop.traffic():
            first = shop.release("1.5")
        # Without traffic the canary is never judged: the release goes back.
        yield Seen(shop, first, shop.release("1.6"))


def test_a_reversible_migration_runs_under_the_permit_and_its_version_is_promoted(seen: Seen) -> None:
    found = seen.reversible
    assert found.data("outcome")[-1]["outcome"] == "promoted", found.data("outcome")
    assert "gift_note" in seen.shop.columns("orders")
    assert {"code", "order_id", "cents"} == seen.shop.columns("gift_cards")
    order = [(one.type, one.subject) for one in found.records]
    assert order.index(("permit", "")) < order.index(("restore_set", "")) < order.index(("act", "migrate"))
    assert order.index(("migrated", "0002_index_order_state")) < order.index(("act", "stage"))
    assert "Way back: reversible" in found.asked
    assert "they are undone" in found.asked


def test_an_irreversible_one_leaves_the_data_to_people_when_the_release_goes_back(seen: Seen) -> None:
    found = seen.irreversible
    outcome = found.data("outcome")[-1]
    assert outcome["outcome"] == "rolled_back"
    assert "a human decides about the data of shop_db" in outcome["why"]
    assert "created_at" not in seen.shop.columns("customers")
    assert delivery_of(seen.shop.environment).inspect().stable == "1.5"
    assert "Way back: NEEDS A RESTORE" in found.asked
    assert "The automatic rollback of this data is switched off" in found.asked
    scores = [one.data("plan")[-1]["plan"]["risk"]["score"] for one in (seen.reversible, found)]
    assert scores[0] < scores[1]


def test_on_call_reads_what_was_done_and_what_comes_next(seen: Seen) -> None:
    good, bad = seen.reversible.logs, seen.irreversible.logs
    assert "way back: REVERSIBLE" in good["change.assess"]
    assert "migration 0001_add_gift_note" in good["deploy.migrate"]
    assert "shop_staging: 2 migration(s) applied; next: stage the new version" in good["deploy.migrate"]
    assert "drops column customers.created_at" in bad["change.assess"]
    assert "a human decides about the data of shop_db" in bad["deploy.rollback.data"]
    assert "a human decides about the data of shop_db" in bad["close.outcome"]
    password = credentials.load(seen.shop.layout.sandbox).shop_owner
    assert not [task for logs in (good, bad) for task, text in logs.items() if password in text]


def test_the_evidence_gives_every_decision_again(seen: Seen) -> None:
    public = Signer.from_pem(credentials.load(seen.shop.layout.sandbox).signing_key).public_pem
    for landed in (seen.reversible, seen.irreversible):
        again = recompute(landed.pack, [public])
        assert again.ok, again.differing
        assert "way back" in {one.decision for one in again.decisions}
