"""Which ledgers service files declare: so that a check of a ledger's folder asks for what must be there, and not only
for what it finds. Reads no record."""

from __future__ import annotations

from pathlib import Path

from upath import UPath

from airlock.errors import InvalidInput
from airlock.past.ledgers import root_of
from airlock.places.paths import Location, root_path
from airlock.service.find import read_services


def ledgers_at(path: str | Path, services: Path) -> tuple[str, ...]:
    """Return ``service/environment`` of each that the service files in the folder *services* keep in the ledger that
    *path* is, or is a folder of; sorted.

    :raises InvalidInput: a service file is wrong, or none keeps its ledger there
    """
    declared = read_services(services).complete()
    place = _resolved(path)
    roots = {place, *list(place.parents)[:2]}
    found = [f"{one.service}/{one.environment}" for one in declared if _resolved(root_of(one)) in roots]
    if not found:
        raise InvalidInput(f"no service file in {services} keeps its ledger at {path}; give the folder that 'ledger' "
                           "names there")
    return tuple(sorted(found))


def _resolved(place: Location) -> UPath:
    return UPath(str(root_path(place))).resolve()
