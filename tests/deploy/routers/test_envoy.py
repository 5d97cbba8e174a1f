from __future__ import annotations

import http.client
import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from airlock.deploy.routers.envoy import EnvoyRouter
from airlock.errors import InvalidInput, PermanentError, TemporaryError
from airlock.fetch import fetch
from sandbox import envoy, processes, reach
from tests.contracts.router_contract import RouterContract
from tests.faulty_proxy import Fault, faulty_proxy
from tests.shop_front import Front, front, running_front

__all__ = ["front", "running_front"]


def versions(front: Front, requests: int) -> Counter[str]:
    """Ask the shop through its front, on one connection; return how many answers came from each version."""
    connection = http.client.HTTPConnection("127.0.0.1", front.layout.port("envoy"), timeout=5)
    found = Counter[str]()
    for _ in range(requests):
        connection.request("GET", "/")
        found[json.loads(connection.getresponse().read())["version"]] += 1
    connection.close()
    return found


class TestEnvoyRouter(RouterContract):
    @pytest.fixture
    def router(self, front: Front) -> EnvoyRouter:
        delivery = front.delivery()
        delivery.stage(front.artifact("1.1"))
        self._front, self.first = front, delivery.target.stable()
        self.second = next(name for name in ("a", "b") if name != self.first)
        self._names = {"1.0": self.first, "1.1": self.second}
        return EnvoyRouter(front.router_options())

    def restart(self) -> None:
        self._front.restart_envoy()

    def answers(self, requests: int) -> Counter[str]:
        return Counter({self._names[version]: count for version, count in versions(self._front, requests).items()})

    def test_weights_that_are_none_stop(self, router: EnvoyRouter) -> None:
        options = router.options.model_dump(mode="json")
        options["backends"]["a"]["runtime_key"] = "no.such.key"
        with pytest.raises(PermanentError, match=r"no value.*no\.such\.key.*disk layer"):
            EnvoyRouter(options).shares()
        key = router.options.backends["a"].runtime_key
        fetch(self._front.layout.url("envoy_admin"), f"/runtime_modify?{key}=many", method="POST")
        with pytest.raises(PermanentError, match="'many' as weight"):
            router.shares()
        fetch(self._front.layout.url("envoy_admin"), f"/runtime_modify?{key}=100", method="POST")

    def test_weights_are_relative_as_envoy_takes_them(self, router: EnvoyRouter) -> None:
        keys = {name: one.runtime_key for name, one in router.options.backends.items()}
        admin = self._front.layout.url("envoy_admin")
        for weights, shares in (((40, 40), (50, 50)), ((1, 0), (100, 0)), ((999, 1), (99, 1)), ((0, 0), (0, 0))):
            pairs = zip((self.first, self.second), weights, strict=True)
            fetch(admin, "/runtime_modify?" + "&".join(f"{keys[name]}={weight}" for name, weight in pairs),
                  method="POST")
            assert router.shares() == dict(zip((self.first, self.second), shares, strict=True))
        assert router.set_shares({self.first: 100}) == {self.first: 100, self.second: 0}

    def test_an_envoy_that_is_down_is_temporary(self, router: EnvoyRouter) -> None:
        options = {**self._front.router_options(), "admin": "http://127.0.0.1:9"}
        with pytest.raises(TemporaryError, match=r"127\.0\.0\.1:9 does not answer"):
            EnvoyRouter(options).shares()

    def test_half_a_fallback_is_none(self, router: EnvoyRouter) -> None:
        folder = router.options.fallback_folder
        (folder / "current" / "traffic" / router.options.backends[self.second].runtime_key).write_text("40")
        assert router.fallback() is None
        router.set_fallback(self.first)
        assert router.fallback() == self.first


BACKENDS = {"a": {"runtime_key": "split.shop.v1"}, "b": {"runtime_key": "split.shop.v2"}}
WEIGHTS = {"split.shop.v1": 100, "split.shop.v2": 0}
ADMIN_LAYER = {"name": "admin", "admin_layer": {}}


def route(clusters: Sequence[str], prefix: str = "split.shop", path: str = "/") -> dict[str, Any]:
    """A route that splits between *clusters*, by their names in the configuration; weights are 100, 0, 0..."""
    named = [{"name": name, "weight": 0 if number else 100} for number, name in enumerate(clusters)]
    return {"match": {"prefix": path}, "route": {"weighted_clusters": {"runtime_key_prefix": prefix,
                                                                        "clusters": named}}}


Start = Callable[..., EnvoyRouter]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts an Envoy that somebody configured by hand, and gives a router for it."""
    started: list[processes.Server] = []

    def begin(routes: Sequence[dict[str, Any]], *layers: dict[str, Any], weights: Any = None) -> EnvoyRouter:
        admin, listener = reach.free_port(), reach.free_port()
        hosts = [{"name": "shop", "domains": ["*"], "routes": list(routes)}]
        manager = {
            "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3."
                     "HttpConnectionManager",
            "stat_prefix": "shop", "route_config": {"name": "shop", "virtual_hosts": hosts},
            "http_filters": [{"name": "envoy.filters.http.router", "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}}],
        }
        place = {"socket_address": {"address": "127.0.0.1", "port_value": listener}}
        clusters = sorted({one["name"] for each in routes for one in each["route"]["weighted_clusters"]["clusters"]})
        path = tmp_path / f"envoy-{admin}.json"
        path.write_text(json.dumps({
            "admin": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": admin}}},
            "layered_runtime": {"layers": [{"name": "start", "static_layer": weights or WEIGHTS}, *layers]},
            "static_resources": {
                "listeners": [{"name": "shop", "address": place, "filter_chains": [{"filters": [{
                    "name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}]}],
                "clusters": [{"name": name, "type": "STATIC", "connect_timeout": "1s"} for name in clusters],
            },
        }))  # fmt: skip
        command = (str(envoy.binary()), "-c", str(path), "--concurrency", "1", "--disable-hot-restart",
                   "--log-level", "error")
        started.append(processes.start(processes.Program(
            name=f"envoy-{admin}", command=command, log=tmp_path / "envoy.log",
            ready=lambda: reach.answers(f"http://127.0.0.1:{admin}/ready")), tmp_path / "run"))
        return EnvoyRouter({"admin": f"http://127.0.0.1:{admin}", "listener": f"http://127.0.0.1:{listener}",
                            "fallback_folder": str(tmp_path), "backends": BACKENDS, "effect_seconds": 1})

    yield begin
    for server in started:
        server.stop()


def test_an_envoy_whose_weights_cannot_be_set_is_refused_for_good(start: Start) -> None:
    """A retry would not help: who reads this at night must change the bootstrap."""
    router = start([route(["v1", "v2"])])
    with pytest.raises(PermanentError, match=r"No admin layer.*admin_layer"):
        router.set_shares({"a": 95, "b": 5})
    assert router.shares() == {"a": 100, "b": 0}


def test_weights_that_another_layer_overrules_are_not_taken_for_set(start: Start) -> None:
    router = start([route(["v1", "v2"])], ADMIN_LAYER, {"name": "on top", "static_layer": {"split.shop.v1": 10}})
    with pytest.raises(PermanentError, match="does not show the weights"):
        router.set_shares({"a": 95, "b": 5})


def test_a_cluster_that_no_backend_names_gets_no_share_in_silence(start: Start) -> None:
    router = start([route(["old", "v1", "v2"])], ADMIN_LAYER)
    with pytest.raises(PermanentError, match=r"split\.shop\.old.* weight 100 .*in no backend"):
        router.set_shares({"a": 95, "b": 5})
    assert router.shares() == {"a": 100, "b": 0}, "nothing was split"
    fetch(router.options.admin, "/runtime_modify?split.shop.old=0", method="POST")
    assert router.set_shares({"a": 95, "b": 5}) == {"a": 95, "b": 5}
    fetch(router.options.admin, "/runtime_modify?split.shop.old=7", method="POST")
    router.set_fallback("a")
    with pytest.raises(PermanentError, match=r"split\.shop\.old.* weight 7 "):
        router.set_shares({"b": 100})
    assert router.set_shares({"a": 100}) == {"a": 100, "b": 0}, "nothing holds up a way back"


@pytest.mark.parametrize("routes", [
    [route(["v1", "v3"])],
    [route(["v1", "v2"], prefix="split.bank")],
    [route(["v1", "v2"]), route(["v1"], path="/images")],
], ids=["another name", "another prefix", "half of it"])  # fmt: skip
def test_weights_that_no_route_splits_by_are_refused(start: Start, routes: list[dict[str, Any]]) -> None:
    router = start(routes[::-1], ADMIN_LAYER)
    with pytest.raises(PermanentError, match=r"split.*runtime_key"):
        router.set_shares({"a": 95, "b": 5})


def test_several_routes_may_split_alike(start: Start) -> None:
    others = route(["bank1", "bank2"], prefix="split.bank")
    router = start([route(["v1", "v2"], path="/images"), others, route(["v2", "v1"])], ADMIN_LAYER)
    assert router.set_shares({"a": 95, "b": 5}) == {"a": 95, "b": 5}


@pytest.mark.parametrize("said", [[], {"entries": []}, {"entries": {"split.shop.v1": "100"}}, {"entries": None}, {},
                                  {"entries": {"split.shop.v1": None}}, "text", None, 1])
def test_who_answers_as_no_envoy_does_is_named(start: Start, said: Any) -> None:
    router = start([route(["v1", "v2"])], ADMIN_LAYER)
    with faulty_proxy(router.options.admin) as proxy:
        proxy.decide = lambda method, path: Fault(status=200, body=json.dumps(said).encode())
        options = {**router.options.model_dump(mode="json"), "admin": proxy.url}
        with pytest.raises((PermanentError, TemporaryError), match=proxy.url):
            EnvoyRouter(options).shares()


def test_two_backends_with_one_weight_are_refused(start: Start) -> None:
    same = {"a": BACKENDS["a"], "b": BACKENDS["a"]}
    with pytest.raises(InvalidInput, match=r"runtime_key split\.shop\.v1.*name each once"):
        EnvoyRouter({"admin": "http://127.0.0.1:9", "listener": "http://127.0.0.1:9", "fallback_folder": "/nowhere",
                     "backends": same})


def test_a_folder_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    router = EnvoyRouter({"admin": "http://127.0.0.1:9", "listener": "http://127.0.0.1:9", "backends": BACKENDS,
                          "fallback_folder": str(tmp_path / "file")})
    with pytest.raises(PermanentError, match=r"file cannot be written.*rights"):
        router.set_fallback("a")
