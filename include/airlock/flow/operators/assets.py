"""The Airflow asset of a service environment: its events announce promotions. Holds no rules.

An event is a hint that wakes the next environment. Anybody with the right to write events can forge one, so what is
released is read from the signed ledger (see ``stages.cycle``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow.sdk import Asset

from airlock.schedule.promotion import Hint, hints_of

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airlock.flow.stages.release import Release


def asset_of(service: str, environment: str) -> Asset:
    """Return the asset that says what is promoted in *environment*."""
    # The scheme begins with "x-": for any other, Airflow imports the asset code of all providers, boto3 among it.
    uri = f"x-airlock://{service}/{environment}"
    return Asset(name=uri, uri=uri, group="airlock")


def announce_promotion(release: Release, context: Context) -> None:
    """Put what *release* promoted into the event that Airflow writes when the running task succeeds."""
    environment, plan = release.environment, release.plan
    event = context["outlet_events"][asset_of(environment.service, environment.environment)]
    event.extra = {"version": plan.artifact.version, "digest": plan.artifact.digest, "release": release.id}


def hints_from(context: Context) -> tuple[Hint, ...]:
    """Return what the events say that started the running run."""
    events = context["triggering_asset_events"]
    return hints_of(event.extra for found in events.values() for event in found)
