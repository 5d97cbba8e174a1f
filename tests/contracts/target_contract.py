"""What every target must do. A target's test derives from ``TargetContract`` and gives ``target`` and ``artifact``."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from pathlib import Path

import pytest

from airlock.deploy.target import Target
from airlock.errors import InvalidInput, PermanentError
from airlock.fetch import fetch
from airlock.models import Artifact, Backend
from airlock.models.needs import Stage
from tests.contracts.declared_reach import DeclaredReach


def seen(target: Target, name: str) -> Backend:
    return next(one for one in target.backends() if one.name == name)


class TargetContract(DeclaredReach, ABC):
    """``target`` starts every test with ``old`` in its stable backend, running, and nothing in the others."""

    subject = "target"
    methods = {
        "stable": Stage.DELIVERY,
        "mark_stable": Stage.DELIVERY,
        "backends": Stage.DELIVERY,
        "install": Stage.DELIVERY,
        "await_healthy": Stage.DELIVERY,
        "holds": Stage.DELIVERY,
        "revive": Stage.DELIVERY,
        "stop": Stage.DELIVERY,
        "purge": Stage.DELIVERY,
    }
    old: str
    new: str
    other: str

    @pytest.fixture
    @abstractmethod
    def target(self) -> Target: ...

    @abstractmethod
    def artifact(self, version: str) -> Artifact: ...

    @pytest.fixture
    def spare(self, target: Target) -> str:
        """A backend that is not the stable one."""
        return next(name for name in target.options.backend_names if name != target.stable())

    def test_unknown_options_stop(self, target: Target) -> None:
        with pytest.raises(InvalidInput, match="colour"):
            type(target)({**target.options.model_dump(mode="json"), "colour": "blue"})

    def test_backends_are_those_of_the_options(self, target: Target, spare: str) -> None:
        assert tuple(one.name for one in target.backends()) == target.options.backend_names
        stable = seen(target, target.stable())
        assert (stable.version, stable.running, stable.healthy) == (self.old, True, True)
        assert stable.digest == stable.claimed == self.artifact(self.old).digest
        assert (seen(target, spare).running, seen(target, spare).installed) == (False, None)

    def test_what_is_installed_runs_and_nothing_else_changes(self, target: Target, spare: str) -> None:
        before = seen(target, target.stable())
        for _ in range(2):
            target.install(self.artifact(self.new), spare)
            found = seen(target, spare)
            assert (found.version, found.installed, found.running, found.healthy) == (self.new, self.new, True, True)
            assert found.claimed == self.artifact(self.new).digest
        assert seen(target, target.stable()) == before
        assert json.loads(fetch(found.address, "/health").body)["version"] == self.new, "checks ask the version itself"

    def test_an_altered_or_missing_artifact_is_refused(self, target: Target, spare: str, tmp_path: Path) -> None:
        good = self.artifact(self.new)
        altered = tmp_path / Path(good.path).name
        altered.write_bytes(Path(good.path).read_bytes() + b"x")
        with pytest.raises(PermanentError, match=good.digest):
            target.install(good.model_copy(update={"path": str(altered)}), spare)
        with pytest.raises(PermanentError, match="missing"):
            target.install(good.model_copy(update={"path": str(tmp_path / "none")}), spare)
        assert seen(target, spare).version != self.new

    def test_the_mark_goes_where_it_is_set(self, target: Target, spare: str) -> None:
        before = target.stable()
        for name in (spare, spare, before):
            target.mark_stable(name)
            assert target.stable() == name

    def test_what_is_stopped_is_held_and_comes_back_and_what_is_purged_does_not(
        self, target: Target, spare: str
    ) -> None:
        assert not target.holds(spare, self.new)
        target.install(self.artifact(self.new), spare)
        for _ in range(2):
            target.stop(spare)
            assert (seen(target, spare).running, target.holds(spare, self.new)) == (False, True)
        for _ in range(2):
            target.revive(spare, self.new)
            target.await_healthy(spare, self.new)
        target.purge(spare)
        assert target.holds(spare, self.new), "what runs is not purged"
        target.stop(spare)
        target.purge(spare)
        assert not target.holds(spare, self.new)
        with pytest.raises(PermanentError, match=self.new):
            target.revive(spare, self.new)
        assert seen(target, target.stable()).healthy

    def test_what_is_declared_is_reached(self, target: Target) -> None:
        """The last one: it looks at all that the tests before it recorded."""
        unused = self.unused_of(TargetContract, "test_what_is_declared_is_reached")
        assert unused == [], f"declared, and never reached: {unused}"
