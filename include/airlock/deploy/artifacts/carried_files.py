"""The files that an archive carries in a folder beside its code. What is in an archive is a stranger's."""

from __future__ import annotations

import zipfile
import zlib
from typing import IO

from airlock.deploy.artifact import LARGEST_CARRIED, MOST_CARRIED
from airlock.errors import InvalidInput
from airlock.models import CarriedFile
from airlock.plain_text import harmless


def in_zip(stream: IO[bytes], folder: str, what: str) -> tuple[CarriedFile, ...]:
    """Return the files in *folder* of the zip archive *stream* (a wheel, a jar, a zipapp); none if it has none.

    :raises InvalidInput: it is no such archive, or has too many
    """
    before = folder + "/"
    try:
        with zipfile.ZipFile(stream) as archive:
            entries = [one for one in archive.infolist() if one.filename.startswith(before) and one.filename != before]
            if len(entries) > MOST_CARRIED:
                raise too_many(what, len(entries))
            found = []
            for entry in entries:
                with archive.open(entry) as member:
                    found.append(CarriedFile(name=entry.filename.removeprefix(before),
                                             content=member.read(LARGEST_CARRIED + 1)))
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, RuntimeError) as error:
        raise InvalidInput(f"artifact {what}: its migrations cannot be read: {harmless(str(error))[:200]}; build it as "
                           "a zip file, or remove 'migrations' from the service file") from error
    return tuple(found)


def too_many(what: str, count: int) -> InvalidInput:
    """Return the refusal of an artifact that carries too many."""
    return InvalidInput(f"migrations in {what}: {count} files, at most {MOST_CARRIED} are read; correct the artifact")
