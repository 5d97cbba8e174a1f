"""Where backups are kept: encrypted, checksummed, replicated streams of any size in constant memory.

Knows the layout of a store and how to name what is wrong with it. Must not know drivers, releases or Airflow tasks.

Layout, below the root and in the same way below the replica::

    <point>/<name>.<attempt>.zst.age    one stream: zstd, then age; each attempt at a backup has files of its own
    <point>/point.json                  the recovery point, sealed; written once and after its streams, so that it
                                        marks a finished backup and tells which attempt it is
    <point>/README.txt                  how to restore with only the command-line tools age and zstd
"""

from __future__ import annotations

import copy
import logging
import re
import time
from collections.abc import Iterable, Iterator

import pyrage
from upath import UPath

from airlock.backup import recovery_point as points
from airlock.backup.streams import Measured, SealFailed, Undecipherable, seal
from airlock.backup.unsealing import Unsealing
from airlock.errors import BackupDamaged, InvalidInput, PermanentError
from airlock.models import RecoveryPoint, StoredObject
from airlock.places import objects, streams

log = logging.getLogger(__name__)
_SAFE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_SUFFIX = ".zst.age"
_POINT = "point.json"
_README = "README.txt"
_POINT_LIMIT = 1 << 26


class BackupStore:
    """A place for recovery points, with an optional second place that gets, and is proven to hold, the same bytes."""

    def __init__(
        self, root: UPath, recipients: tuple[str, ...], identities: tuple[str, ...] = (), replica: UPath | None = None
    ) -> None:
        """Use *root* (any fsspec-backed path), encrypt to *recipients* (``age1...``), decrypt with *identities*.

        :raises InvalidInput: no recipient, or a key that is not an age key; a secret key is never part of the message
        """
        if not recipients:
            raise InvalidInput(f"backup store {root}: no recipient is given; a backup without encryption is refused")
        self.root = root
        self.replica = replica
        try:
            self._recipients = [pyrage.x25519.Recipient.from_str(text.strip()) for text in recipients]
        except pyrage.RecipientError as error:
            raise InvalidInput(f"backup store {root}: a recipient is no age public key (age1...): {error}") from error
        try:
            self._identities = [pyrage.x25519.Identity.from_str(text.strip()) for text in identities]
        except pyrage.IdentityError:
            raise InvalidInput(
                f"backup store {root}: an identity is no age secret key (AGE-SECRET-KEY-1...); check the key connection"
            ) from None

    @property
    def location(self) -> str:
        """Return the root, as it is shown to people."""
        return str(self.root)

    def write(self, point_id: str, name: str, chunks: Iterable[bytes], *, attempt: str = "") -> StoredObject:
        """Write one stream; it becomes visible only when it is complete. An earlier one of that name, and of the same
        *attempt* (eight hexadecimal digits), is replaced.

        What *chunks* raises passes through unchanged, and leaves nothing behind.

        :raises InvalidInput: *point_id* or *name* is not safe in a path
        :raises PermanentError: the disk is full or the place may not be written
        :raises BackupDamaged: what is read back from the replica is not what was written
        :raises TemporaryError: the store cannot be reached
        """
        begun = time.monotonic()
        file = name + (f".{attempt}" if attempt else "") + _SUFFIX
        path = self._path(self.root, point_id, file)
        _safe("name of a stream", name)
        with streams.created(path) as put:
            try:
                measured = seal(chunks, put, self._recipients)
            except SealFailed as error:
                raise PermanentError(f"cannot encrypt {path}: {error}") from error
        replicas: tuple[str, ...] = ()
        if self.replica is not None:
            second = self._path(self.replica, point_id, file)
            streams.replicate(path, second, measured.cipher_sha256)
            replicas = (str(second),)
        log.debug(
            "wrote %s: %d bytes plain, %d bytes stored, %d replica(s), %.1f s",
            path,
            measured.plain_bytes,
            measured.cipher_bytes,
            len(replicas),
            time.monotonic() - begun,
        )
        return StoredObject(name=name, path=str(path), replicas=replicas, **vars(measured))

    def read(self, stored: StoredObject, *, replica: bool = False) -> Iterator[bytes]:
        """Yield the plain bytes in chunks of at most 1 MiB. The digests are known to be right only after the last one:
        act on what was read (rename, commit) only then.

        :param replica: read the second copy; nothing falls back to it silently
        :raises BackupDamaged: the object is missing, cut off, altered, or the key does not fit
        :raises TemporaryError: the store cannot be reached
        """
        path = self._stored_path(stored, replica=replica)
        if not self._identities:
            raise BackupDamaged(f"{path} cannot be decrypted: wrong key: the store was opened without any age identity")
        hint = _next_step(stored, replica)
        _check_size(path, stored, hint)
        begun = time.monotonic()
        try:
            with streams.opened(path) as source:
                unsealing = Unsealing(source, self._identities, stored.header_sha256)
                yield from unsealing
        except Undecipherable as error:
            raise BackupDamaged(f"{path} {_why(path, stored, error)}; {hint}") from error
        if unsealing.measured != Measured(
            stored.plain_bytes, stored.plain_sha256, stored.cipher_bytes, stored.cipher_sha256, stored.header_sha256
        ):
            raise BackupDamaged(
                f"{path} is altered: it is not the stream that was recorded for {stored.name!r} "
                f"(sha256 differs); {hint}"
            )
        log.debug("read %s: %d bytes plain, digests right, %.1f s", path, stored.plain_bytes, time.monotonic() - begun)

    def save_point(self, point: RecoveryPoint) -> RecoveryPoint:
        """Write the recovery point and its README, in both places, unless there is one of this id: the first one
        stays, and what others wrote is cleared away. This finishes the backup. Return the one that is kept.

        :raises InvalidInput: the store was opened without an identity, so that nothing can be sealed
        :raises BackupDamaged: there is one already, and it is damaged
        """
        if not self._identities:
            raise InvalidInput(
                f"backup store {self.location}: a recovery point is sealed with a secret age identity; give one"
            )
        kept = point
        for root in reversed(self._roots()):  # the first place last: what it holds is whole in both
            path = self._path(root, point.id, _POINT)
            if not objects.create(path, points.sealed(kept, self._identities[0])):
                kept = points.opened(self._content(path), point.id, self._identities, path)
            objects.replace(self._path(root, point.id, _README), points.readme(kept).encode())
        if kept != point:
            log.info("recovery point %s was finished by another attempt, which is kept", point.id)
        self.clear_beside(kept)
        return kept

    def clear_beside(self, point: RecoveryPoint) -> None:
        """Remove what other attempts left or still write beside a finished recovery point; complete its first place
        where its streams are only in the second."""
        known = {_POINT, _README, *(points.file_of(stored) for stored in point.objects)}
        for stored in point.objects if self.replica is not None else ():
            first, second = (self._stored_path(stored, replica=replica) for replica in (False, True))
            if objects.size(first) is None and objects.size(second) is not None:
                streams.replicate(second, first, stored.cipher_sha256)
        for root in self._roots():
            objects.remove_others(self._path(root, point.id), known)

    def load_point(self, point_id: str, *, replica: bool = False) -> RecoveryPoint | None:
        """Return the recovery point, or ``None`` when there is none or it was not finished.

        :raises BackupDamaged: it is there but is not what was written, or was not sealed by this store's identity
        """
        path = self._path(self._root(replica=replica), point_id, _POINT)
        if objects.size(path) is None:
            return None
        return points.opened(self._content(path), point_id, self._identities, path)

    def _content(self, path: UPath) -> bytes:
        found = objects.size(path) or 0
        if found > _POINT_LIMIT:
            raise BackupDamaged(f"{path} is altered: it has {found} bytes; no recovery point is as large")
        with streams.opened(path) as source:
            return source.read()

    def confirm(self, point: RecoveryPoint) -> None:
        """Check that this place holds the very recovery point that is on record.

        :raises BackupDamaged: it holds another one, an altered one, or none
        """
        path = self._path(self.root, point.id, _POINT)
        kept = self.load_point(point.id)
        if kept is None:
            raise BackupDamaged(f"{path} is missing; next: take the backup again")
        ours, theirs = point.model_dump(mode="json"), kept.model_dump(mode="json")
        differing = [name for name in ours if ours[name] != theirs[name]]
        if differing:
            raise BackupDamaged(
                f"{path} is not the recovery point on record: they differ in {', '.join(differing)}; "
                "next: find out which of the two was altered, then take the backup again"
            )

    def confirm_sizes(self, point: RecoveryPoint) -> None:
        """Check at little cost that every stream of *point* is in every place, with its size.

        :raises BackupDamaged: one is not
        """
        for stored in point.objects:
            for replica in (False, True)[: len(self._roots())]:
                _check_size(self._stored_path(stored, replica=replica), stored, _next_step(stored, replica))

    def confirm_replica(self, point: RecoveryPoint) -> None:
        """Check the second place, if there is one, byte for byte: a backup that must be in two places is in both.

        :raises BackupDamaged: something is missing, cut off or altered there
        """
        if self.replica is None:
            return
        self.from_replica().confirm(point)
        for stored in point.objects:
            path = self._stored_path(stored, replica=True)
            hint = f"the first copy, {stored.path}, can still be restored; next: take the backup again"
            _check_size(path, stored, hint)
            if streams.sha256(path) != stored.cipher_sha256:
                raise BackupDamaged(f"{path} is altered: its bytes are not those that were written; {hint}")

    def from_replica(self) -> BackupStore:
        """Return this store with its second place as the only one.

        :raises InvalidInput: there is none
        """
        other = copy.copy(self)
        other.root, other.replica = self._root(replica=True), None
        return other

    def delete_point(self, point_id: str) -> None:
        """Remove the recovery point and its streams from both places. Succeeds when nothing is there."""
        for root in self._roots():
            objects.remove_folder(self._path(root, point_id))

    def list_points(self) -> tuple[str, ...]:
        """Return the ids of all finished recovery points, sorted."""
        return objects.holding(self.root, _POINT)

    def _roots(self) -> tuple[UPath, ...]:
        return (self.root,) if self.replica is None else (self.root, self.replica)

    def _root(self, *, replica: bool) -> UPath:
        if not replica:
            return self.root
        if self.replica is None:
            raise InvalidInput(f"backup store {self.location} has no replica")
        return self.replica

    def _path(self, root: UPath, point_id: str, *file: str) -> UPath:
        return root.joinpath(_safe("id of a recovery point", point_id), *(_safe("name in a store", f) for f in file))

    def _stored_path(self, stored: StoredObject, *, replica: bool) -> UPath:
        """Return where *stored* is below this store's roots: a store may be moved, a record may not lead out of it."""
        point_id, _, file = stored.path.replace("\\", "/").rpartition("/")
        if not re.fullmatch(re.escape(stored.name) + r"(\.[0-9a-f]{8})?" + re.escape(_SUFFIX), file):
            raise BackupDamaged(f"the record of {stored.name!r} is altered: it names another object, {stored.path}")
        return self._path(self._root(replica=replica), point_id.rpartition("/")[2], file)


def _safe(what: str, text: str) -> str:
    if not _SAFE.fullmatch(text):
        raise InvalidInput(
            f"{what} must be 1 to 128 letters, digits, '.', '_' or '-', beginning with a letter or digit; "
            f"got {text[:80]!r}"
        )
    return text


def _check_size(path: UPath, stored: StoredObject, hint: str) -> None:
    """Name the two most common damages before a byte is decrypted."""
    found = objects.size(path)
    if found is None:
        raise BackupDamaged(f"{path} is missing; {hint}")
    if found < stored.cipher_bytes:
        raise BackupDamaged(f"{path} is cut off: {found} of {stored.cipher_bytes} bytes are there; {hint}")
    if found > stored.cipher_bytes:
        raise BackupDamaged(f"{path} is altered: {found} bytes are there, {stored.cipher_bytes} were written; {hint}")


def _why(path: UPath, stored: StoredObject, error: Undecipherable) -> str:
    """Return what is wrong with an object of the right size: its bytes, or the key."""
    if streams.sha256(path) != stored.cipher_sha256:
        return f"is altered: its bytes are not those that were written ({error})"
    return f"cannot be decrypted: wrong key: its bytes are those that were written, but no identity fits ({error})"


def _next_step(stored: StoredObject, replica: bool) -> str:
    if stored.replicas and not replica:
        return f"next: compare the replica {stored.replicas[0]}, or take the backup again"
    return "next: take the backup again"
