from __future__ import annotations

import http.client
import json
from collections import Counter

import pytest

from airlock.deploy.routers.envoy import EnvoyRouter
from airlock.errors import PermanentError, TemporaryError
from airlock.fetch import fetch
from tests.contracts.router_contract import RouterContract
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
