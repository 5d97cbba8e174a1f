"""Stages take, prove and restore_set of one release, called again and again as a cleared or retried task calls them."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from airlock.errors import GateRefused, PermitInvalid, ProofFailed
from airlock.flow.stages import backup, deploy
from airlock.flow.stages.release import Release
from airlock.models import Handle, Resource
from tests.release_front import ReleaseFront
from tests.shop_front import Front, front, running_front

__all__ = ["front", "running_front"]


@pytest.fixture
def releases(front: Front, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ReleaseFront:
    return ReleaseFront(front, tmp_path, monkeypatch)


def taken_again(release: Release, resource: Resource, handle: Handle | None = None) -> None:
    begun = handle or backup.start(release, resource)
    assert backup.poll(release, resource, begun).done
    backup.finish(release, resource, begun)


def test_a_cleared_take_takes_no_second_backup_whatever_became_of_the_first(
    releases: ReleaseFront, tmp_path: Path
) -> None:
    release = releases.release()
    resource = release.plan.resources[0]
    point = release.recovery_point(resource)
    assert point is not None
    folder = tmp_path / "backups" / point.id
    content = {path.name: path.read_bytes() for path in folder.iterdir()}
    (tmp_path / ".env").write_text("COLOUR=red\n")
    handle = Handle(token=point.id, started_at=point.taken_at)  # what the task kept
    for kept in (None, handle):
        taken_again(releases.again(), resource, kept)
        assert len(release.recorded("recovery_point")) == 1
        assert {path.name: path.read_bytes() for path in folder.iterdir()} == content
    shutil.rmtree(folder)
    for kept in (None, handle):
        taken_again(releases.again(), resource, kept)
        assert len(release.recorded("recovery_point")) == 1
        assert not folder.exists()
    with pytest.raises(ProofFailed, match=r"configuration\.settings: .*point\.json is missing"):
        backup.prove(releases.again(), resource)
    with pytest.raises(GateRefused, match=r"configuration\.settings"):
        backup.restore_set(releases.again())


def test_a_finish_that_died_before_its_record_goes_on_with_the_backup_in_the_store(releases: ReleaseFront) -> None:
    release = releases.release()
    resource = release.plan.resources[0]
    other = releases.again("cafe-live-2")
    for record in release.ledger.read(release.id):
        if record.type in ("rfc", "plan", "permit"):
            other.record(record.type, record.subject, **record.data)
    driver = other.driver(resource)
    token = backup.token_for(other.id, backup.label(resource))
    first = driver.finish(driver.start(token))
    found = backup.finish(releases.again("cafe-live-2"), resource, driver.start(token))
    assert found == first
    assert [record.data["point"]["id"] for record in other.recorded("recovery_point")] == [token]


def test_a_plan_on_record_that_was_not_approved_stops_everything(releases: ReleaseFront) -> None:
    release = releases.release()
    none = release.plan.model_copy(update={"resources": ()})
    release.record("plan", plan=none.model_dump(mode="json"), digest=none.digest)
    for act in (backup.restore_set, deploy.stage):
        with pytest.raises(PermitInvalid, match="not the one that was approved"):
            act(releases.again())


def test_a_gate_that_was_passed_by_other_backups_counts_for_nothing(releases: ReleaseFront) -> None:
    release = releases.release()
    backup.passed(release)
    release.record("restore_set", points=["of another time"], skew_seconds=0.0, slowest_restore_seconds=0.0)
    with pytest.raises(GateRefused, match=r"has not passed for configuration\.settings"):
        deploy.stage(releases.again())
    assert not release.recorded("act")
