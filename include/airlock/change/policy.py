"""Which rule of the approval policy fits a change, and what it asks for. Pure; must not know votes.

The first rule that fits decides. The policy's digest goes into the plan with what was chosen, so that another policy
makes the permit stale even where it would choose the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from airlock.change.authors import names_of
from airlock.change.basis import Ground
from airlock.change.override import override_seats
from airlock.errors import GateRefused, UnknownName
from airlock.models import ApprovalRule, ApprovalTerms, Rfc, Risk, digest_of
from airlock.same_person import among, log_ins_of
from airlock.service.approvals import Condition, PolicyRule

STANDARD = "the pre-approved template of a standard change"


def rule_for(risk: Risk, rfc: Rfc, ground: Ground) -> PolicyRule:
    """Return the first rule of the policy that fits. One that asks nobody does not fit content that failed before.

    :raises GateRefused: none does; unknown is not allowed
    """
    for rule in ground.approval_policy.rules:
        if fits(rule.when, risk, rfc, ground) and not (rule.evidence and risk.failed_before):
            return rule
    raise GateRefused(f"no rule of the approval policy {ground.approval_policy.name!r} fits a {rfc.change_type} change "
                      f"of {risk.level} risk in {ground.environment}; add a last rule without 'when'")


def fits(when: Condition, risk: Risk, rfc: Rfc, ground: Ground) -> bool:
    """Return whether a change is what *when* names; what it does not name does not matter."""
    return (not when.levels or risk.level in when.levels) and suits(when, rfc, ground)


def suits(when: Condition, rfc: Rfc, ground: Ground) -> bool:
    """Return the same, whatever the level of risk."""
    return all((
        not when.change_types or rfc.change_type in when.change_types,
        not when.categories or rfc.category in when.categories,
        not when.tiers or ground.tier in when.tiers,
        not when.environments or ground.environment in when.environments,
        when.production is None or ground.production == when.production,
    ))


def seats_of(seats: Mapping[str, int], ground: Ground) -> tuple[ApprovalRule, ...]:
    """Return *seats* with the members of their groups.

    :raises UnknownName: a group is not declared, or has no members
    """
    rules = []
    for group, quorum in sorted(seats.items()):
        members = tuple(sorted(set(ground.groups.get(group, ()))))
        if not members:
            raise UnknownName(f"approval group {group!r} is unknown or empty; declare it under groups in "
                              f"{ground.source}")
        rules.append(ApprovalRule(group=group, quorum=quorum, members=members))
    return tuple(rules)


def joined(*lists: Sequence[ApprovalRule]) -> tuple[ApprovalRule, ...]:
    """Return the rules of all *lists*, each group once, with the highest of its quorums."""
    found: dict[str, ApprovalRule] = {}
    for rule in (one for rules in lists for one in rules):
        known = found.get(rule.group)
        found[rule.group] = rule if known is None or rule.quorum > known.quorum else known
    return tuple(found[group] for group in sorted(found))


def terms_for(risk: Risk, rfc: Rfc, ground: Ground, authors: Sequence[str] | None = None) -> ApprovalTerms:
    """Return how long people are asked, and who is asked when time ran out.

    :param authors: who wrote what is released, as its metadata says
    :raises GateRefused: no rule fits, or every member of an escalation group wrote what is released
    """
    rule = rule_for(risk, rfc, ground)
    seats = rule.seats if rfc.change_type != "rollback" or ground.rollback is None else ground.rollback.seats
    nobody = rfc.change_type == "standard" or (rfc.change_type == "rollback" and rfc.train is not None)
    overriding = seats_of(override_seats(rfc, ground.calendar), ground)
    asks = bool(overriding) or (bool(seats) and not nobody)
    escalation = rule.escalation if asks else None
    following = joined(seats_of(escalation.seats, ground), overriding) if escalation else ()
    return ApprovalTerms(
        policy=ground.approval_policy.name, policy_digest=digest_of(ground.approval_policy),
        rule=STANDARD if rfc.change_type == "standard" else rule.name, evidence=not asks,
        valid_hours=rule.valid_hours, timeout_hours=rule.timeout_hours, reminder_hours=rule.reminder_hours,
        escalation=without_authors(following, authors, ground.authors, rfc.requester),
        escalation_hours=escalation.timeout_hours if escalation else ApprovalTerms().escalation_hours,
        absent=rule.absent, conflicts=rule.conflicts,
    )


def without_authors(
    rules: Sequence[ApprovalRule], authors: Sequence[str] | None, known: Mapping[str, str], requester: str = ""
) -> tuple[ApprovalRule, ...]:
    """Return *rules* without the people who may have written what is released: nobody approves their own work.

    :param known: author -> log-in name
    :param requester: whose other log-in names, as they are known, do not approve either
    :raises GateRefused: nobody of a group is left
    """
    names = tuple(sorted({*names_of(authors or (), known), *log_ins_of(requester, known)}))
    kept = []
    for rule in rules:
        members = tuple(member for member in rule.members if among(member, names) is None)
        if not members:
            raise GateRefused(f"everybody in {rule.group} wrote what is released or asked for it, and nobody approves "
                              "their own work; add others to the group")
        kept.append(rule.model_copy(update={"members": members, "authors": names}))
    return tuple(kept)
