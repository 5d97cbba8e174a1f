"""What a release of a service environment really works on, by address. Asks no server; reads connections for their
addresses alone."""

from __future__ import annotations

from typing import Any

from airlock import registry
from airlock.models import Rfc, canonical_json
from airlock.options import validated
from airlock.service.model import ServiceEnvironment


def touched(environment: ServiceEnvironment, rfc: Rfc) -> tuple[str, ...]:
    """Return the identities of target, router and every resource, sorted; of a rollback of target and router alone: it
    moves traffic, and nothing else.

    :raises InvalidInput: options are wrong
    :raises UnknownName: a driver, the target, the router or an Airflow connection is not known
    """
    target, router = environment.target, environment.router
    found = set(identities(registry.TARGETS, "target", target.name, "target", target.options))
    found.update(identities(registry.ROUTERS, "router", router.name, "router", router.options))
    for resource in environment.resources if rfc.change_type != "rollback" else ():
        label = f"{resource.kind}.{resource.name}"
        found.update(identities(registry.DRIVERS, "driver", resource.driver, label, resource.options))
    return tuple(sorted(found))


def identities(table: Any, what: str, name: str, label: str, options: dict[str, Any]) -> tuple[str, ...]:
    """Return what the *options* of one driver, target or router lead to.

    :raises InvalidInput: options are wrong
    :raises UnknownName: the driver, target, router or an Airflow connection is not known
    """
    model = registry.resolve(table, what, name).Options
    same = f"{what}:{name}:{canonical_json(options).decode()}"
    return validated(model, options, f"{label}: {what} {name!r}").identities() or (same,)
