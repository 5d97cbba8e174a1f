"""A release whose backups, replica, records, anchor and packs are in buckets of a real S3, through its stages."""

from __future__ import annotations

import json
import uuid
from pathlib import Path

import pytest
from upath import UPath

from airlock.deploy.broken_glass import BrokenGlass
from airlock.errors import GateRefused, ProofFailed
from airlock.evidence.ledger import Ledger
from airlock.evidence.pack import pack_path, verify
from airlock.flow.stages import backup, broken_glass, close
from airlock.flow.stages.release import Release
from airlock.past import ledgers, open_changes
from airlock.places import objects
from airlock.recompute.release import recompute
from airlock.service.reading import load_file
from airlock.signing import signer_from_connection
from sandbox import seaweedfs
from tests.object_stores import s3_bucket, s3_connection, seaweedfs_server
from tests.release_front import ReleaseFront, baked, stage
from tests.shop_front import Front, front, running_front

__all__ = ["front", "running_front", "seaweedfs_server"]
KEPT = ("ledger", "evidence", "anchor", "backups", "replica")


class InBuckets(ReleaseFront):
    """As its base, with all that is kept in buckets: those of the anchor and of the replica are other ones."""

    def __init__(self, running: Front, folder: Path, patch: pytest.MonkeyPatch, server: seaweedfs.SeaweedFS) -> None:
        super().__init__(running, folder, patch)
        self.connection = s3_connection(patch, server.url)
        self.folder = uuid.uuid4().hex
        self.bucket = {name: s3_bucket(server, f"of-{name}") for name in KEPT}
        file = folder / "services" / "cafe.yaml"
        text = file.read_text()
        for line in ("ledger", "evidence"):
            text = text.replace(f"{line}: {folder}/{line}", f"{line}: {self.written(line)}")
        text = text.replace(f"store: {folder}/backups", f"store: {self.written('backups')}, replica: "
                                                        f"{self.written('replica')}")
        text = text.replace("    signing_connection:", f"    anchor: {self.written('anchor')}\n    signing_connection:")
        file.write_text(text)
        self.environment = load_file(file)[0]

    def written(self, name: str) -> str:
        return json.dumps({"path": f"s3://{self.bucket[name]}/{self.folder}", "connection": self.connection})

    def place(self, name: str) -> UPath:
        return UPath(f"s3://{self.bucket[name]}/{self.folder}", connection=self.connection)


@pytest.fixture
def releases(
    front: Front, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seaweedfs_server: seaweedfs.SeaweedFS
) -> InBuckets:
    return InBuckets(front, tmp_path, monkeypatch, seaweedfs_server)


def test_a_release_keeps_everything_in_buckets_and_is_checked_there(releases: InBuckets, tmp_path: Path) -> None:
    release = releases.release()
    assert not any((tmp_path / name).exists() for name in KEPT)
    (point,) = objects.names(releases.place("backups"))
    for name in ("backups", "replica"):
        assert {one.rpartition(".")[2] for one in objects.names(releases.place(name) / point)} == {"age", "json", "txt"}
    assert [one.release for one in open_changes.open_changes(releases.environment)] == [release.id]
    baked(release)
    pack = close.seal(release)
    assert objects.names(releases.place("evidence")) == (f"{release.id}.zip",)
    assert pack == pack_path(releases.environment.evidence, release.id)
    keys = [signer_from_connection("signing").public_pem]
    for place in (pack, releases.place("ledger"), releases.place("ledger") / "cafe" / "live" / release.id):
        report = verify(place, keys, releases.environment.anchor)
        assert report.ok, report
    assert recompute(pack, keys, releases.environment.anchor).problems == ()
    assert ledgers.releases(releases.environment).sealed(release.id)
    with pytest.raises(GateRefused, match="sealed"):
        releases.again().record("late")
    folder = release.ledger.release_folder(release.id)
    objects.withdraw(folder / release.ledger.record_names(release.id)[3])
    assert not verify(releases.place("ledger"), keys, releases.environment.anchor).ok


def test_what_a_person_brought_back_by_hand_is_shown_and_its_lost_pack_written(releases: InBuckets) -> None:
    release = releases.release()
    stage(release)
    glass = BrokenGlass(reason="The database of Airflow is gone.", person="olga", user="root", host="h7")
    hand = Release(releases.environment, release.id, glass.actor)
    assert broken_glass.land(hand, glass).endswith("rolled_back")
    objects.withdraw(pack_path(releases.environment.evidence, release.id))
    settler = releases.again()
    found = broken_glass.unshown(settler)
    assert found is not None
    broken_glass.show_afterwards(settler, found)
    assert objects.names(releases.place("evidence")) == (f"{release.id}.zip",)
    assert broken_glass.unshown(settler) is None


def test_what_is_removed_from_a_bucket_is_missed(releases: InBuckets) -> None:
    release = releases.release()
    resource = release.plan.resources[0]
    (point,) = objects.names(releases.place("backups"))
    (stream,) = (name for name in objects.names(releases.place("replica") / point) if name.endswith(".age"))
    objects.replace(releases.place("replica") / point / stream, b"something else")
    with pytest.raises(ProofFailed, match=f"s3://{releases.bucket['replica']}/.*"):
        backup.prove(releases.again("cafe-live-1"), resource)
    name = release.ledger.record_names(release.id)[2]
    objects.withdraw(release.ledger.release_folder(release.id) / name)
    with pytest.raises(Exception, match="removed: the record"):
        releases.again().records()


def test_a_record_that_is_read_twice_is_not_fetched_twice(releases: InBuckets) -> None:
    release = Release(releases.environment, "cafe-live-2", "a test")
    for number in range(3):
        release.record("note", f"n{number}", number=number)
    ledger: Ledger = release.ledger
    assert ledger.read(release.id) == ledger.read(release.id)
    assert len(ledger._checked) == 3
