"""Driver ``restic``: a large folder, as one snapshot for each token in a repository of the user's.

restic moves and keeps the bytes; what is proven is compared with our own look at the origin. Knows no object storage.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any

from pydantic import Field

from airlock.backup import driver as contract
from airlock.backup import file_needs
from airlock.backup.attributes import LEFT_OUT
from airlock.backup.driver import Place, StreamDriver, Write
from airlock.backup.drivers.storage.restic_comparison import Beside
from airlock.backup.drivers.storage.restic_errors import Moving, Partial
from airlock.backup.drivers.storage.restic_program import Restic, access
from airlock.backup.drivers.storage.restic_record import Changed, Record, Settled
from airlock.backup.drivers.storage.restic_repository import Repository, Snapshot
from airlock.backup.drivers.storage.restic_share import Parts, chosen
from airlock.backup.drivers.storage.tree import CHUNK, FRESH, OLD, Walk, digest_of, fingerprint
from airlock.backup.drivers.storage.tree_lines import Facts, facts_of
from airlock.backup.drivers.storage.tree_place import files_of, put_back, root_of, without_mounts
from airlock.backup.files import Owners, discard_folder, present, shown
from airlock.connections import ConnectionId
from airlock.errors import AirlockError, BackupDamaged, InvalidInput, TemporaryError
from airlock.identity import file_identity
from airlock.models import Check, Handle, Inspection, Kind, RecoveryPoint
from airlock.models.needs import ConnectionNeed, Needs, Program, Stage
from airlock.options import Options as DriverOptions

log = logging.getLogger(__name__)
_STAGES = (Stage.INSPECT, Stage.BACKUP, Stage.PROOF, Stage.RESTORE)
_ALL, _PARTS = "names, attributes, sizes and hashes", "names, attributes, sizes and hashes of the parts"
_EARLIER = 3
_ODD_LINKS_FROM = (0, 16)


class ResticDriver(StreamDriver):
    """A folder with all below it: names, modes, owners, access lists, times, contents, links of both sorts, empty
    folders. Its bytes go to the repository alone, our store keeps the manifest."""

    kind = Kind.STORAGE
    capabilities = contract.Capabilities(
        consistent="each file by itself; one that changes meanwhile is refused, one that comes or goes is not compared",
        leaves_out=(
            "times of creation and of the last reading",
            "holes of files: a restore makes them where restic has --sparse (0.15), wherever a file is empty",
            f"{FRESH} and {OLD} at its top, where a restore works",
            LEFT_OUT,
        ),
    )
    needs = file_needs.of_folder("{path}") + Needs(
        programs=(Program(name="restic", least="0.14", stages=_STAGES),),
        connections=(ConnectionNeed(sort="restic repository", stages=_STAGES),),
        also=("at the server of the repository: list, read and create; delete for restic's locks and for expiry",),
    )

    class Options(DriverOptions):
        path: str = Field(min_length=1, description="the folder")
        connection: ConnectionId
        """Connection to the repository: its password, and in the extra ``repository``, ``environment``, ``options``."""
        owners: Owners = True
        host: str = Field("airlock", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$",
                          description="under which host snapshots are kept; another one for each machine where the "
                                      "same path is another folder")  # fmt: skip
        share: int = Field(100, ge=1, le=100, description="percent of the bytes that a restore test restores")
        wait_seconds: float = Field(600, ge=0, le=86400, description="how long locks of others are waited for")
        hours: float = Field(12, gt=0, le=168, description="after how long a backup, a restore or a prune is ended")
        prune: bool = Field(False, description="whether expiry also removes the data to which no snapshot leads any "
                                               "more, whoever made it; else that is for the owner's own schedule")

        def identities(self) -> tuple[str, ...]:
            return (file_identity(self.path),)

    options: Options

    def inspect(self) -> Inspection:
        if not present(Path(self.options.path), self.label):
            return Inspection(present=False)
        root = self._root()
        self._repository(root).look()
        return fingerprint(self._walk(root))

    def take(self, write: Write) -> dict[str, Any]:
        raise NotImplementedError("a snapshot has a token: take_as")

    def take_as(self, token: str, write: Write) -> dict[str, Any]:
        root = self._root()
        without_mounts(root, self.label)
        repository, walk = self._repository(root), self._walk(root)
        ours = repository.snapshots()
        with tempfile.TemporaryFile(prefix="airlock-manifest-") as lines:
            record = self._record(walk, ours, token, lines)
            if record.odd_link and repository.version() < _ODD_LINKS_FROM:
                raise InvalidInput(
                    f"{self.label}: the link {shown(record.odd_link)} leads to a name that is no text, which restic "
                    "before 0.16 loses; next: install a newer one, or make that link anew"
                )
            found = next((one for one in ours if one.token == token), None)
            if found is not None and not self._is_of(repository, found, record):
                self._forget(repository, [one for one in ours if one.token == token])
                found = None
            summary = {} if found else self._back_up(repository, token)
            snapshot = found or self._made(repository, token, summary)
            result = Settled(self.label)
            try:
                stored = write("manifest.jsonl", result.lines(_kept(lines), None if found else self._walk(root)))
            except Changed:
                self._forget(repository, [snapshot])  # half of it is of one moment, half of another
                raise
        outside = walk.linked_from_outside()
        said = [f"{outside} file(s) have further names outside of the folder: those names are not kept"] * bool(outside)
        said += [f"{result.unsettled} entries came or went while the backup was taken: they are in it as restic found "
                 "them, and are not compared"] * bool(result.unsettled)  # fmt: skip
        return {
            **{f"{sort}s": count for sort, count in result.comparison.expected.items()},
            "snapshot": snapshot.id,
            "path": str(root),
            "tree_sha256": result.comparison.recorded.hexdigest(),
            "manifest_sha256": stored.plain_sha256,
            "added_bytes": summary.get("data_added_packed", summary.get("data_added")),
            "linked": Path(self.options.path).is_symlink(),
            "left_out": said,
        }

    def _record(self, walk: Walk, ours: tuple[Snapshot, ...], token: str, lines: IO[bytes]) -> Record:
        """Write the manifest into *lines*, by the help of the newest earlier one that can be read."""
        tokens = dict.fromkeys(one.token for one in reversed(ours) if one.token != token)
        for earlier in [*list(tokens)[:_EARLIER], None]:
            record = Record()
            lines.seek(0)
            lines.truncate()
            fresh = Walk(walk.root, walk.label, walk.owners, holes=False)
            try:
                point = self.store.load_point(earlier) if earlier else None
                if earlier and point is None:
                    continue
                known = facts_of(self.store.read(point.objects[0]), self.label) if point else iter(())
                record.write(fresh, known, lines)
                for _ in known:
                    pass  # its digest is known to be right at its end only
            except BackupDamaged as error:
                log.warning("%s: an earlier list is of no use, all files are read again: %s", self.label, error)
                continue
            walk.names.update(fresh.names)
            log.info("%s: looked at %d entries, read %d of %d bytes%s", self.label, record.entries, record.read,
                     record.size, f"; the rest is as in {earlier}" if point else "")  # fmt: skip
            break
        return record

    def _is_of(self, repository: Repository, snapshot: Snapshot, record: Record) -> bool:
        """Return whether a snapshot that was there before this attempt holds what the folder holds now, and all of it:
        whoever made it was killed, and cannot say so."""
        unchanged = record.latest < int(snapshot.time.timestamp() * 1e6) * 1000
        whole = unchanged and repository.measure(snapshot) == (record.entries, record.size)
        log.info("%s: snapshot %s was made by an attempt that did not end; it is %s", self.label, snapshot.id[:8],
                 "whole, and is used" if whole else "not of what is there now, and is made anew")  # fmt: skip
        return whole

    def _back_up(self, repository: Repository, token: str) -> dict[str, Any]:
        try:
            return repository.back_up(token, self.label)
        except (Partial, Moving):
            self._forget(repository, repository.of(token))
            raise
        except AirlockError as error:
            if not repository.of(token):
                raise
            log.warning("%s: the snapshot is there although restic did not end well: %s", self.label, error)
            return {}

    def _forget(self, repository: Repository, snapshots: Sequence[Snapshot]) -> None:
        """Forget *snapshots* of one token, but never the one of its recovery point: another attempt may have ended."""
        point = self.store.load_point(snapshots[0].token) if snapshots else None
        repository.forget([one for one in snapshots if point is None or one.id != point.facts["snapshot"]])

    def _made(self, repository: Repository, token: str, summary: dict[str, Any]) -> Snapshot:
        said = str(summary.get("snapshot_id", ""))
        found = [one for one in repository.of(token) if one.id.startswith(said)]
        if not found:
            raise TemporaryError(f"{self.label}: snapshot {said}, which restic said that it made, is not in the "
                                 "repository; next: run this task again")  # fmt: skip
        return found[-1]

    def finish(self, handle: Handle) -> RecoveryPoint:
        known = self.store.load_point(handle.token)
        point = known or super().finish(handle)
        if known is None:
            self._tidy(point)
        return point

    def _tidy(self, point: RecoveryPoint) -> None:
        """Forget the snapshots of other attempts at the same backup, which one of them has won."""
        repository = self._repository(_origin(point))
        try:
            self._forget(repository, repository.of(point.id))
        except AirlockError as error:
            log.warning("%s: another attempt's snapshot stays until %s expires: %s", self.label, point.id, error)

    def restore(self, point: RecoveryPoint, place: Place) -> None:
        parts = self._parts(point, place)
        repository = self._repository(_origin(point))

        def fill(fresh: Path) -> Path:
            return repository.restore(point.facts["snapshot"], fresh, parts.names if parts else None)

        put_back(self.options.path, place, self.label, fill, linked=bool(point.facts.get("linked", True)))

    def _parts(self, point: RecoveryPoint, place: Place) -> Parts | None:
        """Return what is restored and compared; all of the manifest is read, so that it is known to be right."""
        recorded = self._recorded(point)
        parts = chosen(recorded, 100 if place.origin else self.options.share, point.id)
        for _ in recorded:
            pass
        return parts

    def _recorded(self, point: RecoveryPoint) -> Iterator[Facts]:
        return facts_of(self.store.read(point.objects[0]), self.label)

    def prove(self, point: RecoveryPoint, place: Place) -> tuple[Check, ...]:
        root = files_of(self.options.path, place, self.label)
        if not root.is_dir():
            return (Check(name="the folder", expected="present", found="missing", ok=False),)
        parts = self._parts(point, place)
        walk = self._walk(root)
        found = (entry.facts(digest_of(entry, self.label)) for entry in walk)
        result = Beside(parts).compare(self._recorded(point), found)
        facts = point.facts
        expected = {f"{sort}s": facts.get(f"{sort}s") for sort in result.found} if parts is None else {
            f"{sort}s of the parts": n for sort, n in result.expected.items()}
        whole = facts["tree_sha256"] if parts is None else result.recorded.hexdigest()
        told = () if parts is None else (
            Check(name="percent of the bytes in the parts", expected={"least": self.options.share}, found=parts.percent,
                  ok=parts.percent >= self.options.share),
            Check(name="parts", expected=list(parts.names), found=list(parts.names), ok=bool(parts.names)),
        )  # fmt: skip
        return (
            *told,
            *(Check(name=name, expected=count, found=n, ok=count == n)
              for (name, count), n in zip(expected.items(), result.found.values(), strict=True)),
            Check(name=_ALL if parts is None else _PARTS, expected=whole, found=result.told, ok=whole == result.told),
        )  # fmt: skip

    def discard(self, place: Place) -> None:
        discard_folder(place, self.label)

    def expire(self, point: RecoveryPoint) -> None:
        """Forget its snapshot, and remove the recovery point then, so that one that stays is tried again."""
        repository = self._repository(_origin(point))
        repository.forget(repository.of(point.id), prune=self.options.prune)
        super().expire(point)

    def _repository(self, path: Path) -> Repository:
        restic = Restic(access(self.options.connection, self.label), self.label, self.options.wait_seconds)
        return Repository(restic, path, self.options.host, self.options.hours * 3600)

    def _root(self) -> Path:
        root = root_of(self.options.path, self.label)
        try:
            str(root).encode()
        except UnicodeEncodeError:
            raise InvalidInput(f"{self.label}: the name of {shown(root)} is no text, and snapshots are found by it; "
                               "rename it")  from None
        return root

    def _walk(self, root: Path) -> Walk:
        return Walk(root, self.label, self.options.owners, holes=False)


def _origin(point: RecoveryPoint) -> Path:
    """Return where the folder was when it was backed up: by this its snapshots are found."""
    return Path(point.facts["path"])


def _kept(lines: IO[bytes]) -> Iterable[Facts]:
    lines.seek(0)
    return facts_of(iter(lambda: lines.read(CHUNK), b""), "the manifest")
