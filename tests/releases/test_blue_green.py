"""Releases of the shop in a real Airflow: an image of a real registry, blue-green, behind a real HAProxy."""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import pytest
import yaml

from airlock.deploy.delivery import delivery_of
from airlock.deploy.routers.haproxy import HaproxyRouter
from airlock.evidence.ledger import Ledger
from airlock.flow.stages.release import release_id
from airlock.models import Plan, Record
from airlock.recompute.release import recompute
from airlock.service.find import ServiceEnvironment, find
from airlock.signing import Signer
from sandbox import credentials, reach, shop
from sandbox.layout import Layout
from tests import oci_registry
from tests.haproxy_front import HaproxyFront
from tests.running_sandbox import ROOT, Running, running_sandbox
from tests.shipped_shop import shipped_shop

pytestmark = [pytest.mark.end_to_end, pytest.mark.timeout(900)]
DAG = "release.shop.staging"
ANALYSIS = {"minimum_requests": 40, "look_every_seconds": 1, "silent_looks": 3, "max_error_rate": 0.01,
            "max_latency_ms": 3000, "extend_looks": 3, "hold_looks": 1, "hold_every_seconds": 2}  # fmt: skip
ROLLOUT = {"strategy": "blue_green", "observe_seconds": 6, "bake_seconds": 5}
CHECKS = {"smoke": [{"name": "http", "options": {"paths": ["/health"]}}],
          "validation": [{"name": "http", "options": {"paths": ["/", "/orders"]}}]}  # fmt: skip


@dataclass
class Shop:
    """The shop's staging behind HAProxy, with its versions in a registry."""

    running: Running
    environment: ServiceEnvironment
    haproxy: HaproxyFront

    def release(self, version: str) -> tuple[tuple[Record, ...], Path]:
        manager = self.running.demo.client("release-manager")
        manager.wait_for_dag(DAG, 200)
        run = manager.trigger(DAG, {"version": version, "change_type": "standard"})
        limit = time.monotonic() + 500
        while run.state in ("queued", "running"):
            assert time.monotonic() < limit, f"{run} did not end: {manager.task_states(run)}"
            time.sleep(1)
            run = manager.run(run)
        identity = release_id(self.environment, run.run_id, datetime.fromisoformat(run.run_after))
        records = Ledger(self.environment.ledger, "shop", "staging").read(identity)
        return records, Path(self.environment.evidence) / f"{identity}.zip"

    @contextmanager
    def traffic(self) -> Iterator[None]:
        command = [sys.executable, "-m", "sandbox.traffic", f"{self.haproxy.listener}=40"]
        with subprocess.Popen(command, cwd=ROOT / "include", stderr=subprocess.DEVNULL) as process:
            try:
                yield
            finally:
                process.terminate()

    def answered_by(self, requests: int = 40) -> Counter[str]:
        connection = http.client.HTTPConnection("127.0.0.1", self.haproxy.port, timeout=10)
        found = Counter[str]()
        for _ in range(requests):
            connection.request("GET", "/health")
            found[json.loads(connection.getresponse().read())["version"]] += 1
        connection.close()
        return found


def published(layout: Layout, registry: oci_registry.Registry) -> oci_registry.Repository:
    """Push every version of the shop as an image, and take the files away."""
    repository = registry.repository("team/shop")
    for version in shop.build(layout.artifacts):
        path = layout.artifacts / f"shop-{version}.pyz"
        repository.push_image(version, [{"etc/os-release": b"ID=shop"}, {"app/shop.pyz": path.read_bytes()}])
    return repository


def write_services(folder: Path, layout: Layout, haproxy: HaproxyFront, repository: oci_registry.Repository) -> None:
    whole = shipped_shop()
    staging = whole["environments"]["staging"]
    for key in ("migrations", "without_kinds"):
        staging.pop(key, None)
    staging["resources"] = [one for one in staging["resources"] if one["name"] == "env_file"]
    staging |= {
        "artifact": {"name": "oci", "options": {
            "registry": repository.url.partition("://")[2], "repository": repository.name, "plain_http": True,
            "file": "/app/shop.pyz"}},
        "router": {"name": "haproxy", "options": haproxy.router_options()},
        "metrics": {"name": "haproxy", "options": haproxy.metrics_options()},
        "rollout": ROLLOUT, "analysis": ANALYSIS, "checks": CHECKS,
    }
    whole["environments"] = {"staging": staging}
    folder.mkdir()
    (folder / "shop.yaml").write_text(yaml.safe_dump(whole))


@pytest.fixture(scope="module")
def seen(open_folder: Path) -> Iterator[tuple[Shop, dict[str, tuple[tuple[Record, ...], Path]], Counter[str]]]:
    services, fronts = open_folder / "services", list[HaproxyFront]()
    with ExitStack() as stack:
        home, port = open_folder / "registry", reach.free_port()
        home.mkdir()
        stack.enter_context(oci_registry.start(home, port))
        registry = oci_registry.Registry(f"http://127.0.0.1:{port}", home)

        def prepare(layout: Layout) -> Mapping[str, str]:
            layout.create()
            slots = {slot: f"127.0.0.1:{layout.port(f'staging_{slot}')}" for slot in "ab"}
            (front_home := open_folder / "haproxy").mkdir()
            fronts.append(HaproxyFront(front_home, slots))
            fronts[0].start()
            stack.callback(fronts[0].stop)
            router = HaproxyRouter(fronts[0].router_options())
            router.set_shares({"a": 100})
            router.set_fallback("a")
            write_services(services, layout, fronts[0], published(layout, registry))
            return {"AIRLOCK_SERVICES": str(services)}

        running = stack.enter_context(running_sandbox(open_folder, prepare, listeners=()))
        made = Shop(running, find(services, "shop", "staging"), fronts[0])
        with made.traffic():
            good = made.release("1.1")
            after = made.answered_by()
            yield made, {"1.1": good, "1.2": made.release("1.2")}, after


def test_an_image_is_released_blue_green_behind_haproxy(seen) -> None:
    made, releases, after = seen
    records, pack = releases["1.1"]
    plan = Plan.model_validate([one.data["plan"] for one in records if one.type == "plan"][-1])
    assert (plan.artifact.source, plan.router["name"], plan.rollout.strategy) == ("oci", "haproxy", "blue_green")
    ended = next(one.data for one in records if one.type == "outcome")
    assert ended["outcome"] == "promoted", ended["why"]
    assert after == {"1.1": 40}
    order = [one.subject for one in records
             if one.type == "checks" or (one.type == "act" and one.subject in ("shift", "promote", "retire"))]
    assert order == ["smoke", "validation", "shift", "validation", "promote", "retire"]
    assert [one.data["percent"] for one in records if one.type == "act" and one.subject == "shift"] == [100]
    public = Signer.from_pem(credentials.load(made.running.layout.sandbox).signing_key).public_pem
    found = recompute(pack, [public])
    assert found.ok, found.differing


def test_a_failing_image_goes_back_in_one_step(seen) -> None:
    made, releases, _ = seen
    records, _ = releases["1.2"]
    ended = next(one.data for one in records if one.type == "outcome")
    assert ended["outcome"] == "rolled_back", ended["why"]
    assert "1.2" in ended["why"] and "errors" in ended["why"]
    state = delivery_of(made.environment).inspect()
    assert (state.stable, state.weight_of("1.1")) == ("1.1", 100)
    assert [one.version for one in state.versions if one.running] == ["1.1"]
    assert made.answered_by() == {"1.1": 40}


def test_a_haproxy_that_restarts_afterwards_serves_the_stable_version(seen) -> None:
    made, _, _ = seen
    made.haproxy.restart()
    assert made.answered_by() == {"1.1": 40}
    assert delivery_of(made.environment).inspect().weight_of("1.1") == 100
