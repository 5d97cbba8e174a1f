"""The shop on real servers for tests: PostgreSQL, supervisord, Envoy, on free ports, once for each test file."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from airlock.analysis.sources.envoy import EnvoySource
from airlock.deploy.delivery import Delivery, open_delivery
from airlock.models import Artifact
from sandbox import envoy, postgres, processes, reach, seed, shop, shop_database, supervisor
from sandbox.layout import ENVIRONMENTS, OFFSETS, Layout
from tests.real_servers import set_connection

PASSWORD = "pass%word"
REPOSITORY = Path(__file__).parents[1]


class FreeLayout(Layout):
    """A layout whose ports are free ones instead of a row."""

    def port(self, name: str) -> int:
        return _PORTS.setdefault((self.home, name), reach.free_port())


_PORTS: dict[tuple[Path, str], int] = {}


@dataclasses.dataclass
class Front:
    """A running sandbox in part. ``envoy`` and ``supervisor`` are replaced when a test restarts them."""

    layout: Layout
    digests: dict[str, str]
    envoy: processes.Server
    supervisor: processes.Server

    def artifact(self, version: str) -> Artifact:
        path = self.layout.artifacts / f"shop-{version}.pyz"
        return Artifact(version=version, path=str(path), digest=self.digests[version])

    def target_options(self) -> dict[str, Any]:
        layout = self.layout
        return {
            "folder": str(layout.host("prod") / "slots"),
            "supervisor_connection": "shop_supervisor",
            "start_seconds": 60,
            "effect_seconds": 30,
            "slots": {
                slot: {
                    "address": layout.url(f"prod_{slot}"),
                    "program": supervisor.program_name("prod", slot),
                }
                for slot in ("a", "b")
            },
        }

    def router_options(self) -> dict[str, Any]:
        return {**envoy.router_options(self.layout, "prod"), "effect_seconds": 30}

    def settings(self) -> dict[str, dict[str, Any]]:
        """Target and router as a service file has them."""
        return {
            "target": {"name": "supervisord", "options": self.target_options()},
            "router": {"name": "envoy", "options": self.router_options()},
        }

    def delivery(self) -> Delivery:
        return open_delivery(**self.settings())

    def source(self) -> EnvoySource:
        slots = {
            slot: {"address": self.layout.url(f"prod_{slot}"), "cluster": envoy.cluster("prod", slot)}
            for slot in ("a", "b")
        }
        return EnvoySource({"admin": self.layout.url("envoy_admin"), "slots": slots})

    def restart_envoy(self) -> None:
        self.envoy.stop()
        self.envoy = envoy.start(self.layout)

    def restart_supervisor(self) -> None:
        self.supervisor.stop()
        self.supervisor = supervisor.start(self.layout, "airlock", PASSWORD)

    @contextmanager
    def traffic(self, rate: float, address: str = "") -> Iterator[None]:
        command = [sys.executable, "-m", "sandbox.traffic", f"{address or self.layout.url('envoy')}={rate}"]
        environment = {**os.environ, "PYTHONPATH": str(REPOSITORY / "include")}
        with subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL) as process:
            try:
                yield
            finally:
                process.terminate()

    def settle(self) -> None:
        """Back to 1.0 with everything else stopped."""
        self.delivery().abort("1.0")


def wait_for(seen: Any, seconds: float = 60) -> None:
    limit = time.monotonic() + seconds
    while not seen():
        assert time.monotonic() < limit, "did not happen in time"
        time.sleep(0.1)


@pytest.fixture(scope="module")
def running_front(tmp_path_factory: pytest.TempPathFactory, open_folder: Path) -> Iterator[Front]:
    layout = FreeLayout(REPOSITORY, tmp_path_factory.mktemp("front"), 28000)
    assert {layout.port(name) for name in OFFSETS}
    layout.create()
    with ExitStack() as stack:
        database = stack.enter_context(
            postgres.start(open_folder / "postgres", reach.free_port(), databases=["shop_prod"])
        )
        shop_database.ensure_role(database, shop_database.ROLE, "orders")
        shop_database.seed(database, "prod")
        url = f"postgresql://{shop_database.ROLE}:orders@127.0.0.1:{database.port}/shop_prod"
        (layout.host("prod") / ".env").write_text(f"# settings\nDATABASE_URL={url}\n")
        for name in ENVIRONMENTS:
            seed.install(layout, name)
        front = Front(
            layout,
            shop.build(layout.artifacts),
            stack.enter_context(envoy.start(layout)),
            supervisor.start(layout, "airlock", PASSWORD),
        )
        stack.callback(lambda: front.supervisor.stop())  # noqa: PLW0108 - the one that runs then
        stack.callback(lambda: front.envoy.stop())  # noqa: PLW0108
        yield front


@pytest.fixture
def front(running_front: Front, monkeypatch: pytest.MonkeyPatch) -> Front:
    """The front with 1.0 stable and nothing else there."""
    set_connection(
        monkeypatch,
        "shop_supervisor",
        conn_type="http",
        host="127.0.0.1",
        port=running_front.layout.port("supervisor"),
        login="airlock",
        password=PASSWORD,
    )
    running_front.settle()
    return running_front
