"""What is still owed after releases: approvals of emergency changes, and reviews; and the debts of a whole team."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path

from airlock.change.debt import Debt
from airlock.change.review import BLAMED
from airlock.errors import GateRefused, InvalidInput
from airlock.evidence.ledger import Ledger
from airlock.models import ApprovalRule, Outcome
from airlock.past import ledgers
from airlock.past.ledgers import FOLLOW_UP
from airlock.service.find import ServiceEnvironment, service_files
from airlock.service.reading import document_of, load_file, read_company

PAID = "retro_approved"
"""Type of the record in the ledger of follow-ups that pays a debt."""


def debts_of(environment: ServiceEnvironment, *, signed: bool = True) -> tuple[Debt, ...]:
    """Return the unpaid retro-approvals of one service environment: of each emergency change that landed.

    :raises EvidenceInvalid: a record was altered, or is not signed by a trusted key
    """
    ledger, paid = ledgers.releases(environment, signed=signed), ledgers.stream(environment, FOLLOW_UP, signed=signed)
    found = []
    for release in ledger.releases():
        emergency = ledger.latest(release, "emergency")
        if emergency is None or not emergency.data["retro_approvals"] or paid.latest(release, PAID) is not None:
            continue
        ended = ledger.latest(release, "outcome")
        if ended is None or ended.data["outcome"] not in (Outcome.PROMOTED, Outcome.ROLLED_BACK):
            continue
        found.append(Debt(
            service=environment.service, environment=environment.environment, release=release,
            incident=str(emergency.data["incident"]), landed_at=ended.at,
            due_at=ended.at + timedelta(hours=emergency.data["hours"]),
            approvals=tuple(ApprovalRule.model_validate(one) for one in emergency.data["retro_approvals"]),
        ))
    return tuple(found)


def debts_of_team(folder: Path | str, owner: str, *, signed: bool = True) -> tuple[Debt, ...]:
    """Return the unpaid retro-approvals of every service below *folder* that *owner* owns.

    :raises GateRefused: a service file cannot be read, so nobody knows whether the team owes something there
    :raises EvidenceInvalid: a record was altered, or is not signed by a trusted key
    """
    return tuple(debt for environment in _of_team(folder, owner) for debt in debts_of(environment, signed=signed))


def _of_team(folder: Path | str, owner: str) -> Iterable[ServiceEnvironment]:
    company = read_company(folder)
    for path in service_files(folder):
        said = document_of(path, company).data
        other = said.get("owner") if isinstance(said, dict) else None
        if isinstance(other, str) and other.strip() and other.strip() != owner:
            continue  # whatever else the file of another team says does not matter, nor what is wrong with it
        try:
            environments = load_file(path, company)
        except InvalidInput as error:
            raise GateRefused(f"whether {owner} owes an approval for an emergency change is not known, because a "
                              f"service file is wrong: {error}") from error
        yield from (one for one in environments if one.owner == owner)


def blamed(follow_ups: Ledger) -> frozenset[str]:
    """Return the releases that reviews name as the cause of an emergency.

    :raises EvidenceInvalid: a record was altered, or is not signed by a trusted key
    """
    reviews = (follow_ups.latest(release, "review") for release in follow_ups.releases())
    return frozenset(str(review.data["answers"][BLAMED]) for review in reviews
                     if review is not None and review.data["answers"].get(BLAMED))
