"""Service files -> frozen service environments, with every fault at its file and line.

Loading is cheap, because every parse of the DAGs does it: drivers, targets and metric sources are known by name only.
``check_deep`` imports them and validates their options; ``services check`` and every plan call it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from airlock import registry
from airlock.errors import InvalidInput, PermanentError, UnknownName
from airlock.service import file as service_file
from airlock.service import last_good
from airlock.service import rules as service_rules
from airlock.service.file import Document, Place
from airlock.service.model import EnvironmentSettings, ServiceEnvironment, ServiceSettings
from airlock.service.named_files import NamedFiles
from airlock.service.validated import Reading, given_at, passwords, sentence_of, unknown_field, validated

__all__ = ["ServiceEnvironment", "check_deep", "find", "load_file", "load_services", "read_services", "service_files",
           "services_folder"]


_VEILED = re.compile(r"""service["']?\s*:\s*["']?[^\s,}]*[$\\]""")
"""A service whose name is not written out: it has a variable or an escape."""


def services_folder() -> Path:
    """Return the folder of service files: ``AIRLOCK_SERVICES``, else ``include/services``."""
    return Path(os.environ.get("AIRLOCK_SERVICES") or Path(__file__).resolve().parents[2] / "services")


def service_files(folder: Path | str) -> tuple[Path, ...]:
    """Return the service files of *folder*, sorted, without hidden ones.

    Whatever has the name of one is returned, so that a link to nowhere is a fault and not a service that is missing.

    :raises InvalidInput: there is no such folder, or it cannot be listed
    """
    root = Path(folder)
    try:
        if not root.is_dir():
            raise InvalidInput(f"{root}: there is no such folder of service files; check the path")
        return tuple(sorted(path for path in root.iterdir()
                            if path.suffix in (".yaml", ".yml") and not path.name.startswith(".")))
    except (OSError, ValueError) as error:
        raise InvalidInput(f"{root}: the folder cannot be read: {error}; check the path and its permissions") from error


def load_services(folder: Path | str) -> tuple[ServiceEnvironment, ...]:
    """Return every environment of every service in *folder*, sorted by service, then environment.

    :raises InvalidInput: one line ``file:line: path: what; what to do`` for each fault of all files
    """
    return read_services(folder).complete()


def read_services(folder: Path | str, service: str | None = None) -> Reading[ServiceEnvironment]:
    """Return what ``load_services`` returns, and the faults beside it. A service that two files declare is that of the
    file that declared it when it was known as good last, else of the one that is named like it: the other is refused.
    Where neither says which one is meant, nothing of it is returned.

    :param service: return those of this service only, and leave out the files that do not mention it
    :raises InvalidInput: the folder cannot be read
    """
    faults: list[str] = []
    loaded: dict[Path, tuple[ServiceEnvironment, ...]] = {}
    wrong: set[Path] = set()
    for path in service_files(folder):
        if service is not None and path.stem != service and not _may_declare(path, service):
            continue
        try:
            loaded[path] = load_file(path)
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
    return Reading(tuple(sorted(declared, key=lambda one: (one.service, one.environment))), tuple(faults))


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


def load_file(path: Path | str) -> tuple[ServiceEnvironment, ...]:
    """Return the environments of one service file, at least one.

    :raises InvalidInput: one line for each fault of the file
    """
    document = service_file.read(Path(path), os.environ)
    named = NamedFiles(document)
    environments = () if document.faults and not isinstance(document.data, dict) else tuple(_build(document, named))
    if document.faults or named.faults:
        raise InvalidInput("\n".join((*document.report(), *named.faults)))
    return environments


def find(folder: Path | str, service: str, environment: str) -> ServiceEnvironment:
    """Return one service environment. A fault in the file of another service does not matter.

    :raises UnknownName: no file declares it
    :raises InvalidInput: it is declared twice, or is not found while some file is wrong
    """
    for found in read_services(folder, service).declared:
        if found.environment == environment:
            return found
    known = [f"{one.service} {one.environment}" for one in load_services(folder)]
    near = get_close_matches(f"{service} {environment}", known, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise UnknownName(f"{folder}: no service {service[:80]!r} with environment {environment[:80]!r}: {hint}"
                      f"declared are {', '.join(known) or 'none'}")


def _build(document: Document, named: NamedFiles) -> Iterator[ServiceEnvironment]:
    data = document.data
    if not isinstance(data, dict):
        document.fault((), "holds no service; begin with 'service: name'", 1)
        return
    for place, text in passwords(data):
        document.fault(place, text)
    entries = data.get("environments")
    top = {name: value for name, value in data.items() if name != "environments"}
    service = validated(ServiceSettings, top, (), document, also=("environments",))
    if not isinstance(entries, dict) or not entries:
        document.fault(("environments",), "is missing or empty; declare at least one environment")
        return
    for place, text in service_rules.look_alikes(service) if service is not None else ():
        document.fault(place, text)
    found = named.people(service) if service is not None else {}
    shapes = {name: validated(EnvironmentSettings, value, ("environments", name), document)
              for name, value in entries.items()}
    afters = {name: value.get("after") if isinstance(value, dict) else None for name, value in entries.items()}
    for name, settings in shapes.items():
        if service is None or settings is None:
            continue
        for place, text in service_rules.faults_of(service, name, settings, afters):
            document.fault(("environments", name, *place), text)
        policy = named.policy(name, settings.approvals, service)
        if policy is None:
            continue
        raw = {**_attributes(service), **_attributes(settings), **found, "approval_policy": policy}
        try:
            yield ServiceEnvironment.model_validate({**raw, "environment": name, "source": str(document.path)})
        except ValidationError:
            document.fault(("environments", name), "is no name; use lower case letters, digits, - and _, at most 63")


def _attributes(model: BaseModel) -> dict[str, Any]:
    return {name: getattr(model, name) for name in type(model).model_fields}


def check_deep(environment: ServiceEnvironment) -> None:
    """Import every driver, the target and the metric source of *environment* and validate their options.

    :raises InvalidInput: one line for each fault: wrong options, a missing package, or a production environment that
        uses a driver without a restore proof
    """
    from fsspec import get_filesystem_class
    from upath import UPath

    faults: list[tuple[Place, str]] = []
    for index, resource in enumerate(environment.resources):
        place: Place = ("resources", index)
        driver = _resolved(registry.DRIVERS, "driver", resource.driver, (*place, "driver"), faults)
        if driver is None:
            continue
        if driver.kind != resource.kind:
            faults.append(((*place, "kind"), f"driver {resource.driver!r} is of kind {driver.kind!r}; correct it"))
        if environment.production and not driver.capabilities.restore_proof:
            faults.append(((*place, "driver"), f"driver {resource.driver!r} cannot prove a restore, so a production "
                           "environment may not use it; choose a driver with a restore proof"))
        _options(driver.Options, resource.options, (*place, "options"), faults)
    target, metrics, tickets = environment.target, environment.metrics, environment.tickets
    chosen = [("target", "name", registry.TARGETS, target.name, target.options),
              ("metrics", "name", registry.METRIC_SOURCES, metrics.name, metrics.options)]
    if tickets is not None:
        chosen.append(("tickets", "system", registry.TICKET_SYSTEMS, tickets.system, tickets.options))
    for name, field, table, implementation, options in chosen:
        found = _resolved(table, name, implementation, (name, field), faults)
        if found is not None:
            _options(found.Options, options, (name, "options"), faults)
    for index, signal in enumerate(environment.calendar.signals):
        place = ("calendar", "signals", index)
        found = _resolved(registry.SIGNALS, "signal", signal.name, (*place, "name"), faults)
        if found is not None:
            _options(found.Options, signal.options, (*place, "options"), faults)
    for place, folder in _folders(environment):
        try:
            get_filesystem_class(UPath(folder).protocol)
        except (ValueError, ImportError) as error:
            faults.append((place, f"{folder[:80]!a} cannot be opened: {error}; correct the path, or install the "
                                  "library of that store"))
    if faults:
        raise InvalidInput("\n".join(faults_at(environment, faults)))


def faults_at(environment: ServiceEnvironment, faults: Iterable[tuple[Place, str]]) -> tuple[str, ...]:
    """Return a line ``file:line: path: text`` for each of *faults*, which are at places of *environment*."""
    given = tuple(faults)
    if not given:
        return ()
    document = service_file.read(Path(environment.source), os.environ)
    document.faults.clear()
    for place, text in given:
        document.fault(("environments", environment.environment, *place), text)
    return tuple(document.report())


def _folders(environment: ServiceEnvironment) -> Iterator[tuple[Place, str]]:
    for model, names, place in ((environment, ("artifacts", "ledger", "evidence", "anchor"), ()),
                                (environment.backup, ("store", "replica", "scratch"), ("backup",))):
        for name in names:
            folder = getattr(model, name)
            if folder is not None:
                yield (*place, name), folder
    for index, file in enumerate(environment.calendar.files):
        yield ("calendar", "files", index, "path"), file.path


def _resolved(
    table: Mapping[str, registry.Entry], what: str, name: str, place: Place, faults: list[tuple[Place, str]]
) -> Any:
    try:
        return registry.resolve(table, what, name)
    except PermanentError as error:
        faults.append((place, str(error)))
        return None


def _options(model: type[BaseModel], options: dict[str, Any], place: Place, faults: list[tuple[Place, str]]) -> None:
    try:
        model.model_validate(options)
    except ValidationError as error:
        for fault in error.errors(include_url=False):
            where = tuple(fault["loc"])
            text = (unknown_field(model, where, ()) if fault["type"] == "extra_forbidden"
                    else sentence_of(fault["type"], fault["msg"], given_at(where, fault)))
            faults.append(((*place, *where), text))
