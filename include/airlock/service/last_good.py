"""The last good version of what files declare, kept beside Airlock's records, for the day that a file goes wrong.

A release that is open, and the way back, must survive a mistake in any file. What was read without a fault is kept
below ``AIRLOCK_HOME`` (else ``.airlock`` beside ``include``), where DAG processor and workers find it. It is no
evidence: what was approved stands in the ledger, and a permit is checked against that all the same. Knows service
environments; must not know how files are read.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from airlock.places.address import Address, place_from
from airlock.service.model import ServiceEnvironment

Model = TypeVar("Model", bound=BaseModel)
log = logging.getLogger(__name__)
HOME = "AIRLOCK_HOME"


def kept_folder(folder: Path | str) -> Path:
    """Return where the last good versions of the service files in *folder* are."""
    home = os.environ.get(HOME) or Path(__file__).resolve().parents[3] / ".airlock"
    return Path(home) / "last-good" / hashlib.sha256(os.path.realpath(folder).encode()).hexdigest()[:16]


def keep(folder: Path | str, environments: Iterable[ServiceEnvironment]) -> None:
    """Keep *environments*, which the files in *folder* declare without a fault. What cannot be kept is logged."""
    for one in environments:
        keep_as(folder, f"{one.service}.{one.environment}", one)


def keep_as(folder: Path | str, name: str, declared: BaseModel) -> None:
    """Keep *declared*, which a file in *folder* declares without a fault, under *name*."""
    place, content = kept_folder(folder), declared.model_dump_json().encode()
    path = place / f"{name}.json"
    try:
        if not path.exists() or path.read_bytes() != content:
            write(path, content)
    except OSError as error:
        log.warning("the last good version of %s cannot be kept: %s; if its file goes wrong, its DAGs go: let Airflow "
                    "write to %s", name, error, place)


def kept(
    folder: Path | str, service: str | None = None, without: Iterable[ServiceEnvironment] = ()
) -> tuple[ServiceEnvironment, ...]:
    """Return the last good versions, of *service* only if it is given, sorted by service and environment; those of
    *without* are not read: nearly all are declared by right files, and every parse asks."""
    known = {f"{one.service}.{one.environment}" for one in without}
    found = (kept_as(path, ServiceEnvironment) for path in _paths(folder, service) if path.stem not in known)
    return tuple(sorted(filter(None, found), key=lambda one: (one.service, one.environment)))


def kept_as(path: Path, model: type[Model]) -> Model | None:
    """Return what is kept at *path*, or ``None``: another version of Airlock may have kept it."""
    try:
        return model.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValidationError) as error:
        log.warning("%s: the last good version is not usable: %s", path, str(error).partition("\n")[0])
        return None


def write(path: Path, content: bytes) -> None:
    """Write *content* to *path* so that it is there whole or not at all; only this user may read and change it."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with NamedTemporaryFile(dir=path.parent, prefix=".", delete=False) as stream:
        stream.write(content)
    Path(stream.name).replace(path)


def home_of(folder: Path | str, service: str) -> Path | None:
    """Return the file that declared *service* when it was known as good last, or ``None``."""
    try:
        newest = max(_paths(folder, service), key=lambda path: path.stat().st_mtime_ns, default=None)
        return None if newest is None else Path(json.loads(newest.read_bytes())["source"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def ledgers(folder: Path | str) -> frozenset[str | Address]:
    """Return the roots of the ledgers that the last good versions name."""
    found = set[str | Address | None]()
    for path in _paths(folder, None):
        try:
            found.add(place_from(json.loads(path.read_bytes())["ledger"]))
        except (OSError, ValueError, KeyError, TypeError) as error:
            log.warning("%s: its ledger is not looked at: %s", path, error)
    return frozenset(one for one in found if one is not None)


def forget(environment: ServiceEnvironment) -> None:
    """Remove the last good version of *environment*, so that its DAGs go when no file declares it."""
    place = kept_folder(Path(environment.source).parent)
    (place / f"{environment.service}.{environment.environment}.json").unlink(missing_ok=True)


def _paths(folder: Path | str, service: str | None) -> Iterator[Path]:
    yield from sorted(kept_folder(folder).glob(f"{service or '*'}.*.json"))
