"""The permit: signed leave to carry out exactly one plan, within a time. Every task that changes something checks it.

Knows plans, votes and signatures. Must not know where permits are kept, nor whether the votes are enough: the approval
policy decides that before a permit is issued.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

from pydantic import ValidationError

from airlock.change.difference import difference
from airlock.errors import Damaged, EvidenceInvalid, InvalidInput, PermitInvalid
from airlock.models import Permit, Plan, Vote, canonical_json
from airlock.signing import Keyring, Signer

PAYLOAD_TYPE = "application/vnd.airlock.permit+json"
_CLOCK_LEEWAY = timedelta(seconds=30)
_ASK_AGAIN = "to ask again, clear the task change.approve with everything downstream of it"


def issue(plan: Plan, votes: Iterable[Vote], now: datetime, valid_hours: float, signer: Signer) -> dict[str, Any]:
    """Return the signed permit of *plan* (a DSSE envelope, plain JSON data), valid for *valid_hours* from the newest
    vote (from *now* where nobody had to vote), or from the time before which the RFC must not start. Signing again does
    not make it last longer.

    :raises InvalidInput: *valid_hours* is not above 0
    :raises PermitInvalid: a vote rejects the plan, nobody voted although the plan names approvers, or the votes are too
        old
    """
    if not 0 < valid_hours <= 24 * 366:
        raise InvalidInput(f"a permit must be valid for more than 0 and at most 8784 hours, not {valid_hours}")
    all_votes = tuple(votes)
    rejected = sorted(vote.person for vote in all_votes if vote.choice == "reject")
    if rejected:
        raise PermitInvalid(f"{plan.release}: no permit, because {', '.join(rejected)} rejected the plan")
    if plan.approvals and not all_votes:
        raise PermitInvalid(f"{plan.release}: no permit, because nobody approved the plan; {_ASK_AGAIN}")
    expires = expiry(plan, all_votes, now, valid_hours)
    if now >= expires:
        raise PermitInvalid(f"{plan.release}: no permit, because the plan was approved for {valid_hours:g} h, until "
                            f"{_at(expires)}, now it is {_at(now)}; {_ASK_AGAIN}")
    permit = Permit(release=plan.release, plan_digest=plan.digest, votes=all_votes,
                    not_before=max(now, plan.rfc.start_after or now), expires_at=expires)
    return signer.sign(PAYLOAD_TYPE, canonical_json(permit))


def expiry(plan: Plan, votes: Iterable[Vote], now: datetime, valid_hours: float) -> datetime:
    """Return when a permit of *plan* that is signed *now* ends: see ``issue``."""
    granted = max((vote.at for vote in votes), default=now)
    return max(granted, plan.rfc.start_after or granted) + timedelta(hours=valid_hours)


def waits_in_vain(until: datetime | None, why: str, ends: datetime) -> str:
    """Return why it makes no sense to wait *until* a window opens; empty if it opens before the permit *ends*.

    :param until: ``None`` where no window is known
    """
    if until is not None and until < ends:
        return ""
    return (f"no window opens before the permit ends on {ends:%d %b %Y %H:%M} UTC: {why}; ask again nearer to the "
            "window")


def check(envelope: Mapping[str, Any] | None, plan: Plan, now: datetime, keyring: Keyring,
          approved_plan: Plan | None = None) -> Permit:
    """Return the permit if it allows *plan* at the time *now*; called before every act that changes something.

    :param approved_plan: the plan as it was when it was approved, if it is known: a stale permit's message then lists
        what has changed since
    :raises PermitInvalid: there is no permit; or it is signed by an unknown key, altered, of another release, stale,
        expired, or not valid yet
    """
    if envelope is None:
        raise PermitInvalid(f"{plan.release}: there is no permit, so nothing may be changed; {_ASK_AGAIN}")
    try:
        permit = opened(envelope, keyring)
    except Damaged as error:
        raise PermitInvalid(f"{plan.release}: the permit cannot be trusted: {error}; {_ASK_AGAIN}") from error
    if permit.release != plan.release:
        raise PermitInvalid(f"{plan.release}: the permit is for the release {permit.release}; {_ASK_AGAIN}")
    if permit.plan_digest != plan.digest:
        raise PermitInvalid(_stale(permit, plan, approved_plan))
    if now >= permit.expires_at:
        raise PermitInvalid(
            f"{plan.release}: the permit expired at {_at(permit.expires_at)}, now it is {_at(now)}; {_ASK_AGAIN}"
        )
    # Workers' clocks differ a little; a permit that was signed a moment ago elsewhere must not fail here.
    if now < permit.not_before - _CLOCK_LEEWAY:
        raise PermitInvalid(
            f"{plan.release}: the permit is not valid before {_at(permit.not_before)}, now it is {_at(now)}; "
            "clear this task after that time"
        )
    return permit


def opened(envelope: Mapping[str, Any], keyring: Keyring) -> Permit:
    """Return the permit in *envelope*, whether or not it still holds.

    :raises EvidenceInvalid: it is signed by an unknown key, altered, or no permit
    """
    try:
        return Permit.model_validate_json(keyring.verify(envelope, PAYLOAD_TYPE))
    except ValidationError as error:
        raise EvidenceInvalid("its content is not a permit") from error


def _stale(permit: Permit, plan: Plan, approved_plan: Plan | None) -> str:
    head = (f"{plan.release}: the permit is stale: approved was the plan {permit.plan_digest}, "
            f"the present plan is {plan.digest}")
    if approved_plan is None or approved_plan.digest != permit.plan_digest:
        return f"{head}; the approved plan is not at hand, so the differences cannot be listed; {_ASK_AGAIN}"
    return f"{head}; changed since the approval: {'; '.join(difference(approved_plan, plan))}; {_ASK_AGAIN}"


def _at(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds")
