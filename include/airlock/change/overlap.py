"""Which service environments work on the same real thing, by address. Asks no server; changes nothing.

Exists because each file is right by itself: that two services share a database, a folder or a target is seen only when
all of them are looked at together. Links of the local disk are followed, as they are now.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from airlock import registry
from airlock.change.conflicts import around
from airlock.errors import AirlockError
from airlock.models import canonical_json
from airlock.service.find import ServiceEnvironment
from airlock.service.touched import identities

TARGET, ROUTER = "target", "router"
_DELIVERY = (TARGET, ROUTER)


@dataclass(frozen=True)
class Thing:
    """A resource, the target or the router of a service environment, and what it really is."""

    where: ServiceEnvironment
    label: str
    addresses: tuple[str, ...]

    @property
    def name(self) -> str:
        """Return the thing for people."""
        return f"{self.where.service} {self.where.environment} {self.label}"


@dataclass(frozen=True)
class Overlap:
    """Two things that are the same, or of which one lies in the other, with what both are."""

    one: Thing
    other: Thing
    shared: tuple[str, ...]

    @property
    def refused(self) -> bool:
        """Return whether it can never be meant: two services that run in one place, or whose traffic is one. One server
        (``envoy://host:port``) may shift that of many; environments of one service are shown, because a file may be
        checked with ports that are made up."""
        both = self.one.label == self.other.label in _DELIVERY and self.one.where.service != self.other.where.service
        return both and any("/" in address.partition("://")[2] for address in self.shared)

    @property
    def sentence(self) -> str:
        """Return the overlap for people."""
        return f"{self.one.name} and {self.other.name} are the same, or one lies in the other: {', '.join(self.shared)}"


def overlaps(environments: Sequence[ServiceEnvironment]) -> tuple[Overlap, ...]:
    """Return every overlap between things of different services, and of targets and routers of any two environments."""
    things = [thing for where in environments for thing in _things(where)]
    held: dict[str, list[Thing]] = defaultdict(list)
    for thing in things:
        for address in thing.addresses:
            held[address].append(thing)
    found: dict[tuple[str, str], set[str]] = defaultdict(set)
    known = {thing.name: thing for thing in things}
    for address, holders in held.items():
        outer = [thing for one in around(address) for thing in held.get(one, ())]
        for one, other in (*combinations(holders, 2), *((a, b) for a in holders for b in outer)):
            if _counts(one, other):
                found[min((one.name, other.name), (other.name, one.name))].add(address)
    for one, other, address in (*_by_prefix(things), *_by_server(things)):
        if _counts(one, other):
            found[min((one.name, other.name), (other.name, one.name))].add(address)
    return tuple(Overlap(known[one], known[other], tuple(sorted(shared)))
                 for (one, other), shared in sorted(found.items()))


def _counts(one: Thing, other: Thing) -> bool:
    if one.where is other.where:
        return False
    return one.where.service != other.where.service or one.label == other.label in _DELIVERY


def _by_prefix(things: Iterable[Thing]) -> Iterator[tuple[Thing, Thing, str]]:
    """Yield what is told by the beginning of a name (``aws://.../shop-*``) and overlaps."""
    open_ended = [(thing, address[:-1]) for thing in things for address in thing.addresses if address.endswith("*")]
    for (one, mine), (other, theirs) in combinations(open_ended, 2):
        if mine != theirs and (mine.startswith(theirs) or theirs.startswith(mine)):
            yield one, other, f"{max(mine, theirs, key=len)}*"


def _by_server(things: Iterable[Thing]) -> Iterator[tuple[Thing, Thing, str]]:
    """Yield targets and routers that one server shifts, though they are not the same."""
    for one, other in combinations([thing for thing in things if thing.label in _DELIVERY], 2):
        for server in sorted(set(_servers(one)) & set(_servers(other))):
            yield one, other, server


def _servers(thing: Thing) -> Iterator[str]:
    for address in thing.addresses:
        scheme, _, rest = address.partition("://")
        if scheme not in ("file", "http"):
            yield f"{scheme}://{rest.partition('/')[0]}"


def _things(where: ServiceEnvironment) -> Iterator[Thing]:
    target, router = where.target, where.router
    yield Thing(where, TARGET, _real(registry.TARGETS, "target", target.name, TARGET, target.options))
    yield Thing(where, ROUTER, _real(registry.ROUTERS, "router", router.name, ROUTER, router.options))
    for resource in where.resources:
        label = f"{resource.kind}.{resource.name}"
        yield Thing(where, label, _real(registry.DRIVERS, "driver", resource.driver, label, resource.options))


def _real(
    table: Mapping[str, registry.Entry], what: str, name: str, label: str, options: dict[str, Any]
) -> tuple[str, ...]:
    try:
        found = identities(table, what, name, label, options)
    except AirlockError:  # its connection is not known here: then only the very same options are the same
        found = (f"{what}:{name}:{canonical_json(options).decode()}",)
    return tuple(sorted({_followed(address) for address in found}))


def _followed(address: str) -> str:
    path = address.removeprefix("file://")
    return address if path == address else "file://" + os.path.realpath(path)
