"""Artifact source ``file``: each version is one file in a folder, local or in an object store.

Migrations are in the file itself, which is a zip archive then; signatures lie beside it, under its name with
``.sigstore.json`` at the end (``<file>.sigstore.json``, ``<file>.provenance.sigstore.json``).
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import AfterValidator, Field

from airlock.deploy.artifact import (
    CHUNK,
    LARGEST,
    LARGEST_SIGNED,
    MOST_SIGNED,
    ArtifactSource,
    checked_version,
    is_version,
    missing,
)
from airlock.deploy.artifacts import carried_files
from airlock.deploy.artifacts.release_metadata import authors_of, commit_of, metadata_of
from airlock.deploy.version_order import newest_first
from airlock.errors import InvalidInput, PermanentError, TemporaryError
from airlock.models import Artifact, CarriedFile, SignatureForm, SignedContent
from airlock.models.needs import Needs, Permission, Stage, System
from airlock.options import Options
from airlock.service.values import Folder

if TYPE_CHECKING:
    from upath import UPath

_SIGNED = ".sigstore.json"


def _template(path: str) -> str:
    if path.count("{version}") != 1 or set("{}") & set(path.replace("{version}", "")):
        raise ValueError("must contain {version} once and no other braces; write such as /srv/app-{version}.pyz")
    from fsspec import get_filesystem_class
    from upath import UPath

    try:
        get_filesystem_class(UPath(path).protocol)
    except (ValueError, ImportError) as error:
        raise ValueError(f"{path[:80]!a} cannot be opened: {error}; correct the path, or install the library of that "
                         "store") from error
    return path


class FileOptions(Options):
    """What the source is told."""

    path: Annotated[Folder, AfterValidator(_template)] = Field(
        description="path of a version's file, with {version} where the version stands")


class FileSource(ArtifactSource):
    """See the module."""

    Options = FileOptions
    options: FileOptions
    needs = Needs(permissions=(
        Permission(system=System.FILES, actions=("read", "search"), on="{path}", stages=(Stage.INSPECT, Stage.DELIVERY),
                   why="the folder with every version's file, and the signatures beside them"),
    ))  # fmt: skip

    def resolve(self, version: str, known: Artifact | None = None) -> Artifact:  # noqa: ARG002 - a file may be replaced
        """As ``ArtifactSource.resolve``. The content is read each time, in constant memory: only it is the content."""
        hasher = hashlib.sha256()
        with self._opened(self.options.path.replace("{version}", checked_version(version)), version) as (path, stream):
            while chunk := stream.read(CHUNK):
                hasher.update(chunk)
            size = stream.tell()
            said = metadata_of(stream, str(path))
            authors = authors_of(said, str(path))
        return Artifact(version=version, path=str(path), digest="sha256:" + hasher.hexdigest(), authors=authors,
                        commit=commit_of((said or {}).get("commit")), size=size)

    def size(self, version: str) -> int:
        """As ``ArtifactSource.size``."""
        with self._opened(self.options.path.replace("{version}", checked_version(version)), version) as (path, _):
            return int(path.stat().st_size)

    def versions(self) -> tuple[str, ...]:
        """As ``ArtifactSource.versions``. An absent folder holds none."""
        from upath import UPath

        before, _, after = self.options.path.partition("{version}")
        start, (rest, _, below) = before.rpartition("/")[2], after.partition("/")
        folder: UPath = UPath(self._folder)
        try:
            names = [entry.name for entry in folder.iterdir()
                     if not below or (entry / below).is_file()] if folder.is_dir() else []
        except OSError as error:
            raise PermanentError(f"{folder} cannot be read: {error}; check permissions and storage") from error
        found = (name[len(start) : len(name) - len(rest)] for name in names
                 if name.startswith(start) and name.endswith(rest))
        return newest_first(one for one in found if is_version(one))

    def fetch(self, artifact: Artifact, folder: Path) -> Path:
        """As ``ArtifactSource.fetch``. A file of this machine is used where it lies; who installs it compares it."""
        with self._opened(artifact.path, artifact.version) as (path, stream):
            if path.protocol in ("", "file", "local"):
                return Path(path.path)
            copy = folder / path.name
            try:
                with copy.open("wb") as file:
                    for piece in _compared(stream, artifact):
                        file.write(piece)
            except OSError as error:
                raise TemporaryError(f"{path} cannot be copied to {folder} ({error.strerror}): free some space"
                                     ) from error
        return copy

    def carried(self, artifact: Artifact, folder: str) -> tuple[CarriedFile, ...]:
        """As ``ArtifactSource.carried``."""
        with self._opened(artifact.path, artifact.version) as (path, stream):
            for _ in _compared(stream, artifact):
                pass
            stream.seek(0)
            return carried_files.in_zip(stream, folder, str(path))

    def signed(self, artifact: Artifact) -> tuple[SignedContent, ...]:
        """As ``ArtifactSource.signed``."""
        from upath import UPath

        path: UPath = UPath(artifact.path)
        found = []
        try:
            beside = sorted(one.name for one in path.parent.iterdir()
                            if one.name.startswith(f"{path.name}.") and one.name.endswith(_SIGNED))
            for name in beside[:MOST_SIGNED]:
                with (path.parent / name).open("rb") as stream:
                    content = stream.read(LARGEST_SIGNED + 1)
                if len(content) > LARGEST_SIGNED:
                    raise InvalidInput(f"{path.parent / name} has more than {LARGEST_SIGNED >> 20} MiB; sign it anew")
                found.append(SignedContent(form=SignatureForm.SIGSTORE_BUNDLE, place=str(path.parent / name),
                                           content=content.decode(errors="replace")))
        except OSError as error:
            raise PermanentError(f"the signatures of {path} cannot be read: {error}; check permissions and storage"
                                 ) from error
        return tuple(found)

    def content(self, artifact: Artifact, digest: str) -> Iterator[bytes]:  # noqa: ARG002 - a file has one
        """As ``ArtifactSource.content``."""
        with self._opened(artifact.path, artifact.version) as (_, stream):
            yield from _compared(stream, artifact)

    @property
    def _folder(self) -> str:
        before = self.options.path.partition("{version}")[0]
        return before[: before.rfind("/") + 1] or "."

    @contextmanager
    def _opened(self, place: str, version: str) -> Iterator[tuple[UPath, Any]]:
        """Open the file of *version*.

        :raises InvalidInput: it is not there, or is none that may be read
        :raises PermanentError: it cannot be read
        """
        from upath import UPath

        path: UPath | str = place
        try:
            path = UPath(place)
            self._refuse_special(path)
            if not path.is_file():
                raise missing(str(path), version, self)
            if path.stat().st_size > LARGEST:
                raise InvalidInput(f"artifact {path} is larger than {LARGEST >> 30} GiB; release less at once")
            with path.open("rb") as stream:
                yield path, stream
        except (ValueError, ImportError) as error:
            raise InvalidInput(f"artifact {path} cannot be opened: {error}; correct the path, or install the library "
                               "of that store") from error
        except OSError as error:
            raise PermanentError(f"artifact {path} cannot be read: {error}; check permissions and storage") from error

    def _refuse_special(self, path: UPath) -> None:
        """Refuse a link that leads out of the folder of artifacts, and devices and pipes, which never end."""
        if path.protocol not in ("", "file", "local") or not os.path.lexists(path.path):
            return
        folder, real = type(path)(self._folder).path, Path(os.path.realpath(path.path))
        if not real.is_relative_to(os.path.realpath(folder)):
            raise InvalidInput(f"artifact {path} is a link that leads out of {folder}; put the artifact itself there")
        if not stat.S_ISREG(real.stat().st_mode):
            raise InvalidInput(f"artifact {path} is not a regular file; put the artifact itself there")


def _compared(stream: Any, artifact: Artifact) -> Iterator[bytes]:
    """Yield the bytes of *stream*; they are good only once all of them were yielded.

    :raises PermanentError: they are not those of *artifact*
    """
    hasher = hashlib.sha256()
    while chunk := stream.read(CHUNK):
        hasher.update(chunk)
        yield chunk
    if "sha256:" + hasher.hexdigest() != artifact.digest:
        raise PermanentError(f"{artifact.path} is not what was approved as {artifact.version}: it changed after the "
                             "plan was made; publish it again and ask for a new approval")
