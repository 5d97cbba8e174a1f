"""Who wrote an artifact, and from which commit it was built, as the artifact itself says.

An artifact that is a zip archive (a wheel, a .pyz, a .jar) may hold ``release.json`` with ``authors`` (the authors of
its commits as git names them) and ``commit``; an image says the same in its labels. What it says is a stranger's word:
it can only keep people from approving, never let them.
"""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Iterable, Mapping
from typing import IO, Any

from airlock.errors import InvalidInput
from airlock.plain_text import fault_in, harmless
from airlock.same_person import spelled

METADATA = "release.json"
AUTHORS_LABEL = "org.opencontainers.image.authors"
COMMIT_LABEL = "org.opencontainers.image.revision"
_LARGEST = 1 << 16
_MOST = 200
_LONGEST = 200
_LONGEST_COMMIT = 100


def metadata_of(stream: IO[bytes], what: str) -> Mapping[str, Any] | None:
    """Return the metadata in the archive *stream*, ``None`` if it is no archive or holds none.

    :raises InvalidInput: there is metadata, but it cannot be read
    """
    try:
        if not zipfile.is_zipfile(stream):
            return None
        with zipfile.ZipFile(stream) as archive:
            if METADATA not in archive.namelist():
                return None
            with archive.open(METADATA) as member:
                raw = member.read(_LARGEST + 1)
        if len(raw) > _LARGEST:
            raise InvalidInput(f"{METADATA} of {what} is larger than {_LARGEST} bytes; shorten it")
        data = json.loads(raw.decode("utf-8"))
    except (zipfile.BadZipFile, zipfile.LargeZipFile, NotImplementedError, RuntimeError, EOFError, ValueError,
            RecursionError) as error:
        raise InvalidInput(f"{METADATA} of {what} cannot be read: {type(error).__name__}; build the artifact again "
                           "with metadata in JSON") from error
    if not isinstance(data, dict):
        raise InvalidInput(f"{METADATA} of {what} holds no mapping; build the artifact again with such metadata")
    return data


def authors_of(metadata: Mapping[str, Any] | None, what: str) -> tuple[str, ...] | None:
    """Return the authors in *metadata*, sorted; ``None`` if it does not say who they are.

    :raises InvalidInput: they are no list of short, plain texts: then it cannot be told who must not approve
    """
    if metadata is None or "authors" not in metadata:
        return None
    found = metadata["authors"]
    if not isinstance(found, list) or not 0 < len(found) <= _MOST:
        raise InvalidInput(f"authors in {METADATA} of {what} must be a list of 1 to {_MOST} names; correct it")
    return _plain(found, f"{METADATA} of {what}")


def authors_in(labels: Mapping[str, str], what: str) -> tuple[str, ...] | None:
    """Return the authors in the *labels* of an image, as ``authors_of``; several are parted by commas."""
    names = [one for one in re.split(r"[,;\n]", labels.get(AUTHORS_LABEL, "")) if one.strip()]
    if not names:
        return None
    if len(names) > _MOST:
        raise InvalidInput(f"the label {AUTHORS_LABEL} of {what} names more than {_MOST} authors; correct it")
    return _plain(names, f"the label {AUTHORS_LABEL} of {what}")


def all_authors(said: Iterable[tuple[str, ...] | None]) -> tuple[str, ...] | None:
    """Return everybody that is named as an author in one place or another; ``None`` if no place names any."""
    known = [one for one in said if one is not None]
    return tuple(sorted({name for names in known for name in names})) if known else None


def commit_of(text: Any) -> str | None:
    """Return the commit that *text* names, fit to be shown; ``None`` if it names none."""
    shown = harmless(text).strip()[:_LONGEST_COMMIT] if isinstance(text, str) else ""
    return shown or None


def _plain(found: Iterable[Any], where: str) -> tuple[str, ...]:
    names = list(found)
    for name in names:
        if not isinstance(name, str) or not 0 < len(name.strip()) <= _LONGEST or "\n" in name or fault_in(name) or (
                not spelled(name)):
            raise InvalidInput(f"an author in {where} is no plain text of 1 to {_LONGEST} characters; write names as "
                               "git does")
    return tuple(sorted({name.strip() for name in names}))
