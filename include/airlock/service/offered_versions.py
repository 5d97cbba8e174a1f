"""The versions that each trigger form offers: kept by a task that asked the sources, read by the API server.

Kept in files below ``AIRLOCK_HOME``, beside the last good versions of service files. No reading of a DAG file and no
form waits for a registry, and a list that is old or missing costs nothing: whoever fills in the form may type any
version, and the rules ask the source. Knows no source and no form.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Sequence
from pathlib import Path

from airlock.service.last_good import HOME, write
from airlock.service.model import ServiceEnvironment

log = logging.getLogger(__name__)
MOST = 100


def keep(environment: ServiceEnvironment, versions: Sequence[str]) -> None:
    """Keep *versions*, the newest first. What cannot be kept is logged."""
    path = _path(environment.service, environment.environment)
    try:
        write(path, json.dumps(list(versions[:MOST])).encode())
    except OSError as error:
        log.warning("the versions of %s %s cannot be kept: %s; its form offers none", environment.service,
                    environment.environment, error)


def kept(service: str, environment: str) -> tuple[str, ...]:
    """Return the versions that are kept, the newest first; none where there is no list."""
    try:
        found = json.loads(_path(service, environment).read_bytes())
    except (OSError, ValueError):
        return ()
    return tuple(one for one in found if isinstance(one, str)) if isinstance(found, list) else ()


def kept_at(environment: ServiceEnvironment) -> float:
    """Return when the versions of *environment* were kept last, in seconds; 0 if they never were."""
    try:
        return _path(environment.service, environment.environment).stat().st_mtime
    except OSError:
        return 0.0


def _path(service: str, environment: str) -> Path:
    home = os.environ.get(HOME) or Path(__file__).resolve().parents[3] / ".airlock"
    return Path(home) / "offered-versions" / f"{service}.{environment}.json"
