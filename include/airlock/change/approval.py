"""Who must approve, and whether the votes suffice. Pure; must not know how people are asked.

One person fills at most one seat, even when he or she belongs to several groups. The requester and accounts whose names
look like the requester's, and people who are not members, never count.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from airlock.change.basis import Ground
from airlock.errors import GateRefused, InvalidInput, UnknownName
from airlock.models import ApprovalRule, Rfc, Risk, Vote
from airlock.plain_text import look_alike


@dataclass(frozen=True)
class Tally:
    """Where an approval stands: ``decided`` is approved, rejected or waiting; ``seats`` is group -> who fills them."""

    decided: str
    sentence: str
    seats: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def rules_for(risk: Risk, rfc: Rfc, environment: Ground) -> tuple[ApprovalRule, ...]:
    """Return the seats that must be filled; none for a standard change whose risk its template allows, nor for a
    rollback that a release train asks for: the train's file, which people agreed on, says that it goes back.

    :raises GateRefused: a standard change is riskier than its template allows, or the environment has no template
    :raises UnknownName: the approval policy names a group that the service does not declare
    """
    if rfc.change_type == "standard":
        template = environment.standard_change
        if template is None:
            raise GateRefused(f"{environment.environment} has no standard_change template; ask for a normal change")
        if risk.score > template.maximum_risk:
            raise GateRefused(f"risk {risk.score} is above {template.maximum_risk}, the most that the standard change "
                              f"of {environment.environment} allows; ask for a normal change")
        return ()
    seats = environment.approvals.seats(risk.level)
    if rfc.change_type == "rollback":
        if rfc.train is not None:
            return ()
        seats = environment.rollback.seats if environment.rollback else environment.approvals.low
    rules = []
    for group, quorum in sorted(seats.items()):
        members = tuple(sorted(set(environment.groups.get(group, ()))))
        if not members:
            raise UnknownName(f"approval group {group!r} is unknown or empty; declare it under groups in "
                              f"{environment.source}")
        rules.append(ApprovalRule(group=group, quorum=quorum, members=members))
    return tuple(rules)


def eligible(rules: Sequence[ApprovalRule], requester: str) -> tuple[str, ...]:
    """Return everyone whose vote counts, sorted.

    :raises GateRefused: there are no rules, or the seats cannot all be filled without the requester
    """
    if not rules:
        raise GateRefused("there is no approval rule, so nobody could approve; declare approvals in the service file")
    people = tuple(sorted(_others(rules, requester)))
    missing = _missing(rules, _seated(rules, people))
    if missing:
        raise GateRefused(f"the approval cannot be given: without the requester {requester!r}, who may not approve, "
                          f"and with one seat per person, {missing}; add people to the groups, or let another ask")
    return people


def check_vote(rules: Sequence[ApprovalRule], vote: Vote, requester: str) -> None:
    """Refuse a vote that must not be recorded as one.

    :raises GateRefused: the person is the requester, by name or by the look of it, or belongs to none of the groups
    :raises InvalidInput: a rejection has no reason
    """
    if vote.person == requester:
        raise GateRefused(f"{vote.person} asked for this change and so may not vote on it; ask another approver")
    if look_alike(vote.person, requester):
        raise GateRefused(f"{vote.person} looks like {requester}, who asked for this change and may not vote on it; "
                          "ask another approver")
    if not any(vote.person in rule.members for rule in rules):
        raise GateRefused(f"{vote.person} is in none of the groups {', '.join(rule.group for rule in rules)}; "
                          "ask one of their members")
    if vote.choice == "reject" and not vote.reason.strip():
        raise InvalidInput(f"{vote.person} rejected without a reason; say why, so that the requester can mend it")


def tally(rules: Sequence[ApprovalRule], votes: Sequence[Vote], requester: str) -> Tally:
    """Count *votes*. One rejection with a reason ends it; one without keeps it waiting until the reason is given.

    :raises GateRefused: there are no rules
    """
    if not rules:
        raise GateRefused("there is no approval rule, so no vote can carry the plan; declare approvals")
    members = _others(rules, requester)
    counted = [vote for vote in votes if vote.person in members]
    for vote in counted:
        if vote.choice == "reject" and vote.reason.strip():
            return Tally("rejected", f"{vote.person} rejected it: {vote.reason.strip()}")
    silent = sorted({vote.person for vote in counted if vote.choice == "reject"})
    agreed = tuple(dict.fromkeys(vote.person for vote in counted
                                 if vote.choice == "approve" and vote.person not in silent))
    seated = _seated(rules, agreed)
    seats = {rule.group: tuple(sorted(seated[index])) for index, rule in enumerate(rules)}
    missing = _missing(rules, seated)
    if silent:
        return Tally("waiting", f"{', '.join(silent)} rejected without a reason, which must be given first", seats)
    if missing:
        return Tally("waiting", missing, seats)
    filled = "; ".join(f"{group}: {', '.join(people)}" for group, people in seats.items())
    return Tally("approved", f"every seat is filled: {filled}", seats)


def _others(rules: Sequence[ApprovalRule], requester: str) -> set[str]:
    """Return the members who are not the requester, nor have a name that could be taken for the requester's."""
    return {person for rule in rules for person in rule.members if not look_alike(person, requester)}


def _missing(rules: Sequence[ApprovalRule], seated: Sequence[Sequence[str]]) -> str:
    return "; ".join(f"{rule.group} lacks {rule.quorum - len(people)} of {rule.quorum}"
                     for rule, people in zip(rules, seated, strict=True) if len(people) < rule.quorum)


def _seated(rules: Sequence[ApprovalRule], people: Sequence[str]) -> list[list[str]]:
    """Return, per rule, who sits there: a largest matching of persons to seats, found by augmenting paths."""
    seated: list[list[str]] = [[] for _ in rules]

    def place(person: str, tried: set[int]) -> bool:
        for index, rule in enumerate(rules):
            if person not in rule.members or index in tried:
                continue
            tried.add(index)
            if len(seated[index]) < rule.quorum:
                seated[index].append(person)
                return True
            for other in tuple(seated[index]):
                if place(other, tried):
                    seated[index].remove(other)
                    seated[index].append(person)
                    return True
        return False

    for person in people:
        place(person, set())
    return seated
