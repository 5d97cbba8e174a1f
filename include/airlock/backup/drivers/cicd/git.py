"""Driver ``git``: a repository with its pipeline files, as one bundle of all refs. Knows git; knows no CI server."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from pydantic import Field

from airlock.backup import driver as contract
from airlock.backup.attributes import Attributes
from airlock.backup.driver import Place, StreamDriver, Write
from airlock.backup.drivers.cicd.git_program import git, stream
from airlock.backup.files import discard_folder, fault, replace_file, scratch_folder
from airlock.errors import InvalidInput, PermanentError, TemporaryError
from airlock.identity import file_identity
from airlock.models import Check, Inspection, Kind, RecoveryPoint, digest_of
from airlock.options import Options as DriverOptions

log = logging.getLogger(__name__)
_FORMAT = "%(objectname) %(refname)"


class GitDriver(StreamDriver):
    """One repository, bare or not. Restoring the origin sets every ref as it was; it needs a bare repository."""

    kind = Kind.CICD
    capabilities = contract.Capabilities(consistent="all refs at one moment", needs_programs=("git",))

    class Options(DriverOptions):
        path: str = Field(min_length=1, description="the repository")
        pipelines: tuple[str, ...] = Field(
            (".github/workflows/*", ".gitlab-ci.yml", "Jenkinsfile"),
            min_length=1,
            description="shell patterns of the pipeline files; at least one file must be in the current commit",
        )

        def identities(self) -> tuple[str, ...]:
            return (file_identity(self.path),)

    options: Options

    def inspect(self) -> Inspection:
        if not Path(self.options.path).is_dir():
            return Inspection(present=False)
        state = self._state(self._origin())
        counted = dict(
            line.split(": ", 1) for line in self._git("count-objects", "-v", folder=self._origin()).splitlines()
        )
        return Inspection(
            present=bool(state["refs"]),
            size_bytes=1024 * (int(counted["size"]) + int(counted["size-pack"])),
            fingerprint=digest_of(state),
            detail={"refs": len(state["refs"])},
        )

    def take(self, write: Write) -> dict[str, Any]:
        origin = self._origin()
        before = self._state(origin)
        if not before["refs"]:
            raise InvalidInput(f"{self.label}: repository {origin} has no commit; there is nothing to back up")
        if not before["pipelines"]:
            raise InvalidInput(
                f"{self.label}: the current commit of {origin} has no pipeline file that matches "
                f"{', '.join(self.options.pipelines)}; check 'pipelines' in the service file"
            )
        write("repository.bundle", stream("bundle", "create", "--quiet", "-", "--all", folder=origin, label=self.label))
        if self._state(origin) != before:
            raise TemporaryError(f"{self.label}: somebody pushed to {origin} while it was read; take the backup again")
        log.info("%s: bundled %d ref(s) of %s", self.label, len(before["refs"]), origin)
        return before

    def restore(self, point: RecoveryPoint, place: Place) -> None:
        if not place.origin:
            self._clone(point, scratch_folder(place, self.label))
            return
        origin = self._origin()
        if self._git("rev-parse", "--is-bare-repository", folder=origin).strip() != "true":
            raise PermanentError(
                f"{self.label}: {origin} is not bare: a restore could lose work in its checked-out files; "
                "restore the bare repository that it pushes to"
            )
        # beside the origin and of a fixed name, so that a retry finds what a restore that was killed left
        folder = origin.resolve().with_name(f".{origin.resolve().name}.airlock-restore")
        try:
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(mode=0o700)
            mirror = self._clone(point, folder)
            self._git("fsck", "--full", folder=mirror)  # before the origin is touched
            self._git(
                "fetch",
                "--quiet",
                "--prune",
                "--force",
                "--no-auto-maintenance",
                str(mirror),
                "+refs/*:refs/*",
                folder=origin,
            )
            self._set_head(origin, point.facts["head"])
        except OSError as error:
            raise fault(error, self.label, "restore beside", origin) from error
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        log.info("%s: set %d ref(s) of %s back", self.label, len(point.facts["refs"]), origin)

    def _clone(self, point: RecoveryPoint, folder: Path) -> Path:
        """Return a mirror made from the bundle, in *folder*."""
        bundle, mirror = folder / "repository.bundle", folder / "repository.git"
        replace_file(bundle, self.store.read(point.objects[0]), Attributes(0o600), self.label)
        try:
            shutil.rmtree(mirror, ignore_errors=True)
            self._git("clone", "--quiet", "--mirror", str(bundle), str(mirror))
            self._set_head(mirror, point.facts["head"])
            bundle.unlink()
        except OSError as error:
            raise fault(error, self.label, "clone into", mirror) from error
        return mirror

    def prove(self, point: RecoveryPoint, place: Place) -> tuple[Check, ...]:
        folder = self._origin() if place.origin else Path(place.folder) / "repository.git"
        if not folder.is_dir():
            return (Check(name="the repository", expected="present", found="missing", ok=False),)
        try:
            self._git("fsck", "--full", "--no-progress", folder=folder)
            found = self._state(folder)
        except PermanentError as error:
            return (Check(name="git fsck --full", expected="no fault", found=str(error), ok=False),)
        checks = [Check(name="git fsck --full", expected="no fault", found="no fault", ok=True)]
        for name in ("head", "refs", "pipelines"):
            checks.append(
                Check(name=name, expected=point.facts[name], found=found[name], ok=point.facts[name] == found[name])
            )
        return tuple(checks)

    def discard(self, place: Place) -> None:
        discard_folder(place, self.label)

    def _git(self, *arguments: str, folder: Path | None = None) -> str:
        return git(*arguments, folder=folder, label=self.label)

    def _origin(self) -> Path:
        path = Path(self.options.path)
        if not path.is_dir():
            raise InvalidInput(f"{self.label}: {path} is no folder; check 'path' in the service file")
        return path

    def _state(self, folder: Path) -> dict[str, Any]:
        """Return the refs, what HEAD is, and the pipeline files of the current commit with their object ids."""
        lines = self._git("for-each-ref", f"--format={_FORMAT}", folder=folder).splitlines()
        refs = {name: commit for commit, name in (line.split(" ", 1) for line in lines)}
        head, pipelines = "", {}
        if refs:
            head = self._git("rev-parse", "--symbolic-full-name", "HEAD", folder=folder).strip()
            if head not in refs:  # detached
                head = self._git("rev-parse", "--verify", "HEAD^{commit}", folder=folder).strip()
            listed = self._git("ls-tree", "-r", "-z", "--full-tree", refs.get(head, head), folder=folder)
            pipelines = {name: blob for name, blob in _files(listed) if self._is_pipeline(name)}
        return {"head": head, "refs": refs, "pipelines": pipelines}

    def _is_pipeline(self, name: str) -> bool:
        return any(fnmatchcase(name, pattern) for pattern in self.options.pipelines)

    def _set_head(self, folder: Path, head: str) -> None:
        if head.startswith("refs/"):
            self._git("symbolic-ref", "HEAD", head, folder=folder)
        else:
            self._git("update-ref", "--no-deref", "HEAD", head, folder=folder)


def _files(listed: str) -> Iterator[tuple[str, str]]:
    """Yield name and object id of every file that ``ls-tree -z`` printed."""
    for line in listed.split("\0"):
        if line:
            about, _, name = line.partition("\t")
            yield name, about.split()[2]
