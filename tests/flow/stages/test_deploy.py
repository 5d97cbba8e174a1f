"""Promises of the stages that act on the target, against a target that is not as it was left."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from airlock.deploy.progress import CanaryProgress, Move
from airlock.errors import EffectMissing, GateRefused
from airlock.flow.stages import change, conflicts, deploy, migrate, rollback
from airlock.models import Artifact, Backend, digest_of
from tests.another_user import as_another_user
from tests.memory_delivery import Host, MemoryRouter, MemoryTarget
from tests.recompute import flown

OTHER = digest_of("other bytes of the same name")


@pytest.fixture(autouse=True)
def keys() -> Iterator[None]:
    with flown.keys():
        yield


@pytest.fixture
def flight(tmp_path: Path) -> flown.Flight:
    """A release whose new version is staged."""
    flight = flown.prepared(tmp_path, "{}", (flown.GOOD,) * 9, ())
    release = flight.release
    change.validate(release, {"version": "1.1", "change_type": "standard"}, "rita")
    plan = change.assess(release)
    change.permit(release)
    conflicts.begin(release, plan, flight.now)
    flight.back_up()
    migrate.migrate(release)
    deploy.stage(release)
    return flight


def host_of(flight: flown.Flight) -> Host:
    target = flight.release.delivery.target
    assert isinstance(target, MemoryTarget)
    return target.host


class _Kept(MemoryTarget):
    """A target with one place more, in which a version is kept that does not run; it comes first."""

    def __init__(self, host: Host, kept: Artifact) -> None:
        super().__init__(host)
        self.artifact = kept

    def backends(self) -> tuple[Backend, ...]:
        kept = Backend(name="c", version=self.artifact.version, installed=self.artifact.version, running=False,
                       healthy=False, digest=self.artifact.digest)
        return (kept, *super().backends())


class _KeptRouter(MemoryRouter):
    """Its router."""

    def shares(self) -> dict[str, int]:
        return {"c": 0, **super().shares()}


def test_what_gets_all_traffic_is_what_was_approved_not_what_is_called_alike(flight: flown.Flight) -> None:
    release, host = flight.release, host_of(flight)
    release.record("canary", move=Move.PASS, why="it is quiet")
    approved = release.plan.artifact
    other = approved.model_copy(update={"digest": OTHER})
    host.put("b", other)
    with pytest.raises(EffectMissing, match=f"runs {OTHER} where {approved.digest} was approved"):
        deploy.validate(release)
    release.delivery.target, release.delivery.router = _Kept(host, approved), _KeptRouter(host)
    with pytest.raises(EffectMissing, match=f"runs {OTHER} where"):  # a copy that does not run proves nothing
        deploy.validate(release)
    host.put("b", approved)
    release.delivery.target = _Kept(host, other)
    deploy.validate(release)
    release.delivery.target = MemoryTarget(host)
    release.delivery.target.stop("b")
    with pytest.raises(EffectMissing, match="runs nothing where"):
        deploy.validate(release)


def test_a_canary_is_not_begun_a_second_time_with_less(flight: flown.Flight) -> None:
    """Whoever lost its progress, or set weights by hand, had another canary: its looks are no looks at this one."""
    release = flight.release
    release.delivery.shift("1.1", 60)
    with pytest.raises(GateRefused, match="has 60 % of the traffic already.*not begun a second time"):
        deploy.shift(release, CanaryProgress())
    assert release.delivery.router.shares() == {"a": 40, "b": 60}
    assert [one.subject for one in release.recorded("act")] == ["stage"]


def test_a_rollback_that_left_something_is_not_taken_for_one(flight: flown.Flight) -> None:
    release, host = flight.release, host_of(flight)
    deploy.shift(release, CanaryProgress())
    rollback.traffic(release, "a test")
    approved = release.plan.artifact
    host.put("b", approved)
    with pytest.raises(EffectMissing, match=r"1\.1 0 %.*no other version running; clear the task"):
        rollback.verify(release)
    release.delivery.target.stop("b")
    host.shares = {"a": 99, "b": 1}
    with pytest.raises(EffectMissing, match=r"1\.0 99 %.*with 100 %"):
        rollback.verify(release)
    assert release.latest("rolled_back") is None
    host.shares = {"a": 100, "b": 0}
    rollback.verify(release)
    assert release.latest("rolled_back") is not None


def test_a_ledger_that_may_only_be_read_keeps_no_traffic_on_a_failing_version(
    flight: flown.Flight, tmp_path: Path
) -> None:
    release, host = flight.release, host_of(flight)
    deploy.shift(release, CanaryProgress())
    assert host.shares["b"] > 0

    def go_back() -> str:
        rollback.traffic(release, "a test")
        return str(host.shares)

    assert as_another_user(go_back, tmp_path) == "{'a': 100, 'b': 0}"
