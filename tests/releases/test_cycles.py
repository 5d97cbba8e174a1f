"""Fixed cycles in a real Airflow: a promotion that wakes the next environment, an event that somebody forged, on-call's
way back, a restore drill, and a train of two services. Small services, short rollouts, real traffic."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from airlock.evidence.ledger import Ledger
from airlock.evidence.pack import verify
from airlock.models import Record
from airlock.recompute.release import recompute
from airlock.service.find import find
from airlock.signing import Signer
from sandbox import credentials, reach, shop
from sandbox.airflow_client import AirflowClient, Run
from sandbox.layout import Layout
from tests.running_sandbox import running_sandbox
from tests.shipped_shop import shipped_shop

pytestmark = [pytest.mark.end_to_end, pytest.mark.timeout(1200)]
ANALYSIS = {"minimum_requests": 10, "latency_floor_ms": 1000, "look_every_seconds": 1, "extend_looks": 20}
ROLLOUT = {"steps": [{"percent": 50, "observe_seconds": 2}], "bake_seconds": 2}
NEVER = "0 0 29 2 *"
PLACES = {
    ("shop", "staging"): ("staging", {}),
    ("shop", "prod"): ("prod", {"after": "staging", "cycle": "continuous"}),
    ("shop", "live"): ("prod", {"after": "staging"}),
    ("stock", "lab"): ("prod", {}),
    ("stock", "live"): ("staging", {"after": "lab"}),
}
"""Service and environment -> the part of the sandbox that it runs on, and its cycle."""


def write_services(folder: Path) -> None:
    """The shop's staging, five times: two services, each in the environments of ``PLACES``."""
    whole = shipped_shop()
    text = yaml.safe_dump(whole["environments"]["staging"])
    folder.mkdir()
    for service in ("shop", "stock"):
        environments = {}
        for (owner, name), (place, cycle) in PLACES.items():
            if owner != service:
                continue
            changed = text.replace("ENVOY_STAGING_PORT", "ENVOY_PORT") if place == "prod" else text
            settings = yaml.safe_load(changed.replace("staging", place).replace("STAGING", place.upper()))
            settings["resources"] = [one for one in settings["resources"] if one["name"] == "env_file"]
            del settings["without_kinds"]
            settings.pop("migrations", None)
            settings["backup"]["drills"] = {"cron": NEVER}
            settings["rollback"] = {"seats": {"service_owner": 1}, "observe_seconds": 2, "bake_seconds": 2}
            environments[name] = {**settings, **cycle, "analysis": ANALYSIS, "rollout": ROLLOUT}
        (folder / f"{service}.yaml").write_text(yaml.safe_dump({**whole, "service": service,
                                                                "environments": environments}))


def write_train(folder: Path) -> None:
    folder.mkdir()
    train = {
        "train": "evening", "description": "Both together.", "owner": "shop-team", "environment": "live",
        "cut_off_minutes": 0, "on_failure": "roll_back",
        "services": [{"name": "shop", "after": ["stock"]}, {"name": "stock"}],
    }  # fmt: skip
    (folder / "evening.yaml").write_text(yaml.safe_dump(train))


def build_later_version(folder: Path) -> None:
    """1.5: as 1.1, under another name."""
    import io
    import zipfile

    source = io.BytesIO(shop.artifact_bytes("1.1"))
    with zipfile.ZipFile(source) as given, zipfile.ZipFile(folder / "shop-1.5.pyz", "w") as made:
        for name in given.namelist():
            made.writestr(name, given.read(name).decode().replace('"version": "1.1"', '"version": "1.5"'))


class House:
    """A running sandbox: its people, its ledgers, and what became of runs."""

    def __init__(self, layout: Layout, services: Path) -> None:
        self.layout, self.services = layout, services
        held = credentials.load(layout.sandbox)
        self.public = Signer.from_pem(held.signing_key).public_pem
        people = ("release-manager", "owner")
        self.people = {name: AirflowClient(layout.url("airflow"), name, held.people[name]) for name in people}
        self.client = self.people["release-manager"]

    def trigger(self, dag: str, form: Mapping[str, Any]) -> Run:
        self.client.wait_for_dag(dag, 200)
        return self.client.trigger(dag, form)

    def ended(self, run: Run, approved_by: str = "") -> Run:
        limit = time.monotonic() + 500
        while run.state in ("queued", "running"):
            assert time.monotonic() < limit, f"{run} hangs: {self.client.task_states(run)}"
            if approved_by and self.client.pending_request(run):
                self.people[approved_by].approve(run, "Approve", "go back")
            time.sleep(0.5)
            run = self.client.run(run)
        return run

    def seconds_until_traffic_is_back(self, run: Run, version: str) -> float:
        """Approve *run* as soon as it asks; return how long after the answer ten requests in a row met *version*."""
        limit = time.monotonic() + 300
        while not self.client.pending_request(run):
            assert time.monotonic() < limit, f"{run} asks nobody: {self.client.task_states(run)}"
            time.sleep(0.2)
        self.people["owner"].approve(run, "Approve", "go back")
        asked, met = time.monotonic(), 0
        while met < 10:
            assert time.monotonic() < limit, f"{run}: {self.client.task_states(run)}"
            answer = reach.call("GET", f"{self.layout.url('envoy')}/health")
            met = met + 1 if answer.get("version") == version else 0
            time.sleep(0.05)
        return time.monotonic() - asked

    def runs(self, dag: str) -> list[dict[str, Any]]:
        return list(self.client._call("GET", f"/api/v2/dags/{dag}/dagRuns")["dag_runs"])

    def triggered_by_event(self, dag: str, count: int) -> Run:
        """Wait for the *count*-th run of *dag*, and for its end."""
        limit = time.monotonic() + 120
        while len(found := self.runs(dag)) < count:
            assert time.monotonic() < limit, f"{dag} was not woken: {found}"
            time.sleep(0.5)
        newest = max(found, key=lambda one: one["run_after"])
        assert newest["run_type"] == "asset_triggered"
        return self.ended(Run(dag, newest["dag_run_id"], newest["run_after"], newest["state"]))

    def records(self, service: str, environment: str, run: Run, stream: str = "") -> tuple[Record, ...]:
        """Return what is on record of *run*, after its pack was verified and computed again."""
        where = find(self.services, service if stream != "trains" else "shop", environment)
        root = f"{where.ledger}/_{stream}" if stream else where.ledger
        ledger = Ledger(root, service, environment)
        found = [
            one for one in ledger.releases()
            if (of := ledger.latest(one, "run")) is not None and of.data["run_id"] == run.run_id
        ]
        assert len(found) == 1, f"{run}: {found}: {self.client.task_states(run)}"
        pack = Path(where.evidence) / stream / f"{found[0]}.zip"
        assert verify(pack, (self.public,)).problems == ()
        again = recompute(pack, [self.public])
        assert again.ok, again.differing or again.problems
        return ledger.read(found[0])


def data(records: tuple[Record, ...], kind: str, subject: str = "") -> Mapping[str, Any]:
    return next(one.data for one in reversed(records) if (one.type, one.subject) == (kind, subject))


@dataclass(frozen=True)
class Told:
    """What every run left on record, and the states of their tasks."""

    records: Mapping[str, tuple[Record, ...]]
    states: Mapping[str, Mapping[str, str]]
    runs: Mapping[str, Run]


@pytest.fixture(scope="module")
def told(open_folder: Path) -> Iterator[tuple[House, Told]]:
    services, trains = open_folder / "services", open_folder / "trains"
    write_services(services)
    write_train(trains)
    folders = {"AIRLOCK_SERVICES": str(services), "AIRLOCK_TRAINS": str(trains)}
    with running_sandbox(open_folder, lambda layout: folders) as running:
        house = House(running.layout, services)
        build_later_version(running.layout.artifacts)
        yield house, _evening(house)


def _evening(house: House) -> Told:
    found: dict[str, tuple[Record, ...]] = {}
    runs: dict[str, Run] = {}

    def keep(name: str, run: Run, service: str, environment: str, stream: str = "") -> None:
        runs[name], found[name] = run, house.records(service, environment, run, stream)

    standard = {"version": "1.1", "change_type": "standard"}
    keep("staging", house.ended(house.trigger("release.shop.staging", standard)), "shop", "staging")
    keep("prod", house.triggered_by_event("release.shop.prod", 1), "shop", "prod")
    asset = next(one for one in house.client._call("GET", "/api/v2/assets")["assets"]
                 if one["uri"] == "x-airlock://shop/staging")
    forged = {"version": "1.5", "digest": "sha256:" + "0" * 64, "release": "shop-staging-1"}
    house.client._call("POST", "/api/v2/assets/events", json={"asset_id": asset["id"], "extra": forged})
    back = house.trigger("rollback.shop.prod", {"reason": "1.1 is slow for some customers"})
    seconds = house.seconds_until_traffic_is_back(back, "1.0")
    print(f"on-call's way back: all traffic on the version before {seconds:.1f} s after the approval")
    keep("back", house.ended(back), "shop", "prod")
    keep("forged", house.triggered_by_event("release.shop.prod", 2), "shop", "prod")
    drill = house.trigger("drills.shop.prod", {})
    keep("lab", house.ended(house.trigger("release.stock.lab", {**standard, "version": "1.5"})), "stock", "lab")
    keep("drill", house.ended(drill), "shop", "prod", "drills")
    keep("train", house.ended(house.trigger("train.evening", {})), "evening", "live", "trains")
    for service in ("shop", "stock"):
        newest = house.runs(f"release.{service}.live")[0]
        run = Run(f"release.{service}.live", newest["dag_run_id"], newest["run_after"], newest["state"])
        keep(f"{service} on the train", run, service, "live")
    return Told(found, {name: house.client.task_states(run) for name, run in runs.items()}, runs)


def test_a_promotion_wakes_the_next_environment_which_takes_exactly_that_content(told: tuple[House, Told]) -> None:
    _, found = told
    staging, prod = found.records["staging"], found.records["prod"]
    assert data(prod, "outcome")["outcome"] == "promoted"
    rfc = data(prod, "rfc")["rfc"]
    assert (rfc["change_type"], rfc["requester"]) == ("standard", "scheduler")
    assert rfc["digest"] == data(staging, "plan")["plan"]["artifact"]["digest"]
    assert data(prod, "cycle")["hints"] == [{"version": "1.1", "digest": rfc["digest"]}]


def test_a_forged_event_releases_nothing(told: tuple[House, Told]) -> None:
    _, found = told
    forged = found.records["forged"]
    assert data(forged, "outcome")["outcome"] == "skipped"
    assert "nothing stands as promoted" in data(forged, "skipped")["why"]
    assert not [one for one in forged if one.type in ("rfc", "act")]
    assert found.states["forged"]["close.outcome"] == "skipped"
    assert found.runs["forged"].state == "success"


def test_on_call_returns_to_the_version_before(told: tuple[House, Told]) -> None:
    _, found = told
    back = found.records["back"]
    plan = data(back, "plan")["plan"]
    assert (plan["current_version"], plan["artifact"]["version"]) == ("1.1", "1.0")
    assert data(back, "outcome")["outcome"] == "promoted"
    assert [one.subject for one in back if one.type == "vote"] == ["owner"]
    assert data(back, "proof", "configuration.env_file")["proof"]["ok"]
    moments = {(one.type, one.subject): one.at for one in reversed(back)}
    assert moments["act", "shift"] < moments["recovery_point", "configuration.env_file"] < moments["outcome", ""]
    assert data(back, "baked")["state"]["stable"] == "1.0"


def test_a_drill_restores_and_proves_outside_releases(told: tuple[House, Told]) -> None:
    _, found = told
    drill = found.records["drill"]
    assert data(drill, "outcome")["outcome"] == "completed"
    chosen = data(drill, "drill")["chosen"]
    assert len(chosen) == 2
    assert all(data(drill, "drilled", point)["proof"]["ok"] for point in chosen)


def test_a_train_takes_both_services_in_order_and_ties_their_evidence_together(told: tuple[House, Told]) -> None:
    house, found = told
    train = found.records["train"]
    assert data(train, "outcome")["outcome"] == "completed", data(train, "outcome")["why"]
    assert data(train, "departure")["passengers"] == ["stock", "shop"]
    arrived = {service: data(train, "arrived", service) for service in ("stock", "shop")}
    begun = {one.subject: one.at for one in train if one.type == "start"}
    assert begun["stock"] < next(one.at for one in train if (one.type, one.subject) == ("arrived", "stock"))
    assert begun["shop"] > next(one.at for one in train if (one.type, one.subject) == ("arrived", "stock"))
    for service, said in arrived.items():
        release = found.records[f"{service} on the train"]
        assert (said["release"], said["outcome"]) == (release[0].release, "promoted")
        assert data(release, "rfc")["rfc"]["train"] == train[0].release
        where = find(house.services, service, "live")
        seal = (Path(where.ledger) / service / "live" / said["release"] / "seal.json").read_bytes()
        assert said["seal"] == "sha256:" + hashlib.sha256(seal).hexdigest()
    assert {one["release"] for one in data(train, "index")["releases"]} == {one["release"] for one in arrived.values()}
