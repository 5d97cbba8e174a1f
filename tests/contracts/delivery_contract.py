"""What every combination of a target and a router must do. A test derives from ``DeliveryContract`` and gives
``delivery`` and ``artifact``."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from pathlib import Path

import pytest

from airlock.deploy.delivery import Delivery
from airlock.errors import PermanentError
from airlock.fetch import fetch
from airlock.models import Artifact, TargetState


def running(state: TargetState) -> set[str]:
    return {version.version for version in state.versions if version.running}


def weights(state: TargetState) -> dict[str, int]:
    return {version.version: version.weight for version in state.versions}


class DeliveryContract(ABC):
    """``delivery`` starts every test with ``old`` stable, all traffic on it, and nothing else there."""

    old: str
    new: str
    other: str

    @pytest.fixture
    @abstractmethod
    def delivery(self) -> Delivery: ...

    @abstractmethod
    def artifact(self, version: str) -> Artifact: ...

    def test_a_settled_delivery_has_one_version(self, delivery: Delivery) -> None:
        state = delivery.inspect()
        assert state.stable == self.old
        assert state.canary is None
        assert weights(state) == {self.old: 100}
        assert running(state) == {self.old}
        assert state.versions[0].digest == self.artifact(self.old).digest

    def test_staging_starts_the_version_without_traffic(self, delivery: Delivery) -> None:
        state = delivery.stage(self.artifact(self.new))
        assert state.canary == self.new
        assert weights(state) == {self.old: 100, self.new: 0}
        found = next(version for version in state.versions if version.version == self.new)
        assert (found.running, found.healthy, found.digest) == (True, True, self.artifact(self.new).digest)
        assert json.loads(fetch(found.address, "/health").body)["version"] == self.new, "checks ask the version itself"

    def test_an_altered_artifact_is_refused(self, delivery: Delivery, tmp_path: Path) -> None:
        good = self.artifact(self.new)
        altered = tmp_path / Path(good.path).name
        altered.write_bytes(Path(good.path).read_bytes() + b"x")
        with pytest.raises(PermanentError, match=good.digest):
            delivery.stage(good.model_copy(update={"path": str(altered)}))
        assert self.new not in running(delivery.inspect())

    def test_a_missing_artifact_is_refused(self, delivery: Delivery, tmp_path: Path) -> None:
        with pytest.raises(PermanentError, match="missing"):
            delivery.stage(self.artifact(self.new).model_copy(update={"path": str(tmp_path / "none")}))

    def test_staging_again_shifts_nothing(self, delivery: Delivery) -> None:
        delivery.stage(self.artifact(self.new))
        delivery.shift(self.new, 25)
        assert weights(delivery.stage(self.artifact(self.new))) == {self.old: 75, self.new: 25}

    def test_another_version_is_not_staged_over_one_with_traffic(self, delivery: Delivery) -> None:
        delivery.stage(self.artifact(self.new))
        delivery.shift(self.new, 25)
        with pytest.raises(PermanentError, match="25 %"):
            delivery.stage(self.artifact(self.other))
        assert weights(delivery.inspect()) == {self.old: 75, self.new: 25}

    def test_shifting_is_idempotent_and_adds_up(self, delivery: Delivery) -> None:
        delivery.stage(self.artifact(self.new))
        for percent in (5, 5, 50, 0):
            assert weights(delivery.shift(self.new, percent)) == {self.old: 100 - percent, self.new: percent}

    @pytest.mark.parametrize("percent", [-1, 101])
    def test_shares_out_of_range_are_refused(self, delivery: Delivery, percent: int) -> None:
        delivery.stage(self.artifact(self.new))
        with pytest.raises(PermanentError, match="0 to 100"):
            delivery.shift(self.new, percent)

    def test_an_unstaged_version_gets_no_traffic(self, delivery: Delivery) -> None:
        with pytest.raises(PermanentError, match="stage it first"):
            delivery.shift(self.other, 5)
        with pytest.raises(PermanentError, match="stage it first"):
            delivery.promote(self.other)

    def test_promotion_keeps_the_old_version_warm_until_it_is_retired(self, delivery: Delivery) -> None:
        delivery.stage(self.artifact(self.new))
        for _ in range(2):
            state = delivery.promote(self.new)
            assert state.stable == self.new
            assert weights(state) == {self.old: 0, self.new: 100}
            assert running(state) == {self.old, self.new}
        with pytest.raises(PermanentError, match="stable"):
            delivery.retire(self.new)
        for _ in range(2):
            assert running(delivery.retire(self.old)) == {self.new}

    def test_a_version_with_traffic_is_not_retired(self, delivery: Delivery) -> None:
        delivery.stage(self.artifact(self.new))
        delivery.shift(self.new, 5)
        with pytest.raises(PermanentError, match="traffic"):
            delivery.retire(self.new)

    @pytest.mark.parametrize("before", ["staged", "shifted", "promoted", "retired", "nothing"])
    def test_abort_always_lands_on_the_named_version(self, delivery: Delivery, before: str) -> None:
        if before != "nothing":
            delivery.stage(self.artifact(self.new))
        if before == "shifted":
            delivery.shift(self.new, 50)
        if before in ("promoted", "retired"):
            delivery.promote(self.new)
        if before == "retired":
            delivery.retire(self.old)
        for _ in range(2):
            state = delivery.abort(self.old)
            assert state.stable == self.old
            assert state.canary is None
            assert weights(state) == {self.old: 100}
            assert running(state) == {self.old}

    def test_abort_to_an_unknown_version_changes_nothing(self, delivery: Delivery) -> None:
        delivery.stage(self.artifact(self.new))
        with pytest.raises(PermanentError, match="not installed"):
            delivery.abort(self.other)
        assert running(delivery.inspect()) == {self.old, self.new}
