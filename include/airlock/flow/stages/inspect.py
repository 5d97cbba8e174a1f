"""Stage ``inspect``: look at every resource of the plan before anybody is asked, so that nobody approves a release that
cannot be backed up. Reads only. Knows no Airflow.
"""

from __future__ import annotations

import logging
import time
from concurrent.futures import ThreadPoolExecutor

from airlock.change.text import Section
from airlock.errors import AirlockError, GateRefused, PermanentError, TemporaryError
from airlock.flow.stages.release import Release
from airlock.models import Inspection, Resource

log = logging.getLogger(__name__)
_AT_ONCE = 4
TITLE = "Resources, as they were looked at"


def inspect(release: Release) -> None:
    """Look at every resource, a few at once, and record what was seen.

    :raises GateRefused: one is not there, or cannot be read; all of them are named
    :raises TemporaryError: a server cannot be asked now
    """
    plan = release.plan
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        seen = dict(zip(map(_label, plan.resources), pool.map(lambda one: _look(release, one), plan.resources),
                        strict=True))
    missing = {name: said for name, said in seen.items() if isinstance(said, PermanentError)}
    if missing:
        raise GateRefused(f"{release.id}: {len(missing)} of {len(seen)} resource(s) could not be backed up, so nobody "
                          f"is asked: {'; '.join(_named(name, said) for name, said in missing.items())}; correct the "
                          "service file, or bring back what is missing, and ask again")
    for said in seen.values():
        if isinstance(said, AirlockError):
            raise said
    sizes = {name: said.size_bytes for name, said in seen.items() if isinstance(said, Inspection)}
    release.record("inspected", plan_digest=plan.digest, sizes=sizes)
    log.info("%s; next: %s", "; ".join(lines(sizes)), "people are asked" if plan.approvals else "the permit")


def section(release: Release) -> tuple[Section, ...]:
    """Return what approvers read of it; empty where nothing was looked at."""
    found = release.latest("inspected")
    return ((TITLE, tuple(lines(found["sizes"]))),) if found else ()


def lines(sizes: dict[str, int | None]) -> list[str]:
    """Return a line for people: all resources with their size, the largest first."""
    known = sorted(sizes.items(), key=lambda one: (-(one[1] or 0), one[0]))
    shown = (f"{name} ({_bytes(size)})" if size is not None else name for name, size in known)
    return [f"{len(sizes)} resource(s) are there and can be read: {', '.join(shown)}"]


def _look(release: Release, resource: Resource) -> Inspection | AirlockError:
    begun = time.monotonic()
    try:
        found = release.driver(resource).inspect()
    except (PermanentError, TemporaryError) as error:
        return error
    log.debug("%s: looked at in %.1f s: %s", _label(resource), time.monotonic() - begun, found.detail)
    return found if found.present else PermanentError(f"{_label(resource)} is not there, or empty")


def _named(name: str, error: AirlockError) -> str:
    said = str(error)
    return said if said.startswith(name) else f"{name}: {said}"


def _label(resource: Resource) -> str:
    return f"{resource.kind}.{resource.name}"


def _bytes(size: float) -> str:
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.0f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"
