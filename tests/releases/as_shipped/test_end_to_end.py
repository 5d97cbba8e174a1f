"""Whole releases in a real Airflow, on all servers of the sandbox: what the demo shows, and what must be refused."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from airlock.change.text import escape
from airlock.deploy.delivery import Delivery, delivery_of
from airlock.errors import PermanentError
from airlock.evidence.ledger import Ledger
from airlock.evidence.pack import verify
from airlock.flow.stages.release import release_id
from airlock.models import Kind, Record
from airlock.recompute.release import recompute
from airlock.service.find import ServiceEnvironment, find
from airlock.signing import Signer
from sandbox import credentials
from sandbox.airflow_client import AirflowClient, Run
from sandbox.demo import SCENARIOS, Demo, Scenario
from sandbox.layout import Layout
from tests.releases.as_shipped import planted
from tests.running_sandbox import Running, answer, form

pytestmark = [pytest.mark.end_to_end, pytest.mark.timeout(900)]
ROOT = Path(__file__).resolve().parents[3]
STAGING = "release.shop.staging"
PUBLIC = ("ledger", "evidence", "anchor")
"""Folders below the sandbox's home whose content auditors and on-call read."""


@dataclass(frozen=True)
class Sandbox:
    """A running sandbox."""

    layout: Layout
    demo: Demo
    early: Run
    given: Mapping[str, str]
    planted: Mapping[str, str]
    command_lines: planted.CommandLines
    earlier: int
    """How many releases of production other modules made before."""

    def environment(self, name: str) -> ServiceEnvironment:
        return find(ROOT / "include" / "services", "shop", name)

    def target(self, name: str) -> Delivery:
        return delivery_of(self.environment(name))

    def wait(self, client: AirflowClient, run: Run, seconds: float = 300) -> Run:
        deadline = time.monotonic() + seconds
        while run.state in ("queued", "running"):
            assert time.monotonic() < deadline, f"{run} did not end: {client.task_states(run)}"
            time.sleep(0.5)
            run = client.run(run)
        return run

    def wait_for(self, client: AirflowClient, run: Run, task: str, state: str) -> None:
        deadline = time.monotonic() + 300
        while (states := client.task_states(run)).get(task) != state:
            assert time.monotonic() < deadline, f"{task} never was {state}: {states}"
            time.sleep(0.3)

    def records(self, run: Run) -> tuple[Record, ...]:
        environment = self.environment(run.dag_id.rsplit(".", 1)[-1])
        name = release_id(environment, run.run_id, datetime.fromisoformat(run.run_after))
        return Ledger(environment.ledger, "shop", environment.environment).read(name)

    def count(self, run: Run, kind: str) -> int:
        return sum(record.type == kind for record in self.records(run))

    def outcome(self, run: Run) -> tuple[str, str]:
        record = next(record for record in self.records(run) if record.type == "outcome")
        return record.data["outcome"], record.data["why"]


@pytest.fixture(scope="module")
def sandbox(shipped_sandbox: Running) -> Sandbox:
    layout, demo, given = shipped_sandbox.layout, shipped_sandbox.demo, shipped_sandbox.given
    requester = demo.client("release-manager")
    requester.wait_for_dag(STAGING, 120)
    # A standard change needs nobody: it goes its way while the releases of production are tested.
    early = requester.trigger(STAGING, {"version": "1.1", "change_type": "standard"})
    earlier = len(demo.ledger.releases())
    return Sandbox(layout, demo, early, given, planted.plant(layout, given), planted.CommandLines(), earlier)


@pytest.mark.parametrize("scenario", [
    pytest.param(SCENARIOS[0], id="promoted", marks=pytest.mark.one_release),
    pytest.param(SCENARIOS[1], id="rolled back"),
    pytest.param(SCENARIOS[2], id="refused"),
])
def test_a_release_of_the_demo_ends_as_it_should(sandbox: Sandbox, scenario: Scenario) -> None:
    result = sandbox.demo.release(scenario)
    assert result.outcome == scenario.expected, result.reason
    state = sandbox.target("prod").inspect()
    assert (state.stable, state.weight_of("1.1")) == ("1.1", 100)
    assert [version.version for version in state.versions if version.running] == ["1.1"]
    scratch = Path(sandbox.environment("prod").backup.scratch)
    assert not [path for path in scratch.glob("*") if path.is_dir() and any(path.iterdir())]
    public = Signer.from_pem(credentials.load(sandbox.layout.sandbox).signing_key).public_pem
    assert verify(result.evidence, (public,)).problems == ()
    again = recompute(result.evidence, (public,))
    assert (again.problems, again.differing) == ((), ())
    assert len(again.decisions) > 20
    if scenario.damage:
        assert scenario.damage in result.reason


def test_every_kind_was_taken_and_proved(sandbox: Sandbox) -> None:
    environment = sandbox.environment("prod")
    ledger = Ledger(environment.ledger, "shop", "prod")
    records = ledger.read(ledger.releases()[sandbox.earlier])
    proofs = [record.data["proof"] for record in records if record.type == "proof"]
    assert {proof["kind"] for proof in proofs} == {kind.value for kind in Kind}
    assert len(proofs) == len(environment.resources)
    assert all(proof["ok"] and proof["checks"] for proof in proofs)


def test_high_risk_needs_the_board_and_the_requester_never_votes(sandbox: Sandbox) -> None:
    environment = sandbox.environment("prod")
    ledger = Ledger(environment.ledger, "shop", "prod")
    records = ledger.read(ledger.releases()[sandbox.earlier + 1])
    votes = [record.data["vote"]["person"] for record in records if record.type == "vote"]
    assert "owner" in votes
    assert len({person for person in votes if person.startswith("board-")}) == 2
    requests = [record.data["eligible"] for record in records if record.type == "approval_request"]
    assert requests and "release-manager" not in requests[0]


def test_a_standard_change_passes_by_written_policy(sandbox: Sandbox) -> None:
    client = sandbox.demo.client("release-manager")
    run = sandbox.wait(client, sandbox.early)
    assert (run.state, sandbox.outcome(run)[0]) == ("success", "promoted")
    assert not [record for record in sandbox.records(run) if record.type == "vote"]
    assert sandbox.target("staging").inspect().stable == "1.1"


@pytest.mark.parametrize(
    ("answers", "sentence"),
    [
        (form("9.9"), "9.9"),
        (form("1.1"), "nothing to release"),
        (form("1.2", title="Approved \u202eby all"), "title: contains an invisible or direction character"),
        (form("1.2", permit={"votes": [[["deep"]]]}, start_after="0001-01-01T00:00:00+14:00"), "permit: unknown field"),
        (form("../../etc/passwd"), "version"),
        (form("1.2", rollback_plan=""), "ollback"),
        (form("1.2", change_type="emergency"), "ncident"),
    ],
    ids=["unknown version", "stable already", "direction", "unknown field", "path", "no way back", "no incident"],
)
def test_a_wrong_request_is_refused_in_a_sentence(sandbox: Sandbox, answers: dict[str, Any], sentence: str) -> None:
    client = sandbox.demo.client("release-manager")
    before = sandbox.target("staging").inspect()
    try:
        run = client.trigger(STAGING, answers)
    except PermanentError as error:  # the form's own schema says no
        assert sentence in str(error)
        return
    run = sandbox.wait(client, run)
    outcome, why = sandbox.outcome(run)
    assert (run.state, outcome) == ("failed", "refused")
    assert sentence in why
    assert sandbox.target("staging").inspect() == before


def test_a_rejection_ends_it_and_strangers_cannot_answer(sandbox: Sandbox) -> None:
    client = sandbox.demo.client("release-manager")
    template = "{{ conn.shop_vault.password }} {% raw %} ${AIRLOCK_HOME} %(x)s {version}"
    markup = "<img src=x> [approve](https://evil.example) https://evil.example"
    run = client.trigger(STAGING, form("1.2", title=template, reason=markup))
    sandbox.wait_for(client, run, "change.approve", "awaiting_input")
    request = client.pending_request(run)
    assert request is not None
    quoted = [f"> {escape(text)}" for text in (template, markup)]
    assert [line for line in request["body"].splitlines() if line in quoted] == quoted, "shown as typed, and inert"
    assert markup not in json.dumps(request["params"]), "an approver must find the reason empty"
    for stranger in ("release-manager", "viewer", "board-1"):
        with pytest.raises(PermanentError, match="403"):
            sandbox.demo.client(stranger).approve(run, "Approve", "let me")
    answer(sandbox.demo.client("owner"), run, "Reject", "not on a Sunday", lambda: sandbox.count(run, "vote"))
    run = sandbox.wait(client, run)
    outcome, why = sandbox.outcome(run)
    assert outcome == "refused"
    assert "not on a Sunday" in why
    assert not [record for record in sandbox.records(run) if record.type in ("permit", "act")]


def test_marking_gates_as_success_by_hand_changes_nothing(sandbox: Sandbox) -> None:
    client = sandbox.demo.client("admin")
    before = sandbox.target("staging").inspect()
    run = client.trigger(STAGING, form("1.2", reason="Somebody is in a hurry."))
    sandbox.wait_for(client, run, "change.approve", "awaiting_input")
    client.set_state(run, "change.approve", "success")
    sandbox.wait_for(client, run, "change.permit", "failed")
    run = sandbox.wait(client, run)
    outcome, why = sandbox.outcome(run)
    assert (run.state, outcome) == ("failed", "refused")
    assert "do not carry the plan" in why
    assert sandbox.target("staging").inspect() == before


def test_no_secret_is_left_anywhere(sandbox: Sandbox) -> None:
    layout = sandbox.layout
    secrets = {**sandbox.planted, **planted.held_secrets(layout, sandbox.given)}
    assert len(secrets) > 30
    for offset in range(4):
        hidden = base64.b64encode(b"?" * offset + secrets["vault"].encode() + b"?")
        assert planted.leaks(secrets, "here", b"x" + hidden) == ["vault in here"], "it would be seen"
    found: list[str] = []
    searched = 0
    for folder in (layout.airflow_home / "logs", layout.log, *(layout.home / name for name in PUBLIC)):
        for name, data in planted.pieces(folder):
            searched += 1
            found += planted.leaks(secrets, name, data)
    dump = planted.database_dump(layout)
    for table in ("task_state_store", "serialized_dag", "hitl_detail"):
        assert f"INSERT INTO public.{table} ".encode() in dump, f"{table} is not in the dump"
    # The tasks render no templates and leave no values there, so these may be empty.
    for table in ("xcom", "rendered_task_instance_fields"):
        assert f"CREATE TABLE public.{table} ".encode() in dump, f"{table} is not in the dump"
    found += planted.leaks(secrets, "Airflow's database", dump)
    lines = sandbox.command_lines.stop()
    assert b"pg_dump" in lines and b"airflow" in lines, "the watch saw the release's processes"
    found += planted.leaks(secrets, "a command line", lines)
    assert found == []
    assert searched > 200


def own_lines(log: Path) -> list[dict[str, Any]]:
    """What tasks said themselves, without what Airflow and its libraries say."""
    lines = [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]
    return [line for line in lines if str(line.get("logger", "")).startswith("airlock")]


def test_a_task_that_stops_says_so_last_and_without_a_stack_trace(sandbox: Sandbox) -> None:
    logs, stopped = sandbox.layout.airflow_home / "logs", 0
    for log in logs.glob("dag_id=release.*/run_id=*/task_id=*/attempt=*.log"):
        lines = [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]
        said = [str(line.get("event")) for line in lines]
        assert "Task failed with exception" not in said, log
        if any(": stopped: " in line for line in said):
            stopped += 1
            assert not [line for line in lines if line.get("error_detail") or "Traceback" in str(line)], log
            assert ": stopped: " in [line for line in said if not line.startswith("::")][-1], log
    assert stopped >= 3


def test_a_release_says_one_line_for_each_proof_and_none_for_what_went_as_it_should(sandbox: Sandbox) -> None:
    logs = sandbox.layout.airflow_home / "logs"
    first = sorted(logs.glob("dag_id=release.shop.prod/run_id=*"))[0]
    lines = [line for log in first.glob("task_id=*/attempt=*.log") for line in own_lines(log)]
    said = [str(line["event"]) for line in lines]
    assert not [line for line in said if line.startswith("ok ") or "permitted by plan" in line]
    proved = [line for line in said if ": proved in " in line]
    assert len(proved) == len(sandbox.environment("prod").resources)
    assert len(said) < 250, f"{len(said)} lines"


def test_task_logs_tell_on_call_what_was_done_and_what_comes_next(sandbox: Sandbox) -> None:
    logs = sandbox.layout.airflow_home / "logs"
    first = sorted(logs.glob("dag_id=release.shop.prod/run_id=*"))[0]

    def events(task: str) -> str:
        lines = (first / f"task_id={task}" / "attempt=1.log").read_text().splitlines()
        return "\n".join(str(json.loads(line).get("event")) for line in lines)

    assert "next: assess the risk" in events("change.validate")
    assert "risk factor" in events("change.assess")
    assert "proved" in events("backup.databases.shop_db.prove")
    assert "1.0 95 %" in events("deploy.canary")
    assert "PROMOTED" in events("close.outcome")
