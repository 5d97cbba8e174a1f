"""Stages take, prove and restore_set of one release, called again and again as a cleared or retried task calls them."""

from __future__ import annotations

import shutil
from datetime import timedelta
from pathlib import Path

import pytest

from airlock.errors import GateRefused, PermitInvalid, ProofFailed
from airlock.flow.release import Release
from airlock.flow.stages import backup
from airlock.models import Handle, RecoveryPoint, Resource
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


def test_points_too_far_apart_ask_for_another_release(releases: ReleaseFront) -> None:
    release = releases.release()
    resource = release.plan.resources[0]
    point = release.recovery_point(resource)
    assert point is not None
    early = point.model_copy(update={"taken_at": point.taken_at - timedelta(days=1)})
    assert isinstance(early, RecoveryPoint)
    two = release.plan.model_copy(update={"resources": (resource, resource.model_copy(update={"name": "early"}))})
    release.record("plan", plan=two.model_dump(mode="json"), digest=two.digest)
    release.record("recovery_point", "configuration.early", point=early.model_dump(mode="json"))
    proof = release.latest("proof", backup.label(resource))
    assert proof is not None
    release.record("proof", "configuration.early", proof=proof["proof"])
    with pytest.raises(GateRefused, match="release again, which takes new backups"):
        backup.restore_set(releases.again())
    with pytest.raises(PermitInvalid):
        backup.start(releases.again(), resource)
