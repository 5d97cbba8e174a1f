"""What every router must do. A router's test derives from ``RouterContract`` and gives ``router`` and ``restart``."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter

import pytest

from airlock.deploy.router import Router
from airlock.errors import InvalidInput
from airlock.models.needs import Stage
from tests.contracts.declared_reach import DeclaredReach


class RouterContract(DeclaredReach, ABC):
    """``router`` starts every test with two backends that answer, all traffic on ``first``, which is the fallback."""

    subject = "router"
    methods = {
        "shares": Stage.DELIVERY,
        "set_shares": Stage.DELIVERY,
        "fallback": Stage.DELIVERY,
        "set_fallback": Stage.DELIVERY,
        "health": Stage.DELIVERY,
    }
    first: str
    second: str

    @pytest.fixture
    @abstractmethod
    def router(self) -> Router: ...

    @abstractmethod
    def restart(self) -> None:
        """End the router and start it again."""

    @abstractmethod
    def answers(self, requests: int) -> Counter[str]:
        """Ask through the router; return how many of *requests* each backend answered."""

    def test_unknown_options_stop(self, router: Router) -> None:
        with pytest.raises(InvalidInput, match="colour"):
            type(router)({**router.options.model_dump(mode="json"), "colour": "blue"})

    def test_what_is_set_is_what_is_read(self, router: Router) -> None:
        for percent in (0, 1, 5, 50, 99, 100, 100, 7, 0):
            wanted = {self.first: 100 - percent, self.second: percent}
            assert router.set_shares(wanted) == wanted
            assert router.shares() == wanted
            assert router.set_shares(router.shares()) == wanted

    def test_who_is_not_named_gets_nothing(self, router: Router) -> None:
        assert router.set_shares({self.second: 100}) == {self.first: 0, self.second: 100}

    @pytest.mark.parametrize("shares", [{}, {"x": 100}, {"first": 60, "second": 60}, {"first": 130, "second": -30}])
    def test_shares_that_are_none_are_refused_and_change_nothing(
        self, router: Router, shares: dict[str, int]
    ) -> None:
        before = router.shares()
        with pytest.raises(ValueError, match="shares"):
            router.set_shares({getattr(self, name, name): share for name, share in shares.items()})
        assert router.shares() == before

    def test_requests_follow_the_shares(self, router: Router) -> None:
        assert set(self.answers(40)) == {self.first}
        router.set_shares({self.first: 50, self.second: 50})
        assert set(self.answers(100)) == {self.first, self.second}
        router.set_shares({self.second: 100})
        assert set(self.answers(40)) == {self.second}

    def test_what_answers_through_it_says_what_it_is(self, router: Router) -> None:
        answered = [router.health("/health")]
        router.set_shares({self.second: 100})
        answered.append(router.health("/health"))
        assert all(one is not None and one.healthy for one in answered)
        assert answered[0] != answered[1]

    def test_a_fallback_changes_no_traffic_until_the_router_restarts(self, router: Router) -> None:
        router.set_shares({self.first: 75, self.second: 25})
        assert router.fallback() == self.first
        for name in (self.first, self.second, self.second):
            router.set_fallback(name)
            assert router.fallback() == name
            assert router.shares() == {self.first: 75, self.second: 25}
        self.restart()
        assert router.shares() == {self.first: 0, self.second: 100}
        assert set(self.answers(40)) == {self.second}

    def test_what_was_set_is_forgotten_by_a_restart(self, router: Router) -> None:
        router.set_shares({self.first: 50, self.second: 50})
        self.restart()
        assert router.shares() == {self.first: 100, self.second: 0}
        router.set_shares({self.first: 50, self.second: 50})
        assert set(self.answers(100)) == {self.first, self.second}

    def test_what_is_declared_is_reached(self, router: Router) -> None:
        """The last one: it looks at all that the tests before it recorded."""
        unused = self.unused_of(RouterContract, "test_what_is_declared_is_reached")
        assert unused == [], f"declared, and never reached: {unused}"
