"""No data is not good news: whole releases in a real Airflow whose traffic stops, whose metrics lie, whose proxy
restarts, and whose new version never gets ready. Two environments are attacked at the same time."""

from __future__ import annotations

import io
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from airlock.deploy.delivery import delivery_of
from airlock.evidence.ledger import Ledger
from airlock.evidence.pack import verify
from airlock.flow.stages.release import release_id
from airlock.models import Record, TargetState
from airlock.recompute.release import recompute
from airlock.service.find import find
from airlock.signing import Signer
from sandbox import credentials, envoy, processes, shop
from sandbox.airflow_client import AirflowClient
from sandbox.layout import Layout
from tests.faulty_proxy import Fault, FaultyProxy, faulty_proxy
from tests.running_sandbox import ROOT, Running, running_sandbox
from tests.shipped_shop import shipped_shop

pytestmark = [pytest.mark.end_to_end, pytest.mark.timeout(1200)]
LISTENERS = {"prod": "envoy", "staging": "envoy_staging"}
ANALYSIS = {
    "minimum_requests": 20, "latency_floor_ms": 1000, "look_every_seconds": 1, "silent_looks": 2, "extend_looks": 3,
    "hold_looks": 1, "hold_every_seconds": 20,
}  # fmt: skip
ROLLOUT = {
    "steps": [{"percent": 25, "observe_seconds": 3}, {"percent": 50, "observe_seconds": 3}],
    "bake_seconds": 4,
}
RUBBISH = Fault(status=200, body=b'{"stats": [{"name": "x", "value": NaN}]}')


@dataclass(frozen=True)
class Landed:
    """How one release ended, by its records and by the target itself."""

    records: tuple[Record, ...]
    state: TargetState
    pack: Path

    def data(self, kind: str, subject: str = "") -> list[Mapping[str, Any]]:
        return [one.data for one in self.records if one.type == kind and subject in ("", one.subject)]

    @property
    def outcome(self) -> str:
        return str(self.data("outcome")[0]["outcome"])


class Lane:
    """One environment under attack: its releases, its traffic, and the proxy before its metrics."""

    def __init__(self, running: Running, services: Path, name: str, proxy: FaultyProxy) -> None:
        self.layout, self.name, self.proxy = running.layout, name, proxy
        self.environment = find(services, "shop", name)
        password = credentials.load(running.layout.sandbox).people["release-manager"]
        self.client = AirflowClient(running.layout.url("airflow"), "release-manager", password)
        self.ledger = Ledger(self.environment.ledger, "shop", name)

    @contextmanager
    def traffic(self) -> Iterator[subprocess.Popen[bytes]]:
        """Traffic while the block runs; ``terminate`` ends it before."""
        command = [sys.executable, "-m", "sandbox.traffic", f"{self.layout.url(LISTENERS[self.name])}=60"]
        with subprocess.Popen(command, cwd=ROOT / "include", stderr=subprocess.DEVNULL) as process:
            try:
                yield process
            finally:
                process.terminate()

    def release(self, version: str, when: Callable[[list[Record]], bool], then: Callable[[], Any]) -> Landed:
        """Release *version* as a standard change; do *then* once, as soon as its records are as *when* wants."""
        dag = f"release.shop.{self.name}"
        self.client.wait_for_dag(dag, 200)
        if version in shop.TRAITS:  # what was rolled back is no standard change any more
            shop.build_again(self.layout.artifacts, version, f"{self.name} {time.time()}")
        run = self.client.trigger(dag, {"version": version, "change_type": "standard"})
        identity = release_id(self.environment, run.run_id, datetime.fromisoformat(run.run_after))
        limit, pending, look_at_airflow = time.monotonic() + 500, True, 0.0
        while run.state in ("queued", "running"):
            assert time.monotonic() < limit, f"{identity} did not land: {self.client.task_states(run)}"
            records = list(self.ledger.read(identity))
            if pending and when(records):
                pending = False
                then()
            if time.monotonic() > look_at_airflow:
                look_at_airflow = time.monotonic() + 2
                run = self.client.run(run)
            time.sleep(0.2)
        assert not pending, f"{identity} ended before it could be attacked: {self.ledger.read(identity)[-3:]}"
        pack = Path(self.environment.evidence) / f"{identity}.zip"
        state = delivery_of(self.environment).inspect()
        return Landed(self.ledger.read(identity), state, pack)


def at_once(records: list[Record]) -> bool:
    return True


def judged(records: list[Record]) -> bool:
    """A look at the first step had real data."""
    return any(one.type == "verdict" and one.data["sample"] for one in records)


def promoting(records: list[Record]) -> bool:
    return any((one.type, one.subject) == ("act", "promote") for one in records)


def attack_staging(lane: Lane) -> dict[str, Landed]:
    found = {"no traffic": lane.release("1.1", at_once, lambda: None)}
    with lane.traffic():
        found["rubbish midway"] = lane.release("1.1", judged, lambda: lane.proxy.always(RUBBISH))
    lane.proxy.decide = lambda method, path: None
    with lane.traffic() as traffic:
        found["silent bake"] = lane.release("1.1", promoting, traffic.terminate)
    return found


def attack_prod(lane: Lane) -> dict[str, Landed]:
    with lane.traffic():
        return {"never ready": lane.release("1.4", at_once, lambda: None)}


def attack_both(lane: Lane) -> dict[str, Landed]:
    """What is done to the proxy is done to every environment behind it: only while *lane* alone releases."""

    def restart_envoy() -> None:
        server = processes.find(lane.layout.run, "envoy")
        assert server is not None
        server.stop()
        envoy.start(lane.layout)

    with lane.traffic():
        return {"counter reset": lane.release("1.1", judged, restart_envoy)}


def build_sick_version(folder: Path) -> None:
    """1.4: as 1.1, but it never calls itself healthy."""
    source = io.BytesIO(shop.artifact_bytes("1.1"))
    with zipfile.ZipFile(source) as given, zipfile.ZipFile(folder / "shop-1.4.pyz", "w") as made:
        for name in given.namelist():
            text = given.read(name).decode()
            sick = text.replace('"version": "1.1"', '"version": "1.4"').replace("ORDERS.fault()", '"never ready"')
            made.writestr(name, sick)
            assert (sick != text) == (name in ("release.json", "__main__.py"))


def write_services(folder: Path, proxies: Mapping[str, str]) -> None:
    """The shop's staging, twice: small, impatient, and with metrics through the proxies."""
    whole = shipped_shop()
    text = yaml.safe_dump(whole["environments"]["staging"])
    whole["environments"] = {}
    for name, proxy in proxies.items():
        changed = text.replace("ENVOY_STAGING_PORT", "ENVOY_PORT") if name == "prod" else text
        settings = yaml.safe_load(changed.replace("staging", name).replace("STAGING", name.upper()))
        settings["target"]["options"]["start_seconds"] = 8
        settings["metrics"]["options"]["admin"] = proxy
        settings["resources"] = [one for one in settings["resources"] if one["name"] == "env_file"]
        for gone in ("without_kinds", "migrations"):  # what is migrated must be backed up
            settings.pop(gone, None)
        whole["environments"][name] = {**settings, "analysis": ANALYSIS, "rollout": ROLLOUT}
    folder.mkdir()
    (folder / "shop.yaml").write_text(yaml.safe_dump(whole))


@pytest.fixture(scope="module")
def landed(open_folder: Path) -> Iterator[Mapping[str, Landed]]:
    services, proxies = open_folder / "services", {}
    with ExitStack() as stacked:

        def prepare(layout: Layout) -> Mapping[str, str]:
            for name in LISTENERS:
                proxies[name] = stacked.enter_context(faulty_proxy(layout.url("envoy_admin")))
            write_services(services, {name: proxy.url for name, proxy in proxies.items()})
            return {"AIRLOCK_SERVICES": str(services)}

        running = stacked.enter_context(running_sandbox(open_folder, prepare))
        build_sick_version(running.layout.artifacts)
        traffic = processes.find(running.layout.run, "traffic")
        assert traffic is not None
        traffic.stop()
        lanes = {name: Lane(running, services, name, proxy) for name, proxy in proxies.items()}
        with ThreadPoolExecutor(2) as pool:
            attacks = [pool.submit(attack_staging, lanes["staging"]), pool.submit(attack_prod, lanes["prod"])]
            found = {name: landed for attack in attacks for name, landed in attack.result().items()}
        yield found | attack_both(lanes["prod"])


ALL = ("no traffic", "rubbish midway", "silent bake", "never ready", "counter reset")


@pytest.mark.parametrize("attack", ALL)
def test_only_a_release_with_data_is_promoted_and_each_lands_on_one_version(
    landed: Mapping[str, Landed], attack: str
) -> None:
    found = landed[attack]
    expected = ("promoted", "1.1") if attack == "counter reset" else ("rolled_back", "1.0")
    assert (found.outcome, found.state.stable) == expected, found.data("outcome")
    assert found.state.weight_of(expected[1]) == 100
    assert [one.version for one in found.state.versions if one.running] == [expected[1]]


@pytest.mark.parametrize("attack", ALL)
def test_the_evidence_verifies_and_every_verdict_recomputes(landed: Mapping[str, Landed], attack: str) -> None:
    pack = landed[attack].pack
    home = pack.parents[1]
    public = Signer.from_pem(credentials.load(home / "sandbox").signing_key).public_pem
    assert verify(pack, (public,)).problems == ()
    again = recompute(pack, [public])
    assert again.ok, again.differing


@pytest.mark.parametrize(
    ("attack", "answer", "sentence"),
    [
        ("no traffic", "inconclusive", "1.1 has answered no request at all"),
        ("no traffic", "inconclusive", "0 of at least 20 requests since"),
        ("rubbish midway", "error", "not JSON"),
        ("rubbish midway", "error", "of at least 20 requests, none seen since"),
        ("silent bake", "inconclusive", "1.1 has answered no "),
    ],
)
def test_without_data_a_step_is_extended_then_held_then_rolled_back(
    landed: Mapping[str, Landed], attack: str, answer: str, sentence: str
) -> None:
    looks = landed[attack].data("verdict")
    verdicts = [look["verdict"] for look in looks]
    assert any(one["answer"] == answer and sentence in one["sentence"] for one in verdicts), verdicts[-1]
    moves = [look["move"] for look in looks[-5:]]
    assert moves == ["observe"] * 3 + ["hold", "roll back"]
    assert sentence in str(looks[-1]["why"])
    assert "never a pass" in looks[-1]["why"]
    assert looks[-1]["why"].split(": ")[0] in str(landed[attack].data("outcome")[0]["why"])


def test_the_attack_came_where_it_was_meant_to(landed: Mapping[str, Landed]) -> None:
    assert not [look for look in landed["no traffic"].data("verdict") if look["verdict"]["answer"] == "pass"]
    assert any(look["sample"] for look in landed["rubbish midway"].data("verdict", "step-1"))
    assert landed["silent bake"].data("canary")[0]["move"] == "pass"
    assert landed["silent bake"].data("verdict", "bake")[-1]["move"] == "roll back"
    assert not landed["never ready"].data("verdict")
    assert "1.4" in landed["never ready"].data("outcome")[0]["why"]


def test_a_counter_reset_is_observed_anew_with_nothing_credited(landed: Mapping[str, Landed]) -> None:
    found = landed["counter reset"]
    looks = found.data("verdict", "step-1")
    lost = next(number for number, look in enumerate(looks) if look["lost"])
    assert looks[lost]["move"] == "begin again"
    assert "restarted" in looks[lost]["verdict"]["sentence"]
    assert "nothing counted so far is used" in looks[lost]["why"]
    after = next(look for look in looks[lost + 1 :] if look["progress"]["watch"])
    assert after["progress"]["beginnings"] == 1
    assert after["progress"]["watch"]["seconds"] == 0
    assert after["progress"]["watch"]["canary"]["requests"] == 0
    percents = [act["percent"] for act in found.data("act", "shift")]
    assert percents.count(25) >= 2, "a proxy that restarted has forgotten its weights"
    assert percents == sorted(percents)
