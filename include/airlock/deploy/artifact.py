"""The contract of every source of artifacts: where the versions of a service come from. Knows no approval, no target.

A source says what a version is (``resolve``), which ones there are (``versions``), and brings what belongs to it: the
one file that a target installs (``fetch``), the migrations that come with it (``carried``) and what is signed of it
(``signed``). It changes nothing anywhere but in the folder that it is given, and remembers nothing between calls. A
name that can be moved, such as a tag, is looked up in ``resolve`` only: all else goes by the digests of the artifact,
and what does not have them is refused.

Errors: ``TemporaryError`` when the source cannot be reached, is slow or contradicts itself (the caller retries; sources
do not), ``InvalidInput`` when there is no such version or it is not as it must be, ``AccessRefused`` when the source
does not let Airlock in, other ``PermanentError`` for what a retry cannot mend. Messages name the source and the
version, and hold no secret and nothing of a content.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

from airlock.errors import AirlockError, InvalidInput, PermanentError
from airlock.models import Artifact, CarriedFile, SignedContent
from airlock.models.needs import Needs
from airlock.options import Options, validated

LARGEST = 64 << 30
"""The most bytes of one artifact that are read."""
CHUNK = 1 << 20
LARGEST_CARRIED = 256 << 10
"""The most bytes of one migration that are read."""
MOST_CARRIED = 2000
LARGEST_SIGNED = 4 << 20
MOST_SIGNED = 64
"""How many signatures and attestations of one artifact are looked at."""
_VERSION = re.compile(r"[0-9A-Za-z][0-9A-Za-z.+_-]{0,63}")
_SHOWN_VERSIONS = 20


class CannotList(PermanentError):
    """The source does not tell which versions there are: one must be named."""


class ArtifactSource(ABC):
    """Where versions come from."""

    Options: ClassVar[type[Options]]
    needs: ClassVar[Needs]

    def __init__(self, options: dict[str, Any]) -> None:
        """Validate the options.

        :raises InvalidInput: an option is missing, unknown or of the wrong type
        """
        self.options = validated(self.Options, options, f"artifact source {type(self).__name__}")

    @abstractmethod
    def resolve(self, version: str, known: Artifact | None = None) -> Artifact:
        """Return what *version* is now, without signatures.

        :param known: what it was before: what follows from the same digest is taken from there
        :raises InvalidInput: *version* is no version, or there is none; the versions that there are are named
        """

    @abstractmethod
    def size(self, version: str) -> int:
        """Return the bytes of all that belongs to *version*, without bringing it here; errors as ``resolve``."""

    @abstractmethod
    def versions(self) -> tuple[str, ...]:
        """Return the versions that there are, the newest first.

        :raises CannotList: the source does not tell
        """

    @abstractmethod
    def fetch(self, artifact: Artifact, folder: Path) -> Path:
        """Return the one file of *artifact* that a target installs, with ``artifact.installed_digest``; where it has to
        be brought here, in *folder*.

        :raises InvalidInput: it is not there any more
        :raises PermanentError: it is another one than *artifact* says
        """

    @abstractmethod
    def carried(self, artifact: Artifact, folder: str) -> tuple[CarriedFile, ...]:
        """Return the files that *artifact* carries in *folder* for its migrations; none if it has none.

        Of each at most ``LARGEST_CARRIED`` bytes and one more are returned, so that what is too long can be told.

        :raises InvalidInput: they cannot be read, or are more than ``MOST_CARRIED``
        :raises PermanentError: what is there is another one than *artifact* says
        """

    @abstractmethod
    def signed(self, artifact: Artifact) -> tuple[SignedContent, ...]:
        """Return the signatures and attestations that lie with *artifact*, as they are; nothing of it is verified."""

    @abstractmethod
    def content(self, artifact: Artifact, digest: str) -> Iterator[bytes]:
        """Yield the bytes that have *digest*, which is one of *artifact* that can be signed; needed only where a
        signature is not made of the digest alone. They are good only once all of them were yielded.

        :raises PermanentError: what is there is another one than *artifact* says
        """


def checked_version(version: str) -> str:
    """Return *version*.

    :raises InvalidInput: it is none
    """
    if not _VERSION.fullmatch(version) or ".." in version:
        raise InvalidInput(f"{version[:40]!a} is no version: write it as the artifact is named, for example 1.1")
    return version


def is_version(text: str) -> bool:
    """Return whether *text* could be a version."""
    return _VERSION.fullmatch(text) is not None and ".." not in text


def missing(what: str, version: str, source: ArtifactSource) -> InvalidInput:
    """Return the refusal of a *version* that is not there, with those that are."""
    try:
        found = source.versions()
    except AirlockError:
        return InvalidInput(f"there is no artifact {what} for version {version}; build it, or ask for another one")
    if not found:
        return InvalidInput(f"there is no artifact {what} for version {version}, nor any other version; publish it, or "
                            "correct the options of the artifact source")
    shown = ", ".join(found[:_SHOWN_VERSIONS]) + (" ..." if len(found) > _SHOWN_VERSIONS else "")
    return InvalidInput(f"there is no artifact {what} for version {version}: versions found are {shown}; "
                        "build it, or ask for one of these")
