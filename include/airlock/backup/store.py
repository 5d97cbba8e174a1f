"""Where backups are kept (interface sketch, to be filled)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from upath import UPath

from airlock.models import RecoveryPoint, StoredObject


class BackupStore:
    """Encrypted, checksummed, replicated streams of any size in constant memory."""

    def __init__(self, root: UPath, recipients: tuple[str, ...], identities: tuple[str, ...] = (), replica: UPath | None = None) -> None:
        raise NotImplementedError

    @property
    def location(self) -> str:
        raise NotImplementedError

    def write(self, point_id: str, name: str, chunks: Iterable[bytes]) -> StoredObject:
        raise NotImplementedError

    def read(self, stored: StoredObject) -> Iterator[bytes]:
        """Yield the plain bytes, verified; a damaged object raises BackupDamaged naming path and reason."""
        raise NotImplementedError

    def save_point(self, point: RecoveryPoint) -> None:
        raise NotImplementedError

    def load_point(self, point_id: str) -> RecoveryPoint | None:
        raise NotImplementedError

    def delete_point(self, point_id: str) -> None:
        raise NotImplementedError
