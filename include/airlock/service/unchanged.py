"""What the files of a folder declare, without reading them anew while nothing of what was read has changed.

For the DAG processor, which would read the files of all services once for each DAG file, every half a minute, each time
in a process of its own. What was declared lies beside the files' last good versions and is used only while everything
that it came from is the same to the byte: the files, the folder's list of them, the variables, and Airlock's own code.
No clock counts, and nothing is unpickled. A note that another user could have written, that is cut off, or that does
not fit is no note: the files are read. Tasks never use it: they go by the files. Must not know what a service is.
"""

from __future__ import annotations

import functools
import hashlib
import json
import logging
import os
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pydantic
import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from airlock.errors import InvalidInput
from airlock.service import file as service_file
from airlock.service import last_good
from airlock.service.defaults import DEFAULTS_FILE
from airlock.service.find import ServiceEnvironment, service_files
from airlock.service.stand_ins import read_standing
from airlock.service.validated import Reading

log = logging.getLogger(__name__)
_NOTE = "unchanged"
_CODE = ("*.py", "places/*.py", "models/**/*.py", "service/**/*.py", "deploy/*.py", "deploy/strategies/*.py")
"""What takes part in reading a service file, below the package ``airlock``."""


class _Note(BaseModel):
    """``circumstances`` is the digest of all but the files; ``sources`` are path and sha256 of what was read, and
    ``kept`` are name and sha256 of the last good versions that came of it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    circumstances: str
    sources: tuple[tuple[str, str], ...]
    kept: tuple[tuple[str, str], ...]


def read_standing_once(
    folder: Path | str,
) -> tuple[Reading[ServiceEnvironment], tuple[ServiceEnvironment, ...]]:
    """Return what ``read_standing`` returns, and keep it. Nothing is read that was read before and is the same."""
    noted = _noted(folder)
    if noted is not None:
        return Reading(noted, ()), last_good.kept(folder, without=noted)
    reading, missing = read_standing(folder)
    last_good.keep(folder, reading.declared)
    if not reading.faults:
        _note(folder, reading)
    return reading, missing


def _noted(folder: Path | str) -> tuple[ServiceEnvironment, ...] | None:
    """Return what the files of *folder* declare, as noted, or ``None`` if they have to be read."""
    place = last_good.kept_folder(folder)
    try:
        note = _Note.model_validate_json(_own(place / _NOTE))
        if note.circumstances != _circumstances() or not all(_holds(*one) for one in note.sources):
            return None
        if not set(_listed(folder)) <= {path for path, _ in note.sources}:
            return None
        found = []
        for name, digest in note.kept:
            content = _own(place / f"{name}.json")
            if hashlib.sha256(content).hexdigest() != digest:
                return None
            found.append(ServiceEnvironment.model_validate_json(content))
    except FileNotFoundError:
        return None
    except (OSError, ValidationError, InvalidInput) as error:
        log.info("%s is not used, so all files are read: %s", place, str(error).partition("\n")[0])
        return None
    return tuple(found)


def _note(folder: Path | str, reading: Reading[ServiceEnvironment]) -> None:
    """Note *reading*, which has no fault, unless something was changed while it was read."""
    place = last_good.kept_folder(folder)
    try:
        kept = []
        for one in reading.declared:
            name = f"{one.service}.{one.environment}"
            content = _own(place / f"{name}.json")
            if ServiceEnvironment.model_validate_json(content) != one:
                return
            kept.append((name, hashlib.sha256(content).hexdigest()))
        sources = sorted({(str(path), digest) for path, digest in reading.sources})
        note = _Note(circumstances=_circumstances(), sources=tuple(sources), kept=tuple(kept))
        last_good.write(place / _NOTE, note.model_dump_json().encode())
    except (OSError, ValidationError) as error:
        log.info("what was read cannot be noted, so all files are read each time: %s", error)


def _holds(path: str, digest: str) -> bool:
    """Return whether the file at *path* can be read and holds what it did."""
    return hashlib.sha256(service_file.content(Path(path))).hexdigest() == digest


def _listed(folder: Path | str) -> Iterator[str]:
    yield from map(str, service_files(folder))
    company = Path(folder) / DEFAULTS_FILE
    if os.path.lexists(company):
        yield str(company)


def _own(path: Path) -> bytes:
    """Return the content of *path*, which nobody but this user can have written.

    :raises PermissionError: somebody else may have
    """
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as stream:
        for one, found in ((path.parent, os.lstat(path.parent)), (path, os.fstat(stream.fileno()))):
            if found.st_uid != os.geteuid() or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
                raise PermissionError(f"{one} is not this user's alone")
        return stream.read()


def _circumstances() -> str:
    """Return the digest of what a reading depends on beside its files."""
    variables = {name: value for name, value in os.environ.items() if name.startswith("AIRLOCK_")}
    given: dict[str, Any] = {"code": _code(), "variables": variables,
                             "versions": [sys.version, pydantic.VERSION, yaml.__version__]}
    return hashlib.sha256(json.dumps(given, sort_keys=True).encode()).hexdigest()


@functools.cache
def _code() -> str:
    """Return the digest of the code that reads service files."""
    package, digest = Path(__file__).resolve().parents[1], hashlib.sha256()
    for path in sorted({path for pattern in _CODE for path in package.glob(pattern)}):
        digest.update(f"{path.relative_to(package)}\0{path.stat().st_size}\0".encode() + path.read_bytes())
    return digest.hexdigest()
