"""Asks the sources of artifacts which versions there are, for the trigger forms. Knows no Airflow."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable

from airlock.deploy.artifact import CannotList
from airlock.deploy.resolution import source_of
from airlock.errors import AirlockError
from airlock.service import offered_versions
from airlock.service.model import ServiceEnvironment

log = logging.getLogger(__name__)
SECONDS = 60.0
"""After so long no further source is asked; those whose list is the oldest come first the next time."""


def refresh(environments: Iterable[ServiceEnvironment], seconds: float = SECONDS) -> int:
    """Keep the versions that each of *environments* has now; return how many were asked. A source that does not answer
    leaves the list as it was: it is only an offer."""
    began, asked = time.monotonic(), 0
    for environment in sorted(environments, key=offered_versions.kept_at):
        if time.monotonic() - began > seconds:
            log.warning("%g s are over: other sources are asked the next time", seconds)
            break
        asked += 1
        name = f"{environment.service} {environment.environment}"
        try:
            offered_versions.keep(environment, source_of(environment.artifact).versions())
        except CannotList:
            offered_versions.keep(environment, ())
        except AirlockError as error:
            log.warning("the versions of %s are not known now: %s; its form offers those of before", name, error)
    return asked
