"""A version slot on a host: the folder that one running version is started from. Knows no network and no traffic.

Layout of the folder that holds the slots::

    stable -> a                        the slot that gets all traffic when nothing else is said: the one marker
    a/current -> versions/1.0/x.pyz    what the slot's program starts; absent: the program must not run
    a/versions/1.0/x.pyz               installed artifacts, kept for a way back

Every change is one rename, so a crash leaves the state before or after it.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from airlock.deploy.links import point_link
from airlock.errors import PermanentError
from airlock.places.paths import clear_faults

_CHUNK = 1 << 20


@dataclass(frozen=True)
class Slot:
    """One slot: its name and its folder."""

    name: str
    folder: Path

    @property
    def current(self) -> Path:
        """The link to the artifact that the slot's program starts."""
        return self.folder / "current"

    @property
    def installed(self) -> str | None:
        """The version that the slot's program starts, by its folder; None when the slot is empty."""
        with clear_faults("read", self.current), suppress(FileNotFoundError):
            return self.current.readlink().parent.name
        return None

    def digest(self) -> str:
        """``sha256:<hex>`` of the bytes that ``current`` leads to; empty when there are none."""
        with clear_faults("read", self.current), suppress(FileNotFoundError), self.current.open("rb") as stream:
            return "sha256:" + hashlib.file_digest(stream, "sha256").hexdigest()
        return ""

    def holds(self, version: str) -> bool:
        """Whether *version* is installed here, current or not."""
        return (self.folder / "versions" / version).is_dir()

    def install(self, version: str, artifact: Path, digest: str) -> None:
        """Copy *artifact* in and make it current.

        :raises PermanentError: it is not there, or its bytes do not have *digest*; nothing is current then that was
            not before
        :raises TemporaryError: the disk is full
        """
        home = self.folder / "versions" / version
        draft = home / f".{artifact.name}.draft"
        with clear_faults("written", home):
            home.mkdir(parents=True, exist_ok=True)
            try:
                with artifact.open("rb") as source, draft.open("wb") as target:
                    found = _copy(source, target)
            except FileNotFoundError as error:
                raise PermanentError(f"artifact {artifact} is missing: publish version {version} again") from error
            if found != digest:
                draft.unlink()
                raise PermanentError(
                    f"artifact {artifact} of version {version} has digest {found}, but {digest} was approved: it "
                    "changed after the plan was made; publish it again and ask for a new approval"
                )
            draft.chmod(0o755)
            draft.replace(home / artifact.name)
            point_link(self.current, f"versions/{version}/{artifact.name}")
            for other in home.iterdir():  # of the same version, as another source named it
                if other.name != artifact.name:
                    other.unlink()

    def revive(self, version: str) -> None:
        """Make the installed *version* current again.

        :raises PermanentError: it is not installed here
        """
        home = self.folder / "versions" / version
        files = [path for path in sorted(home.glob("*")) if not path.name.startswith(".")] if home.is_dir() else []
        if len(files) != 1:
            raise PermanentError(f"slot {self.name} holds no artifact of version {version} in {home}: stage it again")
        with clear_faults("written", self.current):
            point_link(self.current, f"versions/{version}/{files[0].name}")

    def empty(self) -> None:
        """Let the slot's program start nothing any more; installed versions stay."""
        with clear_faults("removed", self.current):
            self.current.unlink(missing_ok=True)

    def purge(self, keep: str | None = None) -> None:
        """Remove installed versions except *keep*."""
        homes = self.folder / "versions"
        with clear_faults("removed", homes):
            for home in homes.iterdir() if homes.is_dir() else ():
                if home.name != keep:
                    shutil.rmtree(home)


def stable_slot(folder: Path) -> str:
    """The name of the stable slot in *folder*.

    :raises PermanentError: no slot was ever made stable
    """
    try:
        return str((folder / "stable").readlink())
    except OSError as error:
        raise PermanentError(
            f"{folder}/stable cannot be read ({error.strerror}): link it to the slot that is in production"
        ) from error


def mark_stable(folder: Path, name: str) -> None:
    """Make slot *name* the stable one."""
    with clear_faults("written", folder / "stable"):
        point_link(folder / "stable", name)


def _copy(source: BinaryIO, target: BinaryIO) -> str:
    """Copy in constant memory, to the disk; return the digest."""
    content = hashlib.sha256()
    while chunk := source.read(_CHUNK):
        content.update(chunk)
        target.write(chunk)
    target.flush()
    os.fsync(target.fileno())
    return "sha256:" + content.hexdigest()
