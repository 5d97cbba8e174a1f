"""What an implementation needs to do its work, as data: programs, connections, permissions by stage, addresses.

Drivers, targets, routers, artifact sources, checks, metric sources, signals, notifiers and ticket systems each declare
one ``Needs``. ``airlock doctor`` asks for all of it before a release does, and the documents list it; a test compares
it with the calls that are really made. Knows no implementation and asks nothing.

Texts may hold ``{option}`` (``{slots.*.address}`` for each of several, ``{command.0}`` for the first): ``Needs.bound``
puts in what a service file says.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from typing import Any, Self

from pydantic import BaseModel

from airlock.models.frozen import Frozen

_FIELD = re.compile(r"\{([a-z][a-z0-9_]*(?:\.[a-z0-9_*]+)*)\}")
CONNECTION = "{connection}"
"""The option that nearly every implementation calls its connection."""


class Stage(StrEnum):
    """When something is needed."""

    INSPECT = "inspect"
    BACKUP = "backup"
    PROOF = "proof"
    DELIVERY = "delivery"
    CHECK = "check"
    ANALYSIS = "analysis"
    RESTORE = "restore"
    CALENDAR = "calendar"
    TICKET = "ticket"
    NOTICE = "notice"


ACTING = (Stage.INSPECT, Stage.DELIVERY, Stage.RESTORE)
"""When a release looks at, or acts on, where versions run and who splits the traffic."""


class System(StrEnum):
    """Who grants a permission."""

    AWS = "aws"
    FILES = "files"
    JIRA = "jira"
    KUBERNETES = "kubernetes"
    POSTGRESQL = "postgresql"
    REGISTRY = "registry"
    SERVICENOW = "servicenow"
    SLACK = "slack"
    SUPERVISORD = "supervisord"
    VAULT = "vault"


class Need(Frozen):
    """What all needs have. ``when`` names an option without which it is not needed, or, with a ``!`` before it, one
    with which it is not; ``why`` is for people."""

    stages: tuple[Stage, ...]
    when: str = ""
    why: str = ""


class Program(Need):
    """A program on PATH, or in *folder*, of at least the version *least* (empty: any)."""

    name: str
    least: str = ""
    folder: str = ""


class ConnectionNeed(Need):
    """An Airflow connection; *sort* is what it leads to, in words."""

    id: str = CONNECTION
    sort: str


class Permission(Need):
    """*actions*, in the system's own words, *on* one thing: an ARN, a path, a resource of an API.

    seldom: when they are asked for, where ordinary backups, proofs and restores never do
    """

    system: System
    actions: tuple[str, ...]
    on: str
    connection: str = ""
    seldom: str = ""


class Address(Need):
    """An address that must answer; of one without a scheme (``host:port``), that it can be connected to.

    ``idle``: nobody need answer there now, as where the next version will run; its host must be reached all the same.
    ``authority``: a file of the certificates that alone are trusted there; empty: those of this machine.
    """

    url: str
    idle: bool = False
    authority: str = ""


class Needs(Frozen):
    """Everything that one implementation needs. ``also`` is what cannot be asked for, in words for people."""

    programs: tuple[Program, ...] = ()
    connections: tuple[ConnectionNeed, ...] = ()
    permissions: tuple[Permission, ...] = ()
    addresses: tuple[Address, ...] = ()
    also: tuple[str, ...] = ()

    @property
    def all(self) -> tuple[Need, ...]:
        """Return every need, whatever its sort."""
        return (*self.programs, *self.connections, *self.permissions, *self.addresses)

    @property
    def options(self) -> tuple[str, ...]:
        """Return the names of the options that they depend on."""
        texts = [text for need in self.all for _, text in need if isinstance(text, str)]
        named = [need.when.removeprefix("!") for need in self.all if need.when]
        fields = [*named, *(field for text in texts for field in _FIELD.findall(text))]
        return tuple(sorted({field.partition(".")[0] for field in fields}))

    def bound(self, options: BaseModel | None = None, **more: str) -> Self:
        """Return what is needed with *options*, and with what the service file says beside them (*more*): every text
        filled; what they make needless is left out."""
        given = {**(options.model_dump(mode="json", by_alias=False) if options else {}), **more}

        def each(needs: Sequence[Any]) -> tuple[Any, ...]:
            kept = (need for need in needs if _wanted(need.when, given))
            return tuple(dict.fromkeys(found for need in kept for found in _filled(need, given)))

        return self.model_copy(update={
            "programs": each(self.programs), "connections": each(self.connections),
            "permissions": each(self.permissions), "addresses": each(self.addresses),
        })

    def __add__(self, other: Needs) -> Needs:
        """Return what both need."""
        return Needs(**{name: tuple(dict.fromkeys((*getattr(self, name), *getattr(other, name))))
                        for name in type(self).model_fields})


def _wanted(when: str, given: Mapping[str, Any]) -> bool:
    if not when:
        return True
    held = any(value not in (None, "", False, [], {}) for value in _values(when.removeprefix("!"), given))
    return held is not when.startswith("!")


def _filled(need: Need, given: Mapping[str, Any]) -> Iterator[Need]:
    """Yield *need* once for each way to fill its fields."""
    # not the words of an enumeration, which are texts too
    texts = {name: value for name, value in need if type(value) is str and name not in ("when", "why", "seldom")}
    fields = sorted({field for text in texts.values() for field in _FIELD.findall(text)})
    for chosen in itertools.product(*(list(_values(field, given)) for field in fields)):
        values = {field: "" if value is None else str(value) for field, value in zip(fields, chosen, strict=True)}
        yield need.model_copy(update={
            name: _FIELD.sub(lambda found, held=values: held[found[1]], text)  # type: ignore[misc]
            for name, text in texts.items()
        })


def _values(field: str, given: Any) -> Iterator[Any]:
    """Yield what stands at *field*; a list at its end is each of its members."""
    step, _, rest = field.partition(".")
    if step == "*":
        found = list(given.values()) if isinstance(given, Mapping) else list(given or ())
    elif isinstance(given, Mapping):
        found = [given.get(step)]
    else:
        found = [given[int(step)]] if step.isdecimal() and given and int(step) < len(given) else []
    for one in found:
        if rest:
            yield from _values(rest, one)
        elif isinstance(one, list):
            yield from one
        else:
            yield one
