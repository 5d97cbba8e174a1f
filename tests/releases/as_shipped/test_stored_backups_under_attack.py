"""One release whose stored backups are damaged, of each of the ten kinds, between take and prove: it is refused."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import boto3
import hvac
import psycopg
import pytest
from upath import UPath

from airlock.backup.run import open_driver, take
from airlock.backup.store import BackupStore
from airlock.connections import connection
from airlock.evidence.ledger import Ledger
from airlock.evidence.pack import verify
from airlock.flow.stages.release import release_id
from airlock.models import Kind, Record, RecoveryPoint
from airlock.service.find import ServiceEnvironment
from airlock.signing import Signer
from sandbox import credentials, postgres, reach
from sandbox.demo import EASY
from tests.contracts import backup_attacks as attacks
from tests.contracts.backup_attacks import Scene
from tests.running_sandbox import Running

pytestmark = [pytest.mark.end_to_end, pytest.mark.timeout(900)]
DAG = "release.shop.prod"
ATTACKED: dict[str, Callable[[Scene], str]] = {
    "databases.shop_db": attacks.encrypted_anew,
    "configuration.env_file": attacks.replayed_whole,
    "iac_state.terraform": attacks.truncated,
    "artifacts.running_version": attacks.replayed_streams,
    "logs.logs": attacks.swapped_with_another_resource,
    "security.certificate": attacks.metadata_altered,
    "storage.uploads": attacks.replica_flipped,
    "kubernetes.manifests": attacks.deleted,
    "cicd.pipeline": attacks.flipped,
    "network.dns": attacks.deleted_in_both_places,
}
UNHARMED = {"configuration.vault", "security.iam", "network.load_balancer"}
OLDER = ("configuration.env_file", "artifacts.running_version")


@dataclass(frozen=True)
class Attacked:
    """The release after its end, and what the servers said of themselves before and after it."""

    running: Running
    environment: ServiceEnvironment
    name: str
    words: dict[str, str]
    states: dict[str, str]
    logs: Path
    before: dict[str, Any]
    after: dict[str, Any]

    def records(self, kind: str) -> list[Record]:
        return [record for record in Ledger(self.environment.ledger, "shop", "prod").read(self.name)
                if record.type == kind]  # fmt: skip


class Saboteur(threading.Thread):
    """Damages each backup as soon as it is on record, which is before its proof is even scheduled."""

    def __init__(self, environment: ServiceEnvironment, store: BackupStore, older: dict[str, RecoveryPoint]) -> None:
        super().__init__(daemon=True)
        self.environment, self.store, self.older = environment, store, older
        self.words: dict[str, str] = {}
        self.release = ""
        self.over = threading.Event()

    def run(self) -> None:
        stranger = self.store.write("stranger", "stranger", [b"the backup of another resource"])
        ledger = Ledger(self.environment.ledger, "shop", "prod")
        while not self.over.is_set() and len(self.words) < len(ATTACKED):
            # One look into the folder costs next to nothing, so the damage comes well before the proof is scheduled.
            names = ledger.record_names(self.release)
            for subject in [subject for subject in ATTACKED if subject not in self.words]:
                if not any(f"-recovery_point-{subject}-" in name for name in names):
                    continue
                record = ledger.latest(self.release, "recovery_point", subject)
                if record is not None:
                    point = RecoveryPoint.model_validate(record.data["point"])
                    older = self.older.get(subject, point)
                    scene = Scene(self.store, point, older, stranger, str(self.store._recipients[0]))
                    self.words[subject] = ATTACKED[subject](scene)
            self.over.wait(0.02)


def store_of(environment: ServiceEnvironment) -> BackupStore:
    keys = connection(environment.backup.key_connection)
    return BackupStore(
        UPath(environment.backup.store), tuple(keys.extra_dejson["recipients"]), (str(keys.password),),
        UPath(environment.backup.replica or ""),
    )  # fmt: skip


def target_state(running: Running) -> dict[str, Any]:
    """Return what Envoy and the process manager say of themselves, without what traffic and time change."""
    layout = running.layout
    runtime = reach.call("GET", f"{layout.url('envoy_admin')}/runtime?format=json")
    held = credentials.load(layout.sandbox)
    import xmlrpc.client

    address = layout.url("supervisor").replace("://", f"://airlock:{held.supervisor}@")
    programs: Any = xmlrpc.client.ServerProxy(f"{address}/RPC2").supervisor.getAllProcessInfo()
    slots = layout.host("prod") / "slots"
    return {
        "weights": runtime["entries"],
        "programs": [{key: one[key] for key in ("name", "statename", "pid", "start")} for one in programs],
        "files": sorted((str(path), path.lstat().st_mtime_ns) for path in slots.rglob("*")),
    }


def left_over(running: Running, environment: ServiceEnvironment) -> list[str]:
    """Return every scratch place that any server or file system still holds."""
    layout, given = running.layout, running.given
    held = credentials.load(layout.sandbox)
    found = [str(path) for path in Path(environment.backup.scratch).glob("*")]
    with psycopg.connect(
        f"postgresql://{postgres.ADMIN}:{held.postgres}@127.0.0.1:{layout.port('postgres')}/postgres"
    ) as admin:
        found += [row[0] for row in admin.execute("SELECT datname FROM pg_database WHERE datname LIKE 'airlock\\_al%'")]
    vault = json.loads(given["AIRFLOW_CONN_SHOP_VAULT"])
    client = hvac.Client(url=layout.url("vault"), token=vault["password"])
    found += [name for name in client.sys.list_mounted_secrets_engines()["data"] if name.startswith("airlock-")]
    from kubernetes import client as kubernetes
    from kubernetes import config

    with config.new_client_from_config(str(layout.kubeconfig)) as api:
        names = [space.metadata.name for space in kubernetes.CoreV1Api(api).list_namespace().items]
    found += [name for name in names if name.startswith("airlock-")]

    def aws(service: str) -> Any:
        return boto3.client(
            service, endpoint_url=layout.url("moto"), region_name="us-east-1", aws_access_key_id="testing",
            aws_secret_access_key="testing",
        )  # fmt: skip

    found += [zone["Name"] for zone in aws("route53").list_hosted_zones()["HostedZones"] if "airlock" in zone["Name"]]
    names = [role["RoleName"] for role in aws("iam").list_roles()["Roles"]]
    names += [policy["PolicyName"] for policy in aws("iam").list_policies(Scope="Local")["Policies"]]
    names += [balancer["LoadBalancerName"] for balancer in aws("elbv2").describe_load_balancers()["LoadBalancers"]]
    names += [group["TargetGroupName"] for group in aws("elbv2").describe_target_groups()["TargetGroups"]]
    found += [name for name in names if name.startswith("airlock-")]
    for link in Path("/proc").glob("[0-9]*/cwd"):
        with contextlib.suppress(OSError):
            if link.readlink().is_relative_to(environment.backup.scratch):
                found.append(f"process {link.parent.name}")
    return found


@pytest.fixture(scope="module")
def attacked(shipped_sandbox: Running) -> Attacked:
    running = shipped_sandbox
    demo, environment = running.demo, running.demo.environment
    store = store_of(environment)
    resources = {f"{one.kind}.{one.name}": one for one in environment.resources}
    older = {subject: take(open_driver(resources[subject], store), f"older.{subject}") for subject in OLDER}
    saboteur = Saboteur(environment, store, older)
    client = demo.client("release-manager")
    client.wait_for_dag(DAG, 120)
    before = target_state(running)
    run = client.trigger(DAG, {
        "version": "1.2", "change_type": "normal", "title": "Under attack", "impact": "low",
        "reason": "Somebody writes to the backup store.", "rollback_plan": "Nothing is ever deployed.", **EASY,
    })  # fmt: skip
    name = release_id(environment, run.run_id, datetime.fromisoformat(run.run_after))
    saboteur.release = name
    saboteur.start()
    answered: dict[str, float] = {}
    deadline = time.monotonic() + 600
    while run.state in ("queued", "running"):
        assert time.monotonic() < deadline, client.task_states(run)
        time.sleep(0.5)
        run = client.run(run)
        if client.task_states(run).get("change.approve") == "awaiting_input":
            demo._answer(run, demo.ledger.read(name), answered)
    saboteur.over.set()
    saboteur.join()
    logs = running.layout.airflow_home / "logs" / f"dag_id={DAG}" / f"run_id={run.run_id}"
    return Attacked(
        running, environment, name, saboteur.words, client.task_states(run), logs, before, target_state(running)
    )


def test_every_kind_was_attacked_and_each_attack_is_another_one() -> None:
    assert {subject.split(".")[0] for subject in ATTACKED} == {kind.value for kind in Kind}
    assert len(set(ATTACKED.values())) == len(ATTACKED)


@pytest.mark.parametrize("subject", ATTACKED)
def test_each_proof_fails_with_kind_resource_and_reason(attacked: Attacked, subject: str) -> None:
    task = f"backup.{subject}.prove"
    assert attacked.states[f"backup.{subject}.take"] == "success", attacked.records("fault")
    assert attacked.states[task] == "failed"
    word = attacked.words[subject]
    faults = [record.data for record in attacked.records("fault") if record.subject == task]
    assert len(faults) == 1, faults
    assert faults[0]["error"] == "ProofFailed"
    assert faults[0]["message"].startswith(f"{subject}: ")
    assert word in faults[0]["message"]
    proof = next(record.data["proof"] for record in attacked.records("proof") if record.subject == subject)
    assert (proof["ok"], proof["kind"], proof["resource"]) == (False, *subject.split("."))
    assert word in proof["reason"]
    # A server that was not there for a moment has cost an attempt.
    attempts = (attacked.logs / f"task_id={task}").glob("*.log")
    lines = [line for path in attempts for line in path.read_text().splitlines()]
    events = [str(json.loads(line).get("event")) for line in lines]
    assert any(f"stopped: {subject}: " in event and word in event for event in events)


def test_what_was_not_attacked_is_proven_and_yet_nothing_is_deployed(attacked: Attacked) -> None:
    for subject in UNHARMED:
        assert attacked.states[f"backup.{subject}.prove"] == "success"
    assert attacked.states["backup.restore_set"] == "failed"
    (fault,) = [record.data for record in attacked.records("fault") if record.subject == "backup.restore_set"]
    assert all(f"{subject}: " in fault["message"] for subject in ATTACKED), "people are told of all that is not proved"
    assert not attacked.records("restore_set")
    assert not attacked.records("act")
    assert attacked.after == attacked.before


def test_no_scratch_place_is_left_on_any_server(attacked: Attacked) -> None:
    assert left_over(attacked.running, attacked.environment) == []


def test_it_was_refused_and_the_evidence_says_so(attacked: Attacked) -> None:
    outcome = attacked.records("outcome")[-1].data
    assert outcome["outcome"] == "refused"
    assert attacked.states["close.outcome"] == "failed"
    public = Signer.from_pem(credentials.load(attacked.running.layout.sandbox).signing_key).public_pem
    pack = Path(attacked.environment.evidence) / f"{attacked.name}.zip"
    assert verify(pack, (public,)).problems == ()


def test_each_backup_was_taken_once(attacked: Attacked) -> None:
    points = attacked.records("recovery_point")
    assert len(points) == len(attacked.environment.resources) == len({record.subject for record in points})
