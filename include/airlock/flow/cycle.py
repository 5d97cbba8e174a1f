"""What a scheduled run of a fixed release cycle asks for, read from the ledgers of both environments."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from airlock.errors import InvalidInput
from airlock.evidence.ledger import Ledger
from airlock.models import Outcome, Rfc
from airlock.schedule.cycle import NothingNew, Promotion, candidate, standard_form
from airlock.services import ServiceEnvironment, find, services_folder
from airlock.signing import keyring_from_connection


def form_of_cycle(environment: ServiceEnvironment) -> tuple[Mapping[str, Any] | None, str]:
    """Return the form of the standard change to make now, or ``None``, and why.

    :raises InvalidInput: the environment has a cycle, but names no environment ``after`` which versions come
    """
    if environment.after is None:
        raise InvalidInput(
            f"{environment.source}: {environment.environment} has a cycle but no 'after', so it is not known "
            "which versions are good enough; name the environment before"
        )
    before = find(services_folder(), environment.service, environment.after)
    here = ended(environment)
    chosen = candidate(ended(before)[Outcome.PROMOTED], here[Outcome.PROMOTED], here[Outcome.ROLLED_BACK])
    if isinstance(chosen, NothingNew):
        return None, chosen.sentence
    return standard_form(environment, chosen), chosen.sentence


def ended(environment: ServiceEnvironment) -> dict[Outcome, list[Promotion]]:
    """Return what was released in *environment*, by how it ended."""
    ledger = Ledger(
        environment.ledger, environment.service, environment.environment,
        keyring=lambda: keyring_from_connection(environment.signing_connection),
    )
    found: dict[Outcome, list[Promotion]] = {outcome: [] for outcome in Outcome}
    for release in ledger.releases():
        outcome, request = ledger.latest(release, "outcome"), ledger.latest(release, "rfc")
        if outcome is None or request is None:
            continue
        rfc = Rfc.model_validate(request.data["rfc"])
        found[Outcome(outcome.data["outcome"])].append(
            Promotion(version=rfc.version, digest=request.data["artifact"]["digest"], at=outcome.at)
        )
    return found
