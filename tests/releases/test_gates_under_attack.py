"""No permit, no mutation: a logged-in user who does not play by the rules, and a witness who asks only the targets."""

from __future__ import annotations

import contextlib
import copy
import json
import re
import time
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from airlock.deploy.delivery import Delivery, delivery_of
from airlock.errors import PermanentError
from airlock.evidence.ledger import Ledger
from airlock.flow.stages.release import release_id
from airlock.models import Record
from airlock.service.find import ServiceEnvironment, find
from sandbox.airflow_client import AirflowClient, Run
from sandbox.demo import Demo
from sandbox.layout import Layout
from tests.running_sandbox import answer, form, running_sandbox
from tests.shipped_shop import shipped_shop
from tests.target_witness import Witness

pytestmark = [pytest.mark.end_to_end, pytest.mark.timeout(900)]
PATIENCE_SECONDS = 400.0
GATES = ("change.approve", "change.permit", "change.window", "backup.restore_set")


@dataclass
class Services:
    """The service file that the sandbox's Airflow reads, and that a test changes."""

    folder: Path
    document: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        shipped = shipped_shop()
        environments = shipped["environments"]
        prod, staging, live = (copy.deepcopy(environments[name]) for name in ("prod", "staging", "prod"))
        for settings, kept in (
            (prod, ("env_file", "vault", "iam", "manifests", "dns")),
            (staging, ("env_file", "certificate")),
            (live, ("env_file",)),
        ):
            settings["production"] = False
            settings["resources"] = [one for one in settings["resources"] if one["name"] in kept]
            settings.pop("after", None)
            settings.pop("without_kinds", None)
            settings.pop("migrations", None)  # what is migrated must be backed up
        staging["rollout"] |= {"steps": [{"percent": 20 + 4 * n, "observe_seconds": 5} for n in range(14)]}
        live["rollout"] |= {"steps": [{"percent": 10 + 3 * n, "observe_seconds": 5} for n in range(28)]}
        live["rollout"]["on_freeze"] = "roll_back"
        live["approvals"] |= {"valid_hours": 0.2, "timeout_hours": 0.005}
        regular = live["standard_changes"]["regular"] | {"maximum_risk": 100}
        live["standard_changes"] = {"regular": regular}
        source = live["artifact"]["options"]
        source["path"] = source["path"].replace("/artifacts/", "/artifacts-live/")
        shipped["environments"] = {"prod": prod, "staging": staging, "live": live}
        self.document = shipped
        self.write()

    def write(self) -> None:
        self.folder.mkdir(exist_ok=True)
        draft = self.folder / "shop.draft"
        draft.write_text(yaml.safe_dump(self.document, sort_keys=False))
        draft.replace(self.folder / "shop.yaml")

    def environment(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = self.document["environments"][name]
        return found

    def freeze(self, name: str, begin: datetime, seconds: float) -> None:
        """Declare one freeze, instead of those before, and write the file."""
        ends = begin + timedelta(seconds=seconds)
        self.environment(name)["calendar"]["freezes"] = [
            {"name": "inventory", "from": begin.isoformat(), "to": ends.isoformat()}
        ]
        self.write()


@dataclass(frozen=True)
class Attacked:
    """A running sandbox, and what an attacker and a witness need of it."""

    layout: Layout
    services: Services
    demo: Demo
    witness: Witness

    def client(self, user: str) -> AirflowClient:
        return self.demo.client(user)

    def environment(self, name: str) -> ServiceEnvironment:
        return find(self.services.folder, "shop", name)

    def target(self, name: str) -> Delivery:
        return delivery_of(self.environment(name))

    def releases(self, run: Run) -> list[tuple[Record, ...]]:
        """The records of every release of *run*, the first release first."""
        environment = self.environment(run.dag_id.rsplit(".", 1)[-1])
        first = release_id(environment, run.run_id, datetime.fromisoformat(run.run_after))
        ledger = Ledger(environment.ledger, "shop", environment.environment)
        names = [name for name in ledger.releases() if name == first or name.startswith(f"{first}-")]
        return [ledger.read(name) for name in sorted(names, key=lambda name: (len(name), name))]

    def await_tasks(self, run: Run, **wanted: Any) -> dict[str, str]:
        """Wait until each task (``change__approve``) is in one of the states that are given for it."""
        client = self.client("admin")
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            states = client.task_states(run)
            if all(states.get(task.replace("__", ".")) in expected for task, expected in wanted.items()):
                return states
            assert time.monotonic() < deadline, f"{wanted} was not seen in {client.run(run)}: {states}"
            time.sleep(0.3)

    def await_asked(self, run: Run) -> dict[str, Any]:
        """Wait until people are asked; return what they are shown."""
        self.await_tasks(run, change__approve={"awaiting_input"})
        shown = self.client("owner").pending_request(run)
        assert shown is not None
        return dict(shown)

    def agree(self, run: Run) -> None:
        """Let the owner approve."""
        self.answer(run, "Approve", "read and agreed", "vote")

    def answer(self, run: Run, option: str, reason: str, kind: str) -> None:
        """Let the owner answer, until one more record of *kind* tells of it."""
        self.await_asked(run)
        answer(self.client("owner"), run, option, reason, lambda: self._count(run, kind))

    def _count(self, run: Run, kind: str) -> int:
        return sum(one.type == kind for records in self.releases(run) for one in records)

    def await_end(self, run: Run) -> Run:
        client = self.client("admin")
        deadline = time.monotonic() + PATIENCE_SECONDS
        while (run := client.run(run)).state in ("queued", "running"):
            assert time.monotonic() < deadline, f"{run} did not end: {client.task_states(run)}"
            time.sleep(0.5)
        return run

    def refusal(self, run: Run) -> str:
        """Why the newest release of *run* was refused: the first task that found the permit stale, whichever it was."""
        records = self.releases(run)[-1]
        assert not [one for one in records if one.type == "act"]
        return next(str(one.data["message"]) for one in records if one.data.get("error") == "PermitInvalid")

    def await_refused(self, run: Run, **wanted: Any) -> None:
        """Wait until *run* is refused, each task of *wanted* is in one of its states, and Airflow ended the run: what
        is cleared a moment before is forgotten where the scheduler, which knows nothing of it, ends the run."""
        self.await_tasks(run, close__outcome={"failed"}, **wanted)
        assert self.await_end(run).state == "failed"

    def fault(self, run: Run, task: str) -> str:
        """What the newest release of *run* has on record of why *task* stopped."""
        faults = [one for one in self.releases(run)[-1] if one.type == "fault" and one.subject == task]
        assert faults, f"{task} left no fault"
        return str(faults[-1].data["message"])


@pytest.fixture(scope="module")
def attacked(open_folder: Path) -> Iterator[Attacked]:
    services = Services(open_folder / "services")
    with running_sandbox(open_folder, lambda _: {"AIRLOCK_SERVICES": str(services.folder)}) as running:
        layout = running.layout
        (layout.sandbox / "artifacts-live").mkdir()
        for path in layout.artifacts.glob("*.pyz"):
            (layout.sandbox / "artifacts-live" / path.name).write_bytes(path.read_bytes())
        found = Attacked(layout, services, running.demo, Witness(layout))
        for name in ("prod", "staging", "live"):
            found.client("release-manager").wait_for_dag(f"release.shop.{name}", 120)
        yield found


def test_no_gate_that_is_marked_cleared_or_imitated_lets_one_write_reach_a_target(attacked: Attacked) -> None:
    admin, manager = attacked.client("admin"), attacked.client("release-manager")
    before = attacked.witness.see()
    assert len([thing for thing in before if thing.startswith("file ")]) > 20
    imitated = {"permit": {"plan_digest": "sha256:" + "0" * 64}, "votes": [{"person": "owner"}], "requester": "owner"}
    for extra in ({"permit": imitated["permit"]}, {"plan": {}, "approval_request": {}}, imitated):
        try:
            run = manager.trigger("release.shop.prod", {**form("1.1"), **extra})
        except PermanentError as error:
            assert "param" in str(error).lower() or "valid" in str(error).lower()
            continue
        run = attacked.await_end(run)
        assert run.state == "failed"
        assert "unknown field" in attacked.fault(run, "change.validate")
        break
    run = manager.trigger("release.shop.prod", form("1.1"))
    takes = {f"backup__configuration__{name}__take": {"failed"} for name in ("env_file", "vault")}
    for gate, refuses in (
        ("backup.restore_set", {"deploy__migrate": {"failed"}}),
        ("change.window", takes),
        ("change.permit", {"change__window": {"failed"}}),
        ("change.approve", {"change__permit": {"failed"}}),
    ):
        attacked.await_asked(run)
        admin.set_state(run, gate, "success")
        attacked.await_tasks(run, close__outcome={"failed"}, **refuses)
        if gate == "change.approve":  # else people are still asked, and the run goes on
            attacked.await_end(run)
        assert attacked.witness.since(before) == [], gate
        admin.clear(run, ["change.approve"], downstream=True)
    attacked.await_asked(run)
    for task in ("deploy.validate", "deploy.canary", "deploy.stage", *reversed(GATES)):
        admin.set_state(run, task, "success")
    attacked.await_refused(run, **takes)
    assert "no permit" in attacked.fault(run, "backup.configuration.vault.take")
    orders = (
        ("deploy.promote", "deploy.canary", "change.window"),
        ("deploy.bake", "deploy.stage", "backup.restore_set", "change.permit"),
        ("change.assess", "change.validate"),
    )
    for tasks in orders:
        admin.clear(run, tasks)
        assert attacked.await_end(run).state == "failed"
    admin.clear(run, ["change.validate"], downstream=True)
    attacked.await_asked(run)
    admin.set_run_state(run, "success")
    assert attacked.await_end(run).state == "success"
    assert attacked.witness.since(before) == []
    assert not [one for records in attacked.releases(run) for one in records if one.type in ("act", "permit")]


def test_a_changed_plan_is_refused_shown_as_a_difference_and_goes_on_when_it_is_approved_again(
    attacked: Attacked,
) -> None:
    admin, manager = attacked.client("admin"), attacked.client("release-manager")
    services = attacked.services
    # Beside: a release whose freeze begins while its canary runs, and whose plan says to roll back.
    services.freeze("live", datetime.now(UTC) + timedelta(seconds=150), 3600)
    live = manager.trigger("release.shop.live", {"version": "1.1", "change_type": "standard"})
    run = manager.trigger("release.shop.staging", form("1.1"))
    attacked.await_asked(run)
    before = {**attacked.witness.see()}
    staging = services.environment("staging")
    attacked.agree(run)
    staging["analysis"]["minimum_requests"] = 31
    services.write()
    attacked.await_refused(run)
    refused = attacked.refusal(run)
    assert "stale" in refused
    assert "analysis.minimum_requests: 30 -> 31" in refused
    assert "clear the task change.approve" in refused
    admin.clear(run, ["change.approve"], downstream=True)
    shown = attacked.await_asked(run)
    assert "minimum\\_requests\\: 30 \\-\\> 31" in shown["body"]
    assert "Everything else is as approved" in shown["body"]
    assert form("1.1")["rollback_plan"] not in shown["body"]
    attacked.agree(run)
    artifact = attacked.layout.artifacts / "shop-1.1.pyz"
    with zipfile.ZipFile(artifact, "a") as archive:
        archive.writestr("note.txt", "the same version, other content")
    services.freeze("staging", datetime.now(UTC) + timedelta(days=300), 3600)
    attacked.await_refused(run)
    refused = attacked.refusal(run)
    assert "artifact.digest: " in refused
    assert "calendar.freezes" in refused
    assert not [line for line in attacked.witness.since(before) if "staging" in line]
    begin = datetime.now(UTC) + timedelta(seconds=70)
    services.freeze("staging", begin, 40)
    admin.clear(run, ["change.approve"], downstream=True)
    shown = attacked.await_asked(run)
    assert "artifact\\.digest" in shown["body"]
    assert "minimum" not in shown["body"]
    attacked.agree(run)
    run = attacked.await_end(run)
    records = attacked.releases(run)[-1]
    outcome = next(one for one in records if one.type == "outcome")
    assert (run.state, outcome.data["outcome"]) == ("success", "promoted"), outcome.data
    assert attacked.target("staging").inspect().stable == "1.1"
    _held(records, begin, begin + timedelta(seconds=40))
    _went_back(attacked, live)


def _held(records: tuple[Record, ...], begin: datetime, end: datetime) -> None:
    acts = [one for one in records if one.type == "act" and one.subject in ("shift", "promote")]
    assert not [one for one in acts if begin <= one.at < end], "the freeze was not obeyed"
    assert acts[-1].at > end
    # On a machine so slow that the freeze is over before the canary begins, there is nothing to hold.
    assert acts[0].at > end or [one for one in records if one.type == "hold"]
    assert not [one for one in records if one.type in ("retry", "fault")], "a freeze uses up no retry"


def _went_back(attacked: Attacked, live: Run) -> None:
    live = attacked.await_end(live)
    records = attacked.releases(live)[-1]
    outcome = next(one for one in records if one.type == "outcome")
    assert outcome.data["outcome"] == "rolled_back", outcome.data
    assert "the plan says roll back" in outcome.data["why"]
    assert attacked.target("live").inspect().weight_of("1.0") == 100
    assert [one for one in records if one.type == "act"]


def test_strangers_and_the_requester_cannot_answer_nor_can_an_answer_be_forged(attacked: Attacked) -> None:
    manager = attacked.client("release-manager")
    version = "1.0" if attacked.target("live").inspect().stable == "1.1" else "1.1"
    unanswered = manager.trigger("release.shop.live", form(version))
    run = manager.trigger("release.shop.prod", form("1.1"))
    shown = attacked.await_asked(run)
    assert form("1.1")["reason"] not in json.dumps(shown["params"])
    for stranger in ("release-manager", "viewer", "board-1"):
        with pytest.raises(PermanentError, match="403"):
            attacked.client(stranger).approve(run, "Approve", "let me")
    owner = attacked.client("owner")
    with pytest.raises(PermanentError, match="400"):
        owner.approve(run, "Approve and skip the proof", "a new option")
    # A rejection without a reason is refused and asked again; the answer before cannot be repeated.
    attacked.answer(run, "Reject", "", "vote_refused")
    attacked.answer(run, "Reject", "not on a Sunday", "vote")
    try:
        owner.approve(run, "Approve", "second thoughts")
    except PermanentError as error:
        assert re.search("40[49]", str(error))
    else:
        told = [(one.type, one.subject, one.at.isoformat()) for one in attacked.releases(run)[-1]]
        pytest.fail(f"taken, with {owner.task_states(run)}; {told}; {owner.log(run, 'change.approve')}")
    run = attacked.await_end(run)
    outcome = next(one for one in attacked.releases(run)[-1] if one.type == "outcome")
    assert (run.state, outcome.data["outcome"]) == ("failed", "refused")
    assert "not on a Sunday" in outcome.data["why"]
    _silence_is_not_consent(attacked, unanswered)


def _silence_is_not_consent(attacked: Attacked, run: Run) -> None:
    run = attacked.await_end(run)
    for person in ("owner", "board-1"):
        with contextlib.suppress(PermanentError):
            attacked.client(person).approve(run, "Approve", "sorry, I was away")
    outcome = next(one for one in attacked.releases(run)[-1] if one.type == "outcome")
    assert "nobody decided within 0.005 h" in outcome.data["why"]
    assert attacked.client("admin").run(run).state == "failed"
    assert not [one for records in attacked.releases(run) for one in records if one.type in ("vote", "permit", "act")]
