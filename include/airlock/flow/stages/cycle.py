"""What the ledgers say was promoted where, and what a run of a fixed release cycle asks for because of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from airlock.errors import GateRefused, InvalidInput
from airlock.flow.stages.release import Release
from airlock.models import Outcome
from airlock.past import ledgers
from airlock.past.released import digest_seen, released
from airlock.schedule.cycle import standard_form
from airlock.schedule.promotion import (
    Candidate,
    Hint,
    NothingNew,
    NoWayBack,
    Promotion,
    WayBack,
    candidate,
    version_before,
)
from airlock.service.find import ServiceEnvironment, services_folder
from airlock.service.stand_ins import find_standing


@dataclass(frozen=True)
class Past:
    """What was released in one environment, by how it ended."""

    promoted: tuple[Promotion, ...]
    rolled_back: tuple[Promotion, ...]


def past_of(environment: ServiceEnvironment) -> Past:
    """Return what the signed ledger of *environment* says of its releases."""
    ledger = ledgers.releases(environment)
    found: dict[Outcome, list[Promotion]] = {Outcome.PROMOTED: [], Outcome.ROLLED_BACK: []}
    for identity in ledger.releases():
        outcome = ledger.latest(identity, "outcome")
        if outcome is None or outcome.data["outcome"] not in found:
            continue
        content = released(ledger, identity)
        if content is None:
            continue
        found[Outcome(outcome.data["outcome"])].append(
            Promotion(version=content.version, digest=content.digest, at=outcome.at, release=identity,
                      came_from=content.came_from, came_from_digest=digest_seen(ledger, identity, content.came_from),
                      undoes=content.undoes, train=content.train if content.undoes else None)
        )
    return Past(tuple(found[Outcome.PROMOTED]), tuple(found[Outcome.ROLLED_BACK]))


def next_version(
    environment: ServiceEnvironment, hints: Sequence[Hint] | None = None
) -> tuple[Candidate | NothingNew, Mapping[str, Any]]:
    """Return what a cycle would release here now, and everything that this was decided by, as JSON data.

    :param hints: what the events say that started the run; the ledger of the environment before has the last word
    :raises InvalidInput: the environment names no environment ``after`` which versions come
    """
    if environment.after is None:
        raise InvalidInput(
            f"{environment.source}: {environment.environment} has a cycle but no 'after', so it is not known "
            "which versions are good enough; name the environment before"
        )
    before = past_of(find_standing(services_folder(), environment.service, environment.after)).promoted
    here = past_of(environment)
    chosen = candidate(before, here.promoted, here.rolled_back, hints)
    data = {
        "before": [one.model_dump(mode="json") for one in before],
        "here": [one.model_dump(mode="json") for one in here.promoted],
        "rolled_back_here": [one.model_dump(mode="json") for one in here.rolled_back],
        "hints": None if hints is None else [one.model_dump(mode="json") for one in hints],
        **asdict(chosen),
    }
    return chosen, data


def form_of_cycle(
    release: Release, hints: Sequence[Hint] | None = None
) -> tuple[Mapping[str, Any] | None, str, str | None]:
    """Record what the cycle takes; return the form of the standard change to make now (``None``: nothing), why, and
    the digest that its content must have.

    :raises InvalidInput: the environment names no environment ``after``, or has no template
    """
    chosen, data = next_version(release.environment, hints)
    release.record("cycle", **data)
    if isinstance(chosen, NothingNew):
        return None, chosen.sentence, None
    return standard_form(release.environment, chosen), chosen.sentence, chosen.digest


def way_back(release: Release, stable: str) -> WayBack:
    """Record and return the version that a rollback leads to while *stable* has all traffic.

    :raises GateRefused: there is none on record
    """
    promotions = past_of(release.environment).promoted
    found = version_before(promotions, stable)
    release.record("version_before", stable=stable, promotions=[one.model_dump(mode="json") for one in promotions],
                   **asdict(found))
    if isinstance(found, NoWayBack):
        raise GateRefused(f"{release.id}: {found.sentence}")
    return found
