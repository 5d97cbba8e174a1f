"""The Airflow connections that a service environment names and that are not known where this runs. Reads no secret."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel

from airlock import registry
from airlock.connections import connection, named, visible
from airlock.errors import UnknownConnection
from airlock.models import Checkpoint
from airlock.service.document import Place
from airlock.service.model import ServiceEnvironment


def unknown_connections(environment: ServiceEnvironment) -> Iterator[tuple[Place, str]]:
    """Yield the place in the environment, and a sentence, for each; none where connections cannot be seen at all."""
    if not visible():
        return
    for place, name in _named(environment):
        try:
            connection(name)
        except UnknownConnection as error:
            yield place, str(error)


def _named(environment: ServiceEnvironment) -> Iterator[tuple[Place, str]]:
    yield from named(environment)
    target, artifact = environment.target, environment.artifact
    options = _options(registry.ARTIFACT_SOURCES, "artifact source", artifact.name, artifact.options)
    yield from named(options, ("artifact", "options"))
    yield from named(_options(registry.TARGETS, "target", target.name, target.options), ("target", "options"))
    router = environment.router
    yield from named(_options(registry.ROUTERS, "router", router.name, router.options), ("router", "options"))
    for checkpoint in Checkpoint:
        for index, check in enumerate(getattr(environment.checks, checkpoint)):
            options = _options(registry.CHECKS, "check", check.name, check.options)
            yield from named(options, ("checks", checkpoint.value, index, "options"))
    for index, one in enumerate(environment.resources):
        options = _options(registry.DRIVERS, "driver", one.driver, one.options)
        yield from named(options, ("resources", index, "options"))


def _options(table: Mapping[str, registry.Entry], what: str, name: str, options: dict[str, Any]) -> BaseModel:
    model: BaseModel = registry.resolve(table, what, name).Options.model_validate(options)
    return model
