"""Who must approve, and whether the votes suffice. Pure; must not know how people are asked.

One person fills at most one seat, even when he or she belongs to several groups, stands in for others or has several
accounts, and one member has at most one seat, whoever sits there. The requester, authors of what is released, accounts
that may be theirs, people who are away, and people who are neither members nor delegates never count.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from airlock.change.basis import Ground
from airlock.change.matching import Seat, largest_matching
from airlock.change.override import override_seats
from airlock.change.policy import joined, rule_for, seats_of
from airlock.change.templates import template_of
from airlock.errors import GateRefused, InvalidInput
from airlock.models import Absence, ApprovalRule, Rfc, Risk, Vote
from airlock.same_person import among, may_be_same, people_of
from airlock.service.approvals import PolicyRule


@dataclass(frozen=True)
class Tally:
    """Where an approval stands: ``decided`` is approved, rejected or waiting; ``seats`` is group -> who fills them."""

    decided: str
    sentence: str
    seats: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def rules_for(risk: Risk, rfc: Rfc, environment: Ground) -> tuple[ApprovalRule, ...]:
    """Return the seats that must be filled; none for a standard change whose risk its template allows, for a change
    that passes on evidence by the policy, and for a rollback that a release train asks for: the train's file, which
    people agreed on, says that it goes back.

    :raises GateRefused: a standard change is riskier than its template allows, the environment has no template, or no
        rule of the policy fits
    :raises UnknownName: the approval policy names a group that the service does not declare
    """
    overriding = seats_of(override_seats(rfc, environment.calendar), environment)
    return joined(_own_rules(risk, rfc, environment), overriding)


def _own_rules(risk: Risk, rfc: Rfc, environment: Ground) -> tuple[ApprovalRule, ...]:
    if rfc.change_type == "standard":
        name, template = template_of(environment, rfc.template)
        if risk.score > template.maximum_risk:
            raise GateRefused(f"risk {risk.score} is above {template.maximum_risk}, the most that the standard change "
                              f"{name!r} of {environment.environment} allows; ask for a normal change")
        return ()
    if rfc.change_type == "rollback":
        if rfc.train is not None:
            return ()
        if environment.rollback is not None:
            return seats_of(environment.rollback.seats, environment)
    return _seats(rule_for(risk, rfc, environment), environment)


def retro_rules_for(risk: Risk, rfc: Rfc, environment: Ground) -> tuple[ApprovalRule, ...]:
    """Return the seats that must approve an emergency change once more after it has landed: those of the same change
    made as a normal one, if another rule of the policy decided in its place; else none.

    :raises GateRefused: no rule of the policy fits
    :raises UnknownName: the approval policy names a group that the service does not declare
    """
    if rfc.change_type != "emergency":
        return ()
    usual = rule_for(risk, rfc.model_copy(update={"change_type": "normal"}), environment)
    return () if usual == rule_for(risk, rfc, environment) else _seats(usual, environment)


def _seats(rule: PolicyRule, environment: Ground) -> tuple[ApprovalRule, ...]:
    if rule.evidence:
        return ()
    if not rule.seats:
        raise GateRefused(f"rule {rule.name!r} of the approval policy has no seats; add them")
    return seats_of(rule.seats, environment)


def eligible(rules: Sequence[ApprovalRule], requester: str) -> tuple[str, ...]:
    """Return every member whose vote counts, sorted, whether or not they are away now.

    :raises GateRefused: there are no rules, or the seats cannot all be filled without the requester
    """
    if not rules:
        raise GateRefused("there is no approval rule, so nobody could approve; declare approvals in the service file")
    people = tuple(sorted(_others(rules, requester)))
    missing = _missing(rules, seated(rules, {person: (person,) for person in people}))
    if missing:
        written = f" and the authors {', '.join(rules[0].authors)}" if rules[0].authors else ""
        raise GateRefused(f"the approval cannot be given: without the requester {requester!r}{written}, who may not "
                          f"approve, and with one seat per person, {missing}; add people to the groups, or let another "
                          "ask")
    return people


def stands_for(
    rules: Sequence[ApprovalRule], person: str, requester: str, at: datetime, absences: Sequence[Absence]
) -> tuple[str, ...]:
    """Return the members who are away at the moment *at* and in whose seats *person* may sit, sorted."""
    members = _others(rules, requester)
    return tuple(sorted({absence.person for absence in absences
                         if absence.delegate == person and not may_be_same(person, absence.person)
                         and absence.person in members and is_away(absence, at)}))


def is_away(absence: Absence, at: datetime) -> bool:
    """Return whether the person of *absence* is away at the moment *at*."""
    return absence.start <= at < absence.end


def check_vote(
    rules: Sequence[ApprovalRule], vote: Vote, requester: str, absences: Sequence[Absence] = ()
) -> None:
    """Refuse a vote that must not be recorded as one.

    :raises GateRefused: the person may be who asked for the change or wrote it, is away, belongs to none of the groups,
        or does not stand in for whom the vote says
    :raises InvalidInput: a rejection has no reason
    """
    if vote.person == requester:
        raise GateRefused(f"{vote.person} asked for this change and so may not vote on it; ask another approver")
    if may_be_same(vote.person, requester):
        raise GateRefused(f"{vote.person} may be {requester}, who asked for this change and may not vote on it; "
                          "ask another approver")
    author = _author(rules, vote.person)
    if author is not None:
        who = vote.person if author == vote.person else f"{vote.person} may be {author}, who"
        raise GateRefused(f"{who} wrote or asked for what is released and so may not vote on it; ask another approver")
    away = next((one for one in absences if may_be_same(one.person, vote.person) and is_away(one, vote.at)), None)
    if away is not None:
        instead = f"; {away.delegate} decides meanwhile" if away.delegate else ""
        raise GateRefused(f"{vote.person} is declared absent until {_at(away.end)}{instead}; mend the people file if "
                          "that is wrong, or ask another approver")
    allowed = stands_for(rules, vote.person, requester, vote.at, absences)
    if vote.stands_for != allowed:
        raise GateRefused(f"{vote.person} would stand in for {', '.join(vote.stands_for) or 'nobody'}, but by the "
                          f"absences stands in for {', '.join(allowed) or 'nobody'}; ask again")
    if not allowed and not any(vote.person in rule.members for rule in rules):
        raise GateRefused(f"{vote.person} is in none of the groups {', '.join(rule.group for rule in rules)}; "
                          "ask one of their members")
    if vote.choice == "reject" and not vote.reason.strip():
        raise InvalidInput(f"{vote.person} rejected without a reason; say why, so that the requester can mend it")


def tally(rules: Sequence[ApprovalRule], votes: Sequence[Vote], requester: str) -> Tally:
    """Count *votes*, in whatever order. One rejection with a reason ends it; one without keeps it waiting until the
    reason is given.

    :raises GateRefused: there are no rules
    """
    if not rules:
        raise GateRefused("there is no approval rule, so no vote can carry the plan; declare approvals")
    members = _others(rules, requester)
    counted = sorted((vote for vote in votes if _counts(rules, vote, requester, members)),
                     key=lambda vote: (vote.at, vote.person, vote.reason))
    if no := rejection(counted):
        return Tally("rejected", no)
    silent = sorted({vote.person for vote in counted if vote.choice == "reject"})
    agreed: dict[str, tuple[str, ...]] = {}
    for vote in counted:
        if vote.choice == "approve" and among(vote.person, silent) is None:
            own = (vote.person,) if vote.person in members else ()
            agreed[vote.person] = tuple(sorted({*agreed.get(vote.person, ()), *own,
                                                *members.intersection(vote.stands_for)}))
    filled = seated(rules, agreed)
    seats = {rule.group: tuple(seat.person for seat in filled[index]) for index, rule in enumerate(rules)}
    missing = _missing(rules, filled)
    if silent:
        return Tally("waiting", f"{', '.join(silent)} rejected without a reason, which must be given first", seats)
    if missing:
        return Tally("waiting", missing, seats)
    said = "; ".join(f"{rule.group}: {', '.join(map(_shown, filled[index]))}" for index, rule in enumerate(rules))
    return Tally("approved", f"every seat is filled: {said}", seats)


def rejection(votes: Iterable[Vote]) -> str:
    """Return who rejected it first, and why, for people; empty if nobody did who gave a reason."""
    return next((f"{vote.person} rejected it: {vote.reason.strip()}" for vote in votes
                 if vote.choice == "reject" and vote.reason.strip()), "")


def seated(rules: Sequence[ApprovalRule], voters: Mapping[str, tuple[str, ...]]) -> list[tuple[Seat, ...]]:
    """Return, per rule, who sits there.

    :param voters: who votes -> the members in whose seats they may sit
    """
    groups = [(rule.quorum, frozenset(rule.members)) for rule in rules]
    names = [*voters, *(member for rule in rules for member in rule.members)]
    return largest_matching(groups, voters, people_of(names))


def _counts(rules: Sequence[ApprovalRule], vote: Vote, requester: str, members: set[str]) -> bool:
    barred = may_be_same(vote.person, requester) or _author(rules, vote.person) is not None
    return not barred and (vote.person in members or bool(members.intersection(vote.stands_for)))


def _author(rules: Sequence[ApprovalRule], person: str) -> str | None:
    authors = {name for rule in rules for name in rule.authors}
    return person if person in authors else among(person, sorted(authors))


def _others(rules: Sequence[ApprovalRule], requester: str) -> set[str]:
    """Return the members who cannot be the requester."""
    return {person for rule in rules for person in rule.members if not may_be_same(person, requester)}


def _missing(rules: Sequence[ApprovalRule], filled: Sequence[Sequence[Seat]]) -> str:
    return "; ".join(f"{rule.group} lacks {rule.quorum - len(seats)} of {rule.quorum}"
                     for rule, seats in zip(rules, filled, strict=True) if len(seats) < rule.quorum)


def _shown(seat: Seat) -> str:
    return seat.person if seat.person == seat.member else f"{seat.person} for {seat.member}"


def _at(moment: datetime) -> str:
    return f"{moment:%a %d %b %Y %H:%M} UTC"
