"""Artifact source ``oci``: the tags of one repository of any OCI registry are the versions.

A version is an artifact, one of whose files is installed, or an image, out of whose file system one is. A tag is looked
up once; all else goes by digest, and what comes is compared with it. Migrations are in the installed file (a zip
archive), in a folder of the image, or in an artifact that is attached to it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory

from airlock.deploy.artifact import ArtifactSource, CannotList, checked_version, is_version, missing
from airlock.deploy.artifacts import carried_files, referrers
from airlock.deploy.artifacts.image import Image, chosen, first, image_of, texts
from airlock.deploy.artifacts.image_content import ImageContent
from airlock.deploy.artifacts.oci_options import NEEDS, OciOptions
from airlock.deploy.artifacts.release_metadata import (
    COMMIT_LABEL,
    all_authors,
    authors_in,
    authors_of,
    commit_of,
    metadata_of,
)
from airlock.deploy.artifacts.repository import NoSuchCall, NotThere, Repository, place_of
from airlock.deploy.version_order import newest_first
from airlock.errors import AccessRefused, PermanentError
from airlock.models import Artifact, CarriedFile, SignedContent

_OWN_TAG = re.compile(r"sha256-[0-9a-f]{64}(\.[a-z]+)?")
_TOKEN_HOSTS = {"registry-1.docker.io": frozenset({"auth.docker.io"})}


class OciSource(ArtifactSource):
    """See the module."""

    Options = OciOptions
    options: OciOptions
    needs = NEEDS

    def resolve(self, version: str, known: Artifact | None = None) -> Artifact:
        """As ``ArtifactSource.resolve``. To know the file that is installed, an image has to be brought here; what is
        *known* of the same digest is not asked for again."""
        with self._tag(version) as tag:
            if known is not None and known.digest == self._repository.digest(tag):
                return known.model_copy(update={"version": version, "signatures": ()})
            found = self._repository.manifest(tag)
        if known is not None and known.digest == found.digest:
            return known.model_copy(update={"version": version, "signatures": ()})
        image, platform = self._image(found.digest, self.options.platform)
        content = ImageContent(self._repository, image)
        places = [texts(found.said.get("annotations")), image.annotations(), content.labels()]
        with TemporaryDirectory(prefix="airlock-artifact-") as folder:
            path, file_digest = content.installed(self.options.file, Path(folder))
            with path.open("rb") as stream:
                said = metadata_of(stream, image.what)
        attached = self.options.migrations_in == "attached"
        return Artifact(
            version=version, path=f"{self.options.reference}@{found.digest}", digest=found.digest, source="oci",
            authors=all_authors([*(authors_in(one, image.what) for one in places), authors_of(said, image.what)]),
            commit=commit_of(first(COMMIT_LABEL, places) or (said or {}).get("commit")), size=image.size,
            platform=platform, image_digest=image.manifest.digest if found.is_index else None, file_digest=file_digest,
            attached=referrers.migrations(self._repository, _digests(found.digest, image)) if attached else None,
        )  # fmt: skip

    def size(self, version: str) -> int:
        """As ``ArtifactSource.size``."""
        with self._tag(version) as tag:
            found = self._repository.manifest(tag)
        return self._image(found.digest, self.options.platform)[0].size

    def versions(self) -> tuple[str, ...]:
        """As ``ArtifactSource.versions``: the tags that are written as the option says, without those of signatures."""
        start, _, end = self.options.tag.partition("{version}")
        try:
            listed = self._repository.tags()
        except (NoSuchCall, AccessRefused) as error:
            raise CannotList(f"{self.options.reference} does not tell its tags: {error}") from error
        tags = (tag[len(start) : len(tag) - len(end)] for tag in listed
                if tag.startswith(start) and tag.endswith(end) and not _OWN_TAG.fullmatch(tag))
        return newest_first(one for one in tags if is_version(one))

    def fetch(self, artifact: Artifact, folder: Path) -> Path:
        """As ``ArtifactSource.fetch``."""
        image, _ = self._image(artifact.digest, artifact.platform)
        path, digest = ImageContent(self._repository, image).installed(self.options.file, folder)
        if digest != artifact.file_digest:
            raise PermanentError(f"{image.what}: the file that is installed has the digest {digest}, but "
                                 f"{artifact.file_digest} was approved: the option file changed since; ask for a new "
                                 "approval")
        return path

    def carried(self, artifact: Artifact, folder: str) -> tuple[CarriedFile, ...]:
        """As ``ArtifactSource.carried``."""
        if self.options.migrations_in == "attached":
            if artifact.attached is None:
                return ()
            attached, _ = self._image(artifact.attached, None)
            return ImageContent(self._repository, attached).titled_in(folder, bare=True)
        image, _ = self._image(artifact.digest, artifact.platform)
        content = ImageContent(self._repository, image)
        with TemporaryDirectory(prefix="airlock-artifact-") as place:
            if self.options.migrations_in == "image":
                return content.files_in(folder, Path(place))
            path, _ = content.installed(self.options.file, Path(place))
            with path.open("rb") as stream:
                return carried_files.in_zip(stream, folder, image.what)

    def signed(self, artifact: Artifact) -> tuple[SignedContent, ...]:
        """As ``ArtifactSource.signed``."""
        about = (artifact.digest, artifact.image_digest, artifact.attached)
        return referrers.signed(self._repository, [digest for digest in about if digest is not None])

    def content(self, artifact: Artifact, digest: str) -> Iterator[bytes]:  # noqa: ARG002 - named by the digest alone
        """As ``ArtifactSource.content``."""
        yield self._repository.manifest(digest).content

    @contextmanager
    def _tag(self, version: str) -> Iterator[str]:
        """Give the tag of *version*; one that is not there is refused with the versions that are."""
        tag = self.options.tag.replace("{version}", checked_version(version))
        try:
            yield tag
        except NotThere as error:
            raise missing(f"{self.options.reference}:{tag}", version, self) from error

    @cached_property
    def _repository(self) -> Repository:
        from airlock.deploy.artifacts.oras_session import Registry
        from airlock.deploy.artifacts.registry_login import login_of

        options = self.options
        host = place_of(options.reference)[0]
        registry = Registry(
            host, login_of(options.connection, host), plain_http=options.plain_http,
            certificates=options.certificates or True,
            token_hosts=_TOKEN_HOSTS.get(host, frozenset()) | frozenset(options.token_hosts),
        )  # fmt: skip
        return Repository(options.reference, registry.ask)

    def _image(self, digest: str, platform: str | None) -> tuple[Image, str | None]:
        """Return the image with *digest*, or the one for *platform* in the index with it."""
        what = f"{self.options.reference}@{digest}"
        found, name = self._repository.manifest(digest), None
        if found.is_index:
            one, name = chosen(found, platform, what)
            found = self._repository.manifest(one.digest)
        return image_of(found, what), name


def _digests(digest: str, image: Image) -> list[str]:
    return list(dict.fromkeys((digest, image.manifest.digest)))
