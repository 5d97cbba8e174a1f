"""Whether what a service environment names would work: every implementation is imported, and validates its options.

Too dear for every parse of the DAGs: ``services check`` and every plan call it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pydantic import BaseModel, ValidationError

from airlock import registry
from airlock.errors import AirlockError, InvalidInput, PermanentError
from airlock.models import Checkpoint
from airlock.places import remote
from airlock.places.address import Address
from airlock.places.paths import clear_faults, root_path
from airlock.service.checks import CheckSetting
from airlock.service.document import Place
from airlock.service.model import ServiceEnvironment
from airlock.service.reading import document_of
from airlock.service.validated import given_at, place_of, sentence_of, truths, unknown_field


def check_deep(environment: ServiceEnvironment) -> None:
    """Import every driver, artifact source, target, router, check and metric source of *environment*, and validate
    their options.

    :raises InvalidInput: one line for each fault: wrong options, a missing package, or a production environment that
        uses a driver without a restore proof
    """
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
    artifact, target, router = environment.artifact, environment.target, environment.router
    metrics, tickets = environment.metrics, environment.tickets
    chosen = [("artifact", "name", registry.ARTIFACT_SOURCES, artifact.name, artifact.options),
              ("target", "name", registry.TARGETS, target.name, target.options),
              ("router", "name", registry.ROUTERS, router.name, router.options),
              ("metrics", "name", registry.METRIC_SOURCES, metrics.name, metrics.options)]
    if tickets is not None:
        chosen.append(("tickets", "name", registry.TICKET_SYSTEMS, tickets.name, tickets.options))
    for name, field, table, implementation, options in chosen:
        found = _resolved(table, name, implementation, (name, field), faults)
        if found is not None:
            _options(found.Options, options, (name, "options"), faults)
    if not faults:
        faults.extend(_backends(environment))
    for checkpoint in Checkpoint:
        for index, one in enumerate(getattr(environment.checks, checkpoint)):
            faults.extend(_check(one, ("checks", checkpoint.value, index)))
    for index, signal in enumerate(environment.calendar.signals):
        place = ("calendar", "signals", index)
        found = _resolved(registry.SIGNALS, "signal", signal.name, (*place, "name"), faults)
        if found is not None:
            _options(found.Options, signal.options, (*place, "options"), faults)
    for place, folder in _folders(environment):
        try:
            path = root_path(folder)
            with clear_faults("opened", path):
                remote.check(path)
        except AirlockError as error:
            faults.append((place, f"{str(folder)[:80]!a} cannot be opened: {error}; correct the path, or install the "
                                  "library of that store"))
    if faults:
        raise InvalidInput("\n".join(faults_at(environment, faults)))


def _backends(environment: ServiceEnvironment) -> Iterator[tuple[Place, str]]:
    """Yield that target and router, whose options are right, name other backends."""
    target, router = environment.target, environment.router
    runs = registry.resolve(registry.TARGETS, "target", target.name).Options.model_validate(target.options)
    splits = registry.resolve(registry.ROUTERS, "router", router.name).Options.model_validate(router.options)
    if set(runs.backend_names) != set(splits.backend_names):
        yield ("router", "options"), (f"the router has the backends {', '.join(splits.backend_names)}, the target "
                                      f"{', '.join(runs.backend_names)}; name them alike")


def _check(setting: CheckSetting, place: Place) -> Iterator[tuple[Place, str]]:
    """Yield what is wrong with the options of a check, or with what decides beside them."""
    faults: list[tuple[Place, str]] = []
    found = _resolved(registry.CHECKS, "check", setting.name, (*place, "name"), faults)
    if found is not None:
        _options(found.Options, setting.options, (*place, "options"), faults)
    if found is not None and not faults:
        try:
            found(setting.options).basis()
        except InvalidInput as error:
            faults.append(((*place, "options"), str(error)))
    yield from faults


def faults_at(environment: ServiceEnvironment, faults: Iterable[tuple[Place, str]]) -> tuple[str, ...]:
    """Return a line ``file:line: path: text`` for each of *faults*, which are at places of *environment*."""
    given = tuple(faults)
    if not given:
        return ()
    document = document_of(environment.source)
    document.faults.clear()
    for place, text in given:
        document.fault(("environments", environment.environment, *place), text)
    return tuple(document.report())


def _folders(environment: ServiceEnvironment) -> Iterator[tuple[Place, str | Address]]:
    for model, names, place in ((environment, ("ledger", "evidence", "anchor"), ()),
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
        faults.extend(truths(options, model.model_validate(options), place))
    except ValidationError as error:
        for fault in error.errors(include_url=False):
            where = place_of(fault["loc"])
            text = (unknown_field(model, where, ()) if fault["type"] == "extra_forbidden"
                    else sentence_of(fault["type"], fault["msg"], given_at(where, fault)))
            faults.append(((*place, *where), text))
