"""Service environments as they stand: what right files declare now, else the last good version, which stands in.

Stand-ins are for releases that are open and for the way back; nothing new begins by one. Knows service files and what
is kept of them; must not know what is done by them.
"""

from __future__ import annotations

from pathlib import Path

from airlock.errors import InvalidInput, UnknownName
from airlock.service import last_good
from airlock.service.find import find, read_services
from airlock.service.model import ServiceEnvironment
from airlock.service.validated import Reading


def read_standing(
    folder: Path | str, service: str | None = None
) -> tuple[Reading[ServiceEnvironment], tuple[ServiceEnvironment, ...]]:
    """Return what ``read_services`` returns, and the last good versions of what no right file declares now.

    They stand in for releases that are open, and for the way back. A folder that cannot be read is one of the faults.
    """
    try:
        reading = read_services(folder, service)
    except InvalidInput as error:
        reading = Reading((), (str(error),))
    return reading, last_good.kept(folder, service, without=reading.declared)


def require_declared(environment: ServiceEnvironment) -> None:
    """Refuse to begin anything by a last good version.

    :raises InvalidInput: no right file declares *environment* now; one line for each fault of the files that may
    """
    folder = Path(environment.source).parent
    reading, _ = read_standing(folder, environment.service)
    if not any((one.service, one.environment) == (environment.service, environment.environment)
               for one in reading.declared):
        said = f"{undeclared(environment)}; nothing new begins until it is mended"
        raise InvalidInput("\n".join((said, *reading.faults)))


def undeclared(environment: ServiceEnvironment) -> str:
    """Return the sentence for an *environment* that no right file declares, so that its last good version stands in."""
    return (f"{environment.source}: {environment.service} {environment.environment} is declared in no right service "
            "file any more; open releases and the way back go by its last good version")


def find_standing(folder: Path | str, service: str, environment: str) -> ServiceEnvironment:
    """Return what ``find`` returns; while no right file declares it, as it was good last.

    :raises UnknownName: no file declares it, and none did
    :raises InvalidInput: it is not found while some file is wrong, and was never right
    """
    try:
        return find(folder, service, environment)
    except (InvalidInput, UnknownName):
        for one in last_good.kept(folder, service):
            if one.environment == environment:
                return one
        raise
