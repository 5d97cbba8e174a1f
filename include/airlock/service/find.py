"""The service files of a folder, and which of them a service belongs to where several declare it."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

from airlock.errors import InvalidInput, UnknownName
from airlock.service import file as service_file
from airlock.service import last_good
from airlock.service.defaults import DEFAULTS_FILE
from airlock.service.model import ServiceEnvironment
from airlock.service.reading import load_file, read_company
from airlock.service.validated import Reading
from airlock.spelling import did_you_mean

__all__ = [
    "ServiceEnvironment", "find", "find_all", "load_services", "read_services", "service_files", "services_folder",
]

_VEILED = re.compile(r"""service["']?\s*:\s*["']?[^\s,}]*[$\\]""")
"""A service whose name is not written out: it has a variable or an escape."""


def services_folder() -> Path:
    """Return the folder of service files: ``AIRLOCK_SERVICES``, else ``include/services``."""
    return Path(os.environ.get("AIRLOCK_SERVICES") or Path(__file__).resolve().parents[2] / "services")


def service_files(folder: Path | str) -> tuple[Path, ...]:
    """Return the service files of *folder*, sorted, without hidden ones and without what all of them share.

    Whatever has the name of one is returned, so that a link to nowhere is a fault and not a service that is missing.

    :raises InvalidInput: there is no such folder, or it cannot be listed
    """
    root = Path(folder)
    try:
        if not root.is_dir():
            raise InvalidInput(f"{root}: there is no such folder of service files; check the path")
        return tuple(sorted(path for path in root.iterdir()
                            if path.suffix in (".yaml", ".yml") and not path.name.startswith(".")
                            and path.name != DEFAULTS_FILE))
    except (OSError, ValueError) as error:
        raise InvalidInput(f"{root}: the folder cannot be read: {error}; check the path and its permissions") from error


def load_services(folder: Path | str) -> tuple[ServiceEnvironment, ...]:
    """Return every environment of every service in *folder*, sorted by service, then environment.

    :raises InvalidInput: one line ``file:line: path: what; what to do`` for each fault of all files
    """
    return read_services(folder).complete()


def chosen(folder: Path | str, service: str | None, environment: str | None) -> tuple[ServiceEnvironment, ...]:
    """Return the environment that is named, all of the service that is named, or all that there are.

    :raises UnknownName: no file declares such
    :raises InvalidInput: a service file is wrong
    """
    if service is not None and environment is not None:
        return (find(folder, service, environment),)
    declared = load_services(folder)
    found = tuple(one for one in declared if service in (None, one.service))
    if not found:
        known = ", ".join(dict.fromkeys(one.service for one in declared)) or "none"
        raise UnknownName(f"{folder}: no service {(service or '')[:80]!r}: declared are {known}")
    return found


def read_services(folder: Path | str, service: str | None = None) -> Reading[ServiceEnvironment]:
    """Return what ``load_services`` returns, and the faults beside it. A service that two files declare is that of the
    file that declared it when it was known as good last, else of the one that is named like it: the other is refused.
    Where neither says which one is meant, nothing of it is returned. Nothing at all is while what all share is wrong.

    :param service: return those of this service only, and leave out the files that do not mention it
    :raises InvalidInput: the folder cannot be read
    """
    files, company = service_files(folder), read_company(folder)
    if company is not None and company.faults:
        return Reading((), tuple(company.report()))
    sources: list[tuple[Path, str]] = []
    faults: list[str] = []
    loaded: dict[Path, tuple[ServiceEnvironment, ...]] = {}
    wrong: set[Path] = set()
    for path in files:
        if service is not None and path.stem != service and not _may_declare(path, service):
            continue
        try:
            loaded[path] = load_file(path, company, sources)
        except InvalidInput as error:
            faults.append(str(error))
            wrong.add(path)
    claims: dict[str, list[Path]] = {}
    for path, environments in loaded.items():
        claims.setdefault(environments[0].service, []).append(path)
    declared: list[ServiceEnvironment] = []
    for name, paths in claims.items():
        home, why = _home(folder, name, paths, wrong)
        for path in paths:
            if path == home and service in (None, name):
                declared.extend(loaded[path])
            elif path not in (home, *(paths[:1] if home is None else ())):
                faults.append(f"{path}:1: service: {name!r} is declared in {home or paths[0]} too{why}; "
                              f"rename {'the service of this file' if home else 'or remove one'}")
    declared.sort(key=lambda one: (one.service, one.environment))
    return Reading(tuple(declared), tuple(faults), tuple(sources))


def _home(folder: Path | str, service: str, paths: list[Path], wrong: set[Path]) -> tuple[Path | None, str]:
    """Return which file *service* belongs to, and by what right: one of *paths*, which declare it, or one that is
    *wrong* now. ``None``: nobody knows which one is meant."""
    if len(paths) == 1 and not wrong:
        return paths[0], ""
    before = last_good.home_of(folder, service)
    for path in (*paths, *sorted(wrong)):
        if path == before:
            return path, ", which declared it before"
    for path in (*paths, *sorted(wrong)):
        if path.stem == service:
            return path, ", which is named like it"
    return (paths[0] if len(paths) == 1 else None), ""


def _may_declare(path: Path, service: str) -> bool:
    """Return whether the file may be that of *service*: its text has the name, veils it, or cannot be read."""
    try:
        text = service_file.content(path).decode()
    except (InvalidInput, UnicodeDecodeError):
        return True
    return service in text or _VEILED.search(text) is not None


def find(folder: Path | str, service: str, environment: str) -> ServiceEnvironment:
    """Return one service environment. A fault in the file of another service does not matter.

    :raises UnknownName: no file declares it
    :raises InvalidInput: it is declared twice, or is not found while some file is wrong
    """
    for found in read_services(folder, service).declared:
        if found.environment == environment:
            return found
    known = [f"{one.service} {one.environment}" for one in load_services(folder)]
    raise _unknown(f"{folder}: no service {service[:80]!r} with environment {environment[:80]!r}",
                   f"{service} {environment}", known)


def find_all(folder: Path | str, service: str | None = None) -> Reading[ServiceEnvironment]:
    """Return every environment of *service*, or of all services, and the faults of files that may declare more.

    :raises UnknownName: no file declares such a service
    :raises InvalidInput: there is no service file, or the folder cannot be read
    """
    reading = read_services(folder, service)
    if reading.declared or reading.faults:
        return reading
    if service is None:
        raise InvalidInput(f"{folder}: there is no service file (*.yaml) in this folder; check the path")
    known = list(dict.fromkeys(one.service for one in load_services(folder)))
    raise _unknown(f"{folder}: no service {service[:80]!r}", service, known)


def _unknown(what: str, name: str, known: Sequence[str]) -> UnknownName:
    hint = did_you_mean(name, known)
    return UnknownName(f"{what}: {hint}declared are {', '.join(known) or 'none'}")
