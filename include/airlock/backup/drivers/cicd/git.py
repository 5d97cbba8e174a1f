"""Driver ``git``: a repository with its pipeline files, as one bundle of all refs. Knows git; knows no CI server."""

from __future__ import annotations

import contextlib
import logging
import os
import re
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from pydantic import Field

from airlock.backup import archive, file_needs
from airlock.backup import driver as contract
from airlock.backup.attributes import Attributes
from airlock.backup.driver import Place, StreamDriver, Write
from airlock.backup.drivers.cicd.git_folders import LARGE, SETTINGS, digests, left_beside, packed, replace
from airlock.backup.drivers.cicd.git_large_files import missing_large
from airlock.backup.drivers.cicd.git_program import git, stream
from airlock.backup.files import beside, discard_folder, end_of, fault, remove_tree, replace_file, scratch_folder, shown
from airlock.backup.taken_names import folder_at
from airlock.errors import InvalidInput, PermanentError, TemporaryError
from airlock.identity import file_identity
from airlock.models import Check, Inspection, Kind, RecoveryPoint, digest_of
from airlock.models.needs import Needs, Program, Stage
from airlock.options import Options as DriverOptions

log = logging.getLogger(__name__)
_FORMAT = "%(objectname) %(refname) %(symref)"
_FAULT = re.compile(r"(?:error|fatal|missing|broken link|bad|hash mismatch)\b")
_SHA256 = 64
_KNOWN_FAULTS = 1000


class GitDriver(StreamDriver):
    """One repository, bare or not. Restoring the origin sets every ref as it was; it needs a bare repository."""

    kind = Kind.CICD
    capabilities = contract.Capabilities(
        consistent="all refs at one moment",
        leaves_out=(
            "reflogs (and so stashes but the newest), objects that no ref reaches, uncommitted work and the index",
            "submodules, which are repositories of their own, and what further worktrees have checked out",
        ),
    )
    needs = file_needs.of_folder("{path}") + Needs(
        programs=(Program(name="git", least="2.29", stages=(Stage.INSPECT, Stage.BACKUP, Stage.PROOF, Stage.RESTORE)),),
    )

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
            detail={"refs": len(state["refs"]), "left_out": left_beside(self._inner(self._origin()))},
        )

    def take(self, write: Write) -> dict[str, Any]:
        origin = self._origin()
        if self._git("rev-parse", "--is-shallow-repository", folder=origin).strip() == "true":
            raise InvalidInput(
                f"{self.label}: {origin} is a shallow clone, which lacks history; next: git fetch --unshallow, or back "
                "up the repository that it was cloned from"
            )
        if self._git("config", "--get-regexp", r"^remote\..*\.promisor$", folder=origin, codes=(0, 1)):
            raise InvalidInput(
                f"{self.label}: {origin} is a partial clone, which lacks objects; next: git fetch --refetch "
                "--no-filter and unset remote.NAME.promisor, or back up the repository that it was cloned from"
            )
        before = self._state(origin)
        if not before["refs"]:
            raise InvalidInput(f"{self.label}: repository {origin} has no commit; there is nothing to back up")
        if not before["born"]:
            raise InvalidInput(
                f"{self.label}: HEAD of {origin} names {before['head']}, which has no commit; next: let it name a "
                "branch that has one (git symbolic-ref HEAD refs/heads/NAME)"
            )
        if not before["pipelines"]:
            raise InvalidInput(
                f"{self.label}: the current commit of {origin} has no pipeline file that matches "
                f"{', '.join(self.options.pipelines)}; check 'pipelines' in the service file"
            )
        inner = self._inner(origin)
        write("repository.bundle", stream("bundle", "create", "--quiet", "-", "--all", folder=origin, label=self.label))
        write("beside.tar", packed(inner, self.label))
        files = digests(inner, self.label)
        if self._state(origin) != before:
            raise TemporaryError(f"{self.label}: somebody pushed to {origin} while it was read; take the backup again")
        log.info("%s: bundled %d ref(s) of %s", self.label, len(before["refs"]), origin)
        return {**before, "linked": Path(self.options.path).is_symlink(), "files": files,
                "known_faults": self._faults(origin), "left_out": self._left_out(origin)}

    def restore(self, point: RecoveryPoint, place: Place) -> None:
        if not place.origin:
            folder = scratch_folder(place, self.label)
            mirror = self._clone(point, folder)
            try:
                # settings lie apart, where no program of them can run
                remove_tree(folder / "beside")
                (folder / "fresh").rename(folder / "beside")
                if (folder / "beside" / "lfs").is_dir():
                    (folder / "beside" / "lfs").rename(mirror / "lfs")
            except OSError as error:
                raise fault(error, self.label, "clone into", mirror) from error
            return
        origin = Path(self.options.path)
        try:
            # points of earlier builds do not say whether they were taken through a link
            with folder_at(origin, linked=point.facts.get("linked", origin.is_symlink())):
                self._restore_origin(point, origin)
        except OSError as error:
            raise fault(error, self.label, "make way for", origin) from error

    def _restore_origin(self, point: RecoveryPoint, origin: Path) -> None:
        if not origin.exists() or (origin.is_dir() and not any(origin.iterdir())):
            # an object is named by the hash function of the repository that was there
            sort = "sha256" if any(len(commit) == _SHA256 for commit in point.facts["refs"].values()) else "sha1"
            self._git("init", "--quiet", "--bare", f"--object-format={sort}", str(origin))
        if self._git("rev-parse", "--is-bare-repository", folder=origin).strip() != "true":
            raise PermanentError(
                f"{self.label}: {origin} is not bare: a restore could lose work in its checked-out files; "
                "restore the bare repository that it pushes to"
            )
        folder = beside(end_of(origin, self.label), ".airlock-restore", hidden=True)
        try:
            remove_tree(folder)
            folder.mkdir(mode=0o700)
            mirror = self._clone(point, folder)
            self._check(point, mirror)  # before the origin is touched
            self._adopt(mirror, origin, str(point.facts["head"]))
            self._set_symbolic(origin, point)
            replace(folder / "fresh", origin)
        except OSError as error:
            raise fault(error, self.label, "restore beside", origin) from error
        finally:
            with contextlib.suppress(OSError):
                remove_tree(folder)
        log.info("%s: set %d ref(s) of %s back", self.label, len(point.facts["refs"]), origin)

    def _adopt(self, source: Path, repository: Path, head: str) -> None:
        """Give *repository* exactly the refs of *source*, with their objects."""
        fetch = ("fetch", "--quiet", "--force", "--no-auto-maintenance", "--update-head-ok")
        if not head.startswith("refs/"):  # a commit that perhaps no ref reaches
            self._git(*fetch, str(source), "HEAD", folder=repository)
        self._git(*fetch, "--prune", str(source), "+refs/*:refs/*", folder=repository)

    def _clone(self, point: RecoveryPoint, folder: Path) -> Path:
        """Return a mirror made from the bundle, in *folder*; beside it, in ``fresh``, what a bundle leaves out."""
        bundle, mirror, fresh = folder / "repository.bundle", folder / "repository.git", folder / "fresh"
        replace_file(bundle, self.store.read(point.objects[0]), Attributes(0o600), self.label)
        try:
            remove_tree(mirror)
            remove_tree(fresh)
            self._git("clone", "--quiet", "--mirror", str(bundle), str(mirror))
            self._set_symbolic(mirror, point)
            fresh.mkdir()
            archive.unpack(self.store.read(point.objects[1]), fresh)
            bundle.unlink()
        except OSError as error:
            raise fault(error, self.label, "clone into", mirror) from error
        return mirror

    def _check(self, point: RecoveryPoint, folder: Path) -> None:
        """Check every object of a repository.

        :raises PermanentError: git finds what it did not find when the backup was taken
        """
        new = sorted(set(self._faults(folder)) - set(point.facts.get("known_faults", ())))
        if new:
            raise PermanentError(f"{self.label}: git fsck failed: {'; '.join(new)[:300]}")

    def _faults(self, folder: Path) -> list[str]:
        """Return what git has to say against objects: an old one may be malformed and yet be what everybody has."""
        said = self._git("fsck", "--full", "--no-progress", "--no-dangling", folder=folder, codes=tuple(range(64)),
                         complaints=True)  # fmt: skip
        return sorted({shown(line) for line in said.splitlines() if _FAULT.match(line)})[:_KNOWN_FAULTS]

    def prove(self, point: RecoveryPoint, place: Place) -> tuple[Check, ...]:
        folder = self._origin() if place.origin else Path(place.folder) / "repository.git"
        if not folder.is_dir():
            return (Check(name="the repository", expected="present", found="missing", ok=False),)
        try:
            self._check(point, folder)
            found = self._state(folder)
        except PermanentError as error:
            return (Check(name="git fsck --full", expected="no fault", found=str(error), ok=False),)
        checks = [Check(name="git fsck --full", expected="no fault", found="no fault", ok=True)]
        for name in ("head", "refs", "symbolic", "pipelines"):
            expected = point.facts.get(name)
            checks.append(Check(name=name, expected=expected, found=found[name], ok=expected == found[name]))
        expected = point.facts.get("files", {})
        there = self._beside(place)
        # large files may have come since; each is named after its content
        there = {name: about for name, about in there.items() if name in expected or not name.startswith(LARGE)}
        checks.append(Check(name="files beside the objects", expected=expected, found=there, ok=expected == there))
        return tuple(checks)

    def _beside(self, place: Place) -> dict[str, list[str]]:
        """Return the digests of what a bundle leaves out."""
        if place.origin:
            return digests(self._inner(self._origin()), self.label)
        folder = Path(place.folder)
        large = digests(folder / "repository.git", self.label, (LARGE,))
        return {**digests(folder / "beside", self.label, SETTINGS), **large}

    def _left_out(self, origin: Path) -> list[str]:
        """Return what of this repository is not in its backup, beyond what never is."""
        inner = self._inner(origin)
        return [*missing_large(origin, inner / LARGE, self.label), *left_beside(inner)]

    def discard(self, place: Place) -> None:
        discard_folder(place, self.label)

    def _git(
        self, *arguments: str, folder: Path | None = None, codes: tuple[int, ...] = (0,), given: str = "",
        complaints: bool = False,
    ) -> str:  # fmt: skip
        return git(*arguments, folder=folder, label=self.label, codes=codes, given=given, complaints=complaints)

    def _origin(self) -> Path:
        path = Path(self.options.path)
        if not path.is_dir():
            raise InvalidInput(f"{self.label}: {path} is no folder; check 'path' in the service file")
        return path

    def _inner(self, origin: Path) -> Path:
        """Return where the repository keeps its settings; a worktree or a submodule has them elsewhere."""
        return origin / self._git("rev-parse", "--git-common-dir", folder=origin).removesuffix("\n")

    def _state(self, folder: Path) -> dict[str, Any]:
        """Return the refs, what HEAD is, and the pipeline files of the current commit with their object ids."""
        listed = self._git("for-each-ref", f"--format={_FORMAT}", folder=folder)
        lines = [line.split(" ", 2) for line in listed.split("\n") if line]
        refs = {shown(name): commit for commit, name, _ in lines}
        symbolic = {shown(name): shown(target) for _, name, target in lines if target}
        head = shown(self._git("symbolic-ref", "--quiet", "HEAD", folder=folder, codes=(0, 1)).strip())
        if not head:  # detached
            head = self._git("rev-parse", "--verify", "HEAD^{commit}", folder=folder).strip()
        born, pipelines = head in refs or not head.startswith("refs/"), {}
        if refs and born:
            listed = self._git("ls-tree", "-r", "-z", "--full-tree", refs.get(head, head), folder=folder)
            pipelines = {shown(name): blob for name, blob in _files(listed) if self._is_pipeline(name)}
        return {"head": head, "born": born, "refs": refs, "symbolic": symbolic, "pipelines": pipelines}

    def _is_pipeline(self, name: str) -> bool:
        return any(fnmatchcase(name, pattern) for pattern in self.options.pipelines)

    def _set_symbolic(self, folder: Path, point: RecoveryPoint) -> None:
        """Set HEAD, and every ref that only names another one."""
        head = str(point.facts["head"])
        if head.startswith("refs/"):
            self._git("symbolic-ref", "HEAD", _ref(head), folder=folder)
        else:
            self._git("update-ref", "--no-deref", "HEAD", head, folder=folder)
        for name, target in point.facts.get("symbolic", {}).items():
            self._git("symbolic-ref", _ref(name), _ref(target), folder=folder)


def _ref(text: str) -> str:
    """Return the name of a ref of which ``shown`` gave *text*: such a name holds no backslash of its own."""
    return os.fsdecode(re.sub(rb"\\x([0-9a-f]{2})", lambda match: bytes.fromhex(match[1].decode()), text.encode()))


def _files(listed: str) -> Iterator[tuple[str, str]]:
    """Yield name and object id of every file that ``ls-tree -z`` printed."""
    for line in listed.split("\0"):
        if line:
            about, _, name = line.partition("\t")
            yield name, about.split()[2]
