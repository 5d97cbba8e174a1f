"""What somebody who can write to a backup store, and who knows its public recipients, can do to one stored backup.

Each attack gets the scene and returns a word that the refusal must hold. None of them knows the secret identity.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pyrage
import zstandard

from airlock.backup.store import BackupStore
from airlock.models import RecoveryPoint, StoredObject, digest_of


@dataclass(frozen=True)
class Scene:
    """A store (local, with a replica) that holds *point*, an *older* backup of the same resource, and a *stranger's*.

    number: which of the point's streams is attacked
    """

    store: BackupStore
    point: RecoveryPoint
    older: RecoveryPoint
    stranger: StoredObject
    recipient: str
    number: int = 0

    @property
    def stored(self) -> StoredObject:
        return self.point.objects[self.number % len(self.point.objects)]

    @property
    def primary(self) -> Path:
        return Path(self.stored.path)

    @property
    def replica(self) -> Path:
        return Path(self.stored.replicas[0])

    def folders(self, point: RecoveryPoint) -> tuple[Path, Path]:
        return Path(str(self.store.root)) / point.id, Path(str(self.store.replica)) / point.id

    @contextmanager
    def undone(self) -> Iterator[None]:
        """Put the store back as it was at the end of the block."""
        roots = [Path(str(self.store.root)), Path(str(self.store.replica))]
        for root in roots:
            shutil.copytree(root, root.with_name(f"{root.name}.kept"))
        try:
            yield
        finally:
            for root in roots:
                shutil.rmtree(root)
                root.with_name(f"{root.name}.kept").rename(root)


def flip_byte(path: str | Path, at: int = -1) -> None:
    """Change one byte of a file; in the middle when *at* is negative."""
    content = bytearray(Path(path).read_bytes())
    content[len(content) // 2 if at < 0 else at] ^= 1
    Path(path).write_bytes(content)


def flipped(scene: Scene) -> str:
    flip_byte(scene.primary)
    return "altered"


def truncated(scene: Scene) -> str:
    scene.primary.write_bytes(scene.primary.read_bytes()[:-7])
    return "cut off"


def deleted(scene: Scene) -> str:
    scene.primary.unlink()
    return "missing"


def deleted_in_both_places(scene: Scene) -> str:
    scene.primary.unlink()
    scene.replica.unlink()
    return "missing"


def replica_deleted(scene: Scene) -> str:
    scene.replica.unlink()
    return str(scene.replica)


def replica_flipped(scene: Scene) -> str:
    flip_byte(scene.replica)
    return str(scene.replica)


def swapped_with_another_resource(scene: Scene) -> str:
    for path in (scene.primary, scene.replica):
        path.write_bytes(Path(scene.stranger.path).read_bytes())
    return str(scene.primary)


def replayed_streams(scene: Scene) -> str:
    """An older backup of the same resource, made with the same key."""
    old = scene.older.objects[scene.number % len(scene.older.objects)]
    for path in (scene.primary, scene.replica):
        path.write_bytes(Path(old.path).read_bytes())
    return str(scene.primary)


def replayed_whole(scene: Scene) -> str:
    """The older backup with its recovery point, as a whole."""
    for new, old in zip(scene.folders(scene.point), scene.folders(scene.older), strict=True):
        shutil.rmtree(new)
        shutil.copytree(old, new)
    return "point.json"


def metadata_altered(scene: Scene) -> str:
    """Facts of the recovery point, with the plain digest made right again."""
    for folder in scene.folders(scene.point):
        _forge(folder / "point.json", lambda point: {**point, "taken_at": "2020-01-01T00:00:00Z", "facts": {}})
    return "point.json"


def metadata_deleted(scene: Scene) -> str:
    for folder in scene.folders(scene.point):
        (folder / "point.json").unlink()
    return "point.json"


def sealed_by_another_identity(scene: Scene) -> str:
    """A whole backup, in perfect order, by somebody with a key of their own."""
    identity = pyrage.x25519.Identity.generate()
    theirs = BackupStore(scene.store.root, (scene.recipient,), (str(identity),), scene.store.replica)
    for folder in scene.folders(scene.point):
        (folder / "point.json").unlink()
    theirs.save_point(scene.point)
    return "wrong key"


def encrypted_anew(scene: Scene) -> str:
    """Other content in a perfect stream to the same recipient, and a recovery point to match but for its seal."""
    content = b"\\! touch /tmp/owned\nCOMMIT;\n" * 100
    forged = pyrage.encrypt(
        zstandard.ZstdCompressor().compress(content), [pyrage.x25519.Recipient.from_str(scene.recipient)]
    )
    for path in (scene.primary, scene.replica):
        path.write_bytes(forged)
    return str(scene.primary)


def _forge(path: Path, change: Callable[[dict], dict]) -> None:
    document = json.loads(path.read_text())
    point = RecoveryPoint.model_validate(change(document["point"]))
    document |= {"point": point.model_dump(mode="json"), "digest": digest_of(point)}
    path.write_text(json.dumps(document))


ATTACKS: tuple[Callable[[Scene], str], ...] = (
    flipped,
    truncated,
    deleted,
    deleted_in_both_places,
    replica_deleted,
    replica_flipped,
    swapped_with_another_resource,
    replayed_streams,
    replayed_whole,
    metadata_altered,
    metadata_deleted,
    sealed_by_another_identity,
    encrypted_anew,
)
