from __future__ import annotations

import http.client
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from airlock.deploy.delivery import Delivery, open_delivery
from airlock.deploy.targets.supervisord_rpc import Supervisor
from airlock.errors import InvalidInput, PermanentError, TemporaryError
from airlock.fetch import fetch
from airlock.models import Artifact, digest_of
from sandbox import envoy
from tests.contracts.delivery_contract import DeliveryContract, running, weights
from tests.memory_delivery import Host, MemoryRouter, MemoryTarget, in_memory
from tests.real_servers import set_connection
from tests.shop_front import Front, front, running_front, wait_for

__all__ = ["front", "running_front"]


def answered_by(front: Front, requests: int = 20) -> set[str]:
    connection = http.client.HTTPConnection("127.0.0.1", front.layout.port("envoy"), timeout=5)
    found = set()
    for _ in range(requests):
        connection.request("GET", "/")
        found.add(json.loads(connection.getresponse().read())["version"])
    connection.close()
    return found


class TestSupervisordBehindEnvoy(DeliveryContract):
    old, new, other = "1.0", "1.1", "1.2"

    @pytest.fixture
    def delivery(self, front: Front) -> Delivery:
        self._front = front
        return front.delivery()

    def artifact(self, version: str) -> Artifact:
        return self._front.artifact(version)

    def test_requests_follow_the_weights(self, delivery: Delivery) -> None:
        delivery.stage(self.artifact("1.1"))
        assert answered_by(self._front) == {"1.0"}
        delivery.shift("1.1", 50)
        assert answered_by(self._front, 60) == {"1.0", "1.1"}
        delivery.promote("1.1")
        assert answered_by(self._front) == {"1.1"}
        delivery.abort("1.0")
        assert answered_by(self._front) == {"1.0"}

    def test_an_envoy_that_restarts_gives_everything_to_the_stable_version(self, delivery: Delivery) -> None:
        delivery.stage(self.artifact("1.1"))
        delivery.shift("1.1", 50)
        self._front.restart_envoy()
        assert weights(delivery.inspect()) == {"1.0": 100, "1.1": 0}
        delivery.promote("1.1")
        self._front.restart_envoy()
        assert weights(delivery.inspect()) == {"1.0": 0, "1.1": 100}
        assert answered_by(self._front) == {"1.1"}

    def test_a_supervisor_that_restarts_brings_back_what_ran(self, delivery: Delivery) -> None:
        self._front.restart_supervisor()
        wait_for(lambda: running(delivery.inspect()) == {"1.0"})
        delivery.stage(self.artifact("1.1"))
        delivery.shift("1.1", 25)
        self._front.restart_supervisor()
        wait_for(lambda: all(version.healthy for version in delivery.inspect().versions))
        assert running(delivery.inspect()) == {"1.0", "1.1"}
        assert weights(delivery.inspect()) == {"1.0": 75, "1.1": 25}

    def test_a_crash_between_traffic_and_mark_leaves_a_way_back(self, delivery: Delivery) -> None:
        delivery.stage(self.artifact("1.1"))
        keys = {slot: envoy.runtime_key("prod", slot) for slot in "ab"}
        stable = str((self._front.layout.host("prod") / "slots" / "stable").readlink())
        canary = "b" if stable == "a" else "a"
        admin = self._front.layout.url("envoy_admin")
        fetch(admin, f"/runtime_modify?{keys[canary]}=100&{keys[stable]}=0", method="POST")
        state = delivery.inspect()
        assert (state.stable, weights(state)) == ("1.0", {"1.0": 0, "1.1": 100})
        assert weights(delivery.abort("1.0")) == {"1.0": 100}

    def test_abort_starts_a_stable_version_that_died(self, delivery: Delivery) -> None:
        delivery.stage(self.artifact("1.1"))
        delivery.shift("1.1", 50)
        slot = str((self._front.layout.host("prod") / "slots" / "stable").readlink())
        Supervisor("shop_supervisor").stop(f"shop-prod-{slot}")
        assert running(delivery.inspect()) == {"1.1"}
        assert running(delivery.abort("1.0")) == {"1.0"}

    def test_a_version_that_cannot_start_is_refused_without_traffic(self, delivery: Delivery, tmp_path: Path) -> None:
        path = tmp_path / "shop-9.9.pyz"
        path.write_text("raise SystemExit('broken')\n")
        broken = Artifact(version="9.9", path=str(path), digest=self._digest(path))
        with pytest.raises(PermanentError, match=r"9\.9 does not start.*supervisord says FATAL.*\.log"):
            delivery.stage(broken)
        assert delivery.inspect().weight_of("1.0") == 100
        assert answered_by(self._front) == {"1.0"}
        delivery.abort("1.0")

    def test_an_unhealthy_version_gets_no_traffic(self, delivery: Delivery) -> None:
        delivery.stage(self.artifact("1.1"))
        slot = "b" if str((self._front.layout.host("prod") / "slots" / "stable").readlink()) == "a" else "a"
        Supervisor("shop_supervisor").stop(f"shop-prod-{slot}")
        with pytest.raises(TemporaryError, match="not healthy"):
            delivery.shift("1.1", 5)

    def test_servers_that_are_down_are_temporary(self, delivery: Delivery, monkeypatch: pytest.MonkeyPatch) -> None:
        settings = self._front.settings()
        settings["router"]["options"]["admin"] = "http://127.0.0.1:9"
        with pytest.raises(TemporaryError, match=r"127\.0\.0\.1:9 does not answer"):
            open_delivery(**settings).inspect()
        set_connection(monkeypatch, "shop_supervisor", conn_type="http", host="127.0.0.1", port=9)
        with pytest.raises(TemporaryError, match=r"supervisord at 127\.0\.0\.1:9"):
            delivery.inspect()

    def test_a_wrong_log_in_is_permanent_and_not_shown(
        self, delivery: Delivery, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        port = self._front.layout.port("supervisor")
        set_connection(
            monkeypatch, "shop_supervisor", conn_type="http", host="127.0.0.1", port=port, login="x", password="hunter2"
        )
        with pytest.raises(PermanentError, match="status 401") as caught:
            delivery.inspect()
        assert "hunter2" not in str(caught.value)

    def _digest(self, path: Path) -> str:
        import hashlib

        return "sha256:" + hashlib.sha256(path.read_bytes()).hexdigest()

    def test_names_that_differ_are_refused(self, delivery: Delivery) -> None:
        settings = self._front.settings()
        settings["router"]["options"]["backends"]["c"] = settings["router"]["options"]["backends"].pop("b")
        with pytest.raises(InvalidInput, match="backends a, b and the router a, c: name them alike"):
            open_delivery(**settings)


class _Crashing(MemoryRouter):
    """The process ends in an act of this name, before or after its effect."""

    def __init__(self, host: Host, act: str, *, after: bool) -> None:
        super().__init__(host)
        self.act, self.after = act, after

    def set_shares(self, shares: Mapping[str, int]) -> dict[str, int]:
        return self._crash("set_shares", lambda: super(_Crashing, self).set_shares(shares))

    def set_fallback(self, backend: str) -> None:
        self._crash("set_fallback", lambda: super(_Crashing, self).set_fallback(backend))

    def _crash(self, name: str, do: Callable[[], Any]) -> Any:
        if name != self.act:
            return do()
        if self.after:
            do()
        raise KeyboardInterrupt


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("act", ["set_shares", "set_fallback"])
def test_wherever_a_promotion_is_killed_the_mark_is_still_on_the_way_back(act: str, after: bool) -> None:
    """Whatever is marked as stable is what a release goes back to by itself, and what an Envoy that restarts serves."""
    old, new = (Artifact(version=one, path=one, digest=digest_of(one)) for one in ("1.0", "1.1"))
    delivery = in_memory(old)
    delivery.stage(new)
    delivery.shift("1.1", 50)
    host = delivery.target.host  # type: ignore[attr-defined]  # of the one in memory
    with pytest.raises(KeyboardInterrupt):
        Delivery(MemoryTarget(host), _Crashing(host, act, after=after)).promote("1.1")
    assert host.stable == "a"
    again = Delivery(MemoryTarget(host), MemoryRouter(host))
    assert weights(again.inspect()) == ({"1.0": 50, "1.1": 50} if (act, after) == ("set_shares", False)
                                        else {"1.0": 0, "1.1": 100})
    assert again.promote("1.1").stable == "1.1", "the next try goes on"
    assert (host.stable, host.fallback) == ("b", "b")
    assert weights(again.abort("1.0")) == {"1.0": 100}
    assert (host.stable, host.fallback) == ("a", "a")
