from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from airlock.analysis.judge import judge
from airlock.analysis.sources.haproxy import HaproxySource
from airlock.deploy.delivery import Delivery, open_delivery
from airlock.deploy.targets.supervisord_rpc import Supervisor
from airlock.errors import CountsLost, InvalidInput, NoData, TemporaryError
from airlock.haproxy_socket import ask
from airlock.models import AnalysisPolicy, Answer
from tests.contracts.declared_reach import METRICS, Reach, reaching
from tests.haproxy_front import HaproxyFront
from tests.shop_front import Front, front, running_front, wait_for

__all__ = ["front", "running_front"]
POLICY = AnalysisPolicy(alpha=0.01 / 3)


@dataclass
class Shop:
    """The shop behind HAProxy, with 1.0 stable."""

    front: Front
    haproxy: HaproxyFront

    @property
    def delivery(self) -> Delivery:
        settings = self.front.settings()
        settings["router"] = {"name": "haproxy", "options": {**self.haproxy.router_options(), "effect_seconds": 30}}
        return open_delivery(**settings)

    def source(self, **changes: Any) -> HaproxySource:
        return HaproxySource({**self.haproxy.metrics_options(), **changes})

    def staged(self, version: str, percent: int) -> None:
        self.delivery.stage(self.front.artifact(version))
        self.delivery.shift(version, percent)


@pytest.fixture
def shop(front: Front, tmp_path: Path) -> Iterator[Shop]:
    addresses = {slot: f"127.0.0.1:{front.layout.port(f'prod_{slot}')}" for slot in "ab"}
    haproxy = HaproxyFront(tmp_path, addresses)
    haproxy.start()
    try:
        made = Shop(front, haproxy)
        made.delivery.abort("1.0")
        yield made
    finally:
        haproxy.stop()


def test_counts_follow_the_split_exactly_and_a_good_version_passes(shop: Shop) -> None:
    shop.staged("1.1", 25)
    source = shop.source()
    mark = source.begin("1.0", "1.1")
    with shop.front.traffic(120, shop.haproxy.listener):
        wait_for(lambda: judge(POLICY, source.sample(mark, "1.0", "1.1", 0.25)).answer is Answer.PASS, 120)
        wait_for(lambda: source.sample(mark, "1.0", "1.1", 0.25).canary.requests >= 100, 120)
        found = source.sample(mark, "1.0", "1.1", 0.25)
    share = found.canary.requests / (found.canary.requests + found.stable.requests)
    assert 0.22 < share < 0.28  # the first round and requests that are under way
    assert (found.canary.errors, found.stable.errors) == (0, 0)
    assert found.canary.latency_p95_ms is not None
    assert found.canary.latency_buckets[-1][1] >= 100
    assert "HAProxy 2." in source.online()


@pytest.mark.parametrize(("version", "says"), [("1.2", "errors"), ("1.3", "took longer than")])
def test_a_failing_and_a_slow_version_are_caught(shop: Shop, version: str, says: str) -> None:
    shop.staged(version, 50)
    source = shop.source()
    mark = source.begin("1.0", version)
    with shop.front.traffic(120, shop.haproxy.listener):
        wait_for(lambda: judge(POLICY, source.sample(mark, "1.0", version, 0.5)).answer is Answer.FAIL, 180)
        assert says in judge(POLICY, source.sample(mark, "1.0", version, 0.5)).sentence


@pytest.mark.parametrize("given_to_another", [False, True])
def test_a_version_that_dies_is_seen_as_failing(shop: Shop, given_to_another: bool) -> None:
    if given_to_another:
        shop.haproxy.stop()
        shop.haproxy.section = ("option redispatch", "retries 1")
        shop.haproxy.start()
    shop.staged("1.1", 50)
    source = shop.source()
    mark = source.begin("1.0", "1.1")
    stable = shop.delivery.target.stable()
    with shop.front.traffic(60, shop.haproxy.listener):
        Supervisor("shop_supervisor").stop(f"shop-prod-{'b' if stable == 'a' else 'a'}")
        wait_for(lambda: judge(POLICY, source.sample(mark, "1.0", "1.1", 0.5)).answer is Answer.FAIL, 120)
        found = source.sample(mark, "1.0", "1.1", 0.5)
    assert found.canary.errors == found.canary.requests > 0
    assert found.stable.errors == 0


def test_counts_that_are_lost_are_never_zero(shop: Shop) -> None:
    shop.staged("1.1", 50)
    source = shop.source()
    with shop.front.traffic(60, shop.haproxy.listener):
        wait_for(lambda: source.sample(source.begin("1.0", "1.1"), "1.0", "1.1", 0.5), 5)
        wait_for(lambda: source.counts("a").requests and source.counts("b").requests)
    mark = source.begin("1.0", "1.1")
    ask(shop.haproxy.socket, "clear counters all")
    with pytest.raises(CountsLost, match="went backwards"):
        source.sample(mark, "1.0", "1.1", 0.5)
    mark = source.begin("1.0", "1.1")
    ask(shop.haproxy.socket, f"clear table {shop.source().options.table}")
    with pytest.raises(CountsLost, match="latency"):
        source.sample({**mark, "canary": {**mark["canary"], "counts": {"buckets": [[5, 9]]}}}, "1.0", "1.1", 0.5)
    shop.haproxy.restart()
    with pytest.raises(CountsLost, match="restarted"):
        source.sample(mark, "1.0", "1.1", 0.5)


def test_what_haproxy_does_not_count_is_named(shop: Shop) -> None:
    shop.delivery.stage(shop.front.artifact("1.1"))
    for changes, says in (({"table": "none"}, "has no stick table 'none'"), ({"proxy": "shopp"}, "no backend section"),
                          ({"bounds_ms": [1, 2]}, r"12 counters for 2 bounds|^$")):
        source = shop.source(**changes)
        if "bounds_ms" in changes:
            with shop.front.traffic(60, shop.haproxy.listener):
                wait_for(lambda: shop.source().counts("a").timed or shop.source().counts("b").timed)
        with pytest.raises(NoData, match=says):
            source.begin("1.0", "1.1")
    backends = {name: {**one, "server": "z"} for name, one in shop.haproxy.metrics_options()["backends"].items()}
    with pytest.raises(NoData, match="no such server"):
        shop.source(backends=backends).begin("1.0", "1.1")
    with pytest.raises(TemporaryError, match="does not answer"):
        shop.source(socket="127.0.0.1:9").online()
    with pytest.raises(InvalidInput, match="bounds rise"):
        shop.source(bounds_ms=[5, 5])


def test_what_it_reaches_is_what_it_declares(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    shop.staged("1.1", 25)
    source, reach = shop.source(), Reach()
    with reaching(reach, source, METRICS, monkeypatch):
        source.online()
        source.sample(source.begin("1.0", "1.1"), "1.0", "1.1", 0.25)
    assert reach.unused == []
