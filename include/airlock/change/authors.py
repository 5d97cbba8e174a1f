"""Who wrote an artifact, as its metadata says, and which log-in names these people have. Pure but for one read.

An artifact that is a zip archive (a wheel, a .pyz, a .jar) may hold ``release.json`` with ``authors``: the authors of
its commits as git names them. What it says is a stranger's word: it can only keep people from approving, never let
them.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping, Sequence
from typing import IO, Any

from airlock.errors import InvalidInput
from airlock.plain_text import fault_in
from airlock.same_person import followed, log_ins_by_name, mailbox, may_be_same, parts_of, spelled

METADATA = "release.json"
_LARGEST = 1 << 16
_MOST = 200
_LONGEST = 200


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
    for name in found:
        if not isinstance(name, str) or not 0 < len(name.strip()) <= _LONGEST or "\n" in name or fault_in(name) or (
                not spelled(name)):
            raise InvalidInput(f"an author in {METADATA} of {what} is no plain text of 1 to {_LONGEST} characters; "
                               "write names as git does")
    return tuple(sorted({name.strip() for name in found}))


def names_of(authors: Sequence[str], known: Mapping[str, str]) -> tuple[str, ...]:
    """Return the log-in names that *authors* have or may have, sorted; to be compared by ``may_be_same``.

    Who is *known*, by the whole text or by every address in it, is whoever stands there, and whoever stands where that
    name is known in its turn. Anybody else is taken for all whom the text may mean: its name, its addresses, what is
    before the @, and those *known* under a similar name.
    """
    table = log_ins_by_name(known)
    names: set[str] = set()
    for author in authors:
        shown, addresses = parts_of(author)
        boxes = [table.get(spelled(one)) or table.get(spelled(mailbox(one))) for one in addresses]
        sure = [table[spelled(author)]] if spelled(author) in table else boxes
        names |= {log_in for log_ins in sure for log_in in log_ins or ()}
        if not sure or None in sure:
            names |= {shown, *addresses, *(one.partition("@")[0] for one in addresses)} - {""}
            names |= {log_in for name, log_in in known.items() if may_be_same(author, name)}
    return tuple(sorted(followed(names, table)))
