"""One repository of an OCI registry, read only: manifests, blobs, tags and what refers to a manifest.

Whatever comes back was compared with its digest, where one was asked for. Knows the protocol of registries; must not
know what an image is for.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import quote

from airlock.errors import InvalidInput, PermanentError, TemporaryError
from airlock.plain_text import harmless

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
INDEXES = (INDEX, DOCKER_LIST)
ACCEPTED = (MANIFEST, INDEX, DOCKER_MANIFEST, DOCKER_LIST)
LARGEST_MANIFEST = 4 << 20  # what registries take at most (distribution specification)
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_REPOSITORY = re.compile(r"(?P<host>[A-Za-z0-9.-]+(?::[0-9]{1,5})?|\[[0-9a-f:]+\](?::[0-9]{1,5})?)/"
                         r"(?P<name>[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*)*)")
_MOST_PAGES = 1000
_MOST_TAGS = 200_000
_HUB = ("docker.io", "index.docker.io")


class NotThere(InvalidInput):
    """The repository has no such manifest or blob."""


@dataclass(frozen=True)
class Manifest:
    """A manifest or an index: its digest, its bytes, and what it says."""

    digest: str
    content: bytes
    said: Mapping[str, Any]

    @cached_property
    def media_type(self) -> str:
        """What it says it is; what older ones do not say, told by their fields."""
        said = str(self.said.get("mediaType") or "")
        return said or (INDEX if "manifests" in self.said else MANIFEST)

    @property
    def is_index(self) -> bool:
        """Whether it lists manifests."""
        return self.media_type in INDEXES


@dataclass(frozen=True)
class Descriptor:
    """Where a blob or a manifest is named: what, which, how large."""

    media_type: str
    digest: str
    size: int
    annotations: Mapping[str, str] = field(default_factory=dict)
    said: Mapping[str, Any] = field(default_factory=dict)


def place_of(reference: str) -> tuple[str, str]:
    """Return the host (with its port) that is asked for the repository *reference*, and its name there.

    :raises ValueError: it names no repository, or names a tag or a digest
    """
    match = _REPOSITORY.fullmatch(reference)
    if match is None or ("." not in match["host"] and ":" not in match["host"] and match["host"] != "localhost"):
        raise ValueError("is no repository such as registry.example.com/team/shop, without a tag")
    host, name = match["host"], match["name"]
    if host in _HUB:
        return "registry-1.docker.io", name if "/" in name else f"library/{name}"
    return host, name


def descriptor(said: Any, what: str) -> Descriptor:
    """Return the descriptor that *said* is.

    :raises InvalidInput: it is none
    """
    known = said if isinstance(said, dict) else {}
    digest, size, media_type = known.get("digest"), known.get("size"), known.get("mediaType")
    annotations = known.get("annotations") or {}
    if not isinstance(digest, str) or not _DIGEST.fullmatch(digest):
        raise InvalidInput(f"{what} names a content by {str(digest)[:80]!a}, which is no sha256 digest; build it anew")
    if type(size) is not int or size < 0 or not isinstance(media_type, str) or not isinstance(annotations, dict):
        raise InvalidInput(f"{what} describes {digest} without a size and a media type; build it anew")
    texts = {str(name): text for name, text in annotations.items() if isinstance(text, str)}
    return Descriptor(media_type, digest, size, texts, known)


class Repository:
    """One repository."""

    def __init__(self, reference: str, ask: Callable[..., Any]) -> None:
        """Bind the repository; *ask* sends a request: its path, and the headers."""
        self.reference = reference
        self._ask = ask
        _, self._name = place_of(reference)

    def manifest(self, tag_or_digest: str) -> Manifest:
        """Return the manifest that a tag leads to, or that has a digest.

        :raises NotThere: there is none
        :raises TemporaryError: what comes is another one than its digest says
        """
        what = f"{self.reference}{'@' if ':' in tag_or_digest else ':'}{tag_or_digest}"
        answer = self._found(f"manifests/{quote(tag_or_digest, safe=':')}", what, {"Accept": ", ".join(ACCEPTED)})
        content = b"".join(self._pieces(answer, LARGEST_MANIFEST))
        digest = "sha256:" + hashlib.sha256(content).hexdigest()
        claimed = tag_or_digest if ":" in tag_or_digest else answer.headers.get("Docker-Content-Digest", digest)
        if claimed.startswith("sha256:") and claimed != digest:
            raise TemporaryError(f"{what}: what the registry gives has the digest {digest}, not {claimed[:80]!a}: it "
                                 "was altered on the way, or where it is stored; it is tried again")
        return Manifest(digest, content, decoded(content, what))

    def digest(self, tag: str) -> str:
        """Return the digest that the registry says a tag leads to, empty where it does not say; nothing is compared.
        This is no pull, which some registries count.

        :raises NotThere: there is no such tag
        """
        answer = self._found(f"manifests/{tag}", f"{self.reference}:{tag}", {"Accept": ", ".join(ACCEPTED)}, "HEAD")
        answer.close()
        return str(answer.headers.get("Docker-Content-Digest", ""))

    def blob(self, wanted: Descriptor, largest: int) -> Iterator[bytes]:
        """Yield the bytes of a blob; what was yielded is good only once all of it was.

        :raises NotThere: there is none
        :raises InvalidInput: it is larger than *largest* bytes
        :raises TemporaryError: it is another one than its digest says
        """
        what = f"{self.reference}@{wanted.digest}"
        if wanted.size > largest:
            raise InvalidInput(f"{what} has {wanted.size} bytes, at most {largest} are read; release less at once")
        hasher, size = hashlib.sha256(), 0
        for piece in self._pieces(self._found(f"blobs/{wanted.digest}", what), wanted.size):
            hasher.update(piece)
            size += len(piece)
            yield piece
        if size != wanted.size or f"sha256:{hasher.hexdigest()}" != wanted.digest:
            raise TemporaryError(f"{what}: the registry gives other bytes than those with this digest: they were "
                                 "altered on the way, or where they are stored; it is tried again")

    def small(self, wanted: Descriptor, largest: int) -> bytes:
        """Return a blob of few bytes; errors as ``blob``."""
        return b"".join(self.blob(wanted, largest))

    def save(self, wanted: Descriptor, path: Path, largest: int) -> None:
        """Write a blob to *path*; errors as ``blob``."""
        try:
            with path.open("wb") as file:
                for piece in self.blob(wanted, largest):
                    file.write(piece)
        except OSError as error:
            raise TemporaryError(f"{wanted.digest} cannot be written to {path.parent} ({error.strerror}): free some "
                                 "space") from error

    def tags(self) -> tuple[str, ...]:
        """Return every tag.

        :raises NotThere: there is no such repository
        """
        found: list[str] = []
        for page in self._pages("tags/list?n=1000", self.reference):
            tags = page.get("tags") or []
            if not isinstance(tags, list) or len(found) > _MOST_TAGS:
                raise PermanentError(f"{self.reference} lists no tags, or more than {_MOST_TAGS}")
            found += [one for one in tags if isinstance(one, str)]
        return tuple(found)

    def referrers(self, digest: str) -> tuple[Descriptor, ...]:
        """Return the manifests that refer to *digest*: those of the referrers API, and those of the tag that stands for
        it, which registries keep that had no such API when the manifests were pushed."""
        pages: list[Mapping[str, Any]] = []
        what = f"what refers to {self.reference}@{digest}"
        try:
            pages += self._pages(f"referrers/{digest}", what, follow=False)
        except (NotThere, NoSuchCall):  # registries answer an unknown call in many ways
            pages = []
        with suppress(NotThere):
            pages.append(self.manifest(digest.replace(":", "-")).said)
        found: dict[str, Descriptor] = {}
        for listed in (page.get("manifests") for page in pages):
            for one in listed if isinstance(listed, list) else ():
                with suppress(InvalidInput):  # whoever may push can list anything: it hides no other
                    named = descriptor(one, what)
                    found.setdefault(named.digest, named)
        return tuple(found.values())

    def _pages(self, path: str, what: str, *, follow: bool = True) -> Iterator[Mapping[str, Any]]:
        seen: set[str] = set()
        while path and path not in seen and len(seen) < _MOST_PAGES:
            seen.add(path)
            answer = self._found(path, what, {"Accept": f"{INDEX}, application/json"}, follow=follow)
            yield decoded(b"".join(self._pieces(answer, LARGEST_MANIFEST)), what)
            # Only where on this very registry it goes on: a link to another host is not followed.
            _, _, query = str((answer.links.get("next") or {}).get("url", "")).partition("?")
            path = f"{path.partition('?')[0]}?{query}" if query else ""

    def _found(
        self, path: str, what: str, headers: Mapping[str, str] | None = None, method: str = "GET", *,
        follow: bool = True,
    ) -> Any:
        from airlock.deploy.artifacts.oras_session import refusal

        answer = self._ask(f"/v2/{self._name}/{path}", dict(headers or {}), method=method, follow=follow)
        status = answer.status_code
        if status == 200:
            return answer
        answer.close()
        if status in (404, 410):
            raise NotThere(f"there is no {harmless(what)}")
        if status in (400, 405, 406, 415, 501) or 300 <= status < 400:
            raise NoSuchCall(f"{what}: the registry answers with status {status}; check that it is a registry")
        raise refusal(answer, what)

    @staticmethod
    def _pieces(answer: Any, largest: int) -> Iterator[bytes]:
        from airlock.deploy.artifacts.oras_session import pieces

        return pieces(answer, largest)


class NoSuchCall(PermanentError):
    """The registry does not know what was asked for."""


def decoded(content: bytes, what: str) -> Mapping[str, Any]:
    """Return the JSON object that *content* is.

    :raises NoSuchCall: it is none
    """
    try:
        said = json.loads(content)
    except (ValueError, RecursionError):
        said = None
    if not isinstance(said, dict):
        raise NoSuchCall(f"{what}: the registry answers with something that is no JSON object; check its address")
    return said
