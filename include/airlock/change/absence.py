"""Who can be asked now, and when enough approvers are back. Pure; must not know calendars or how people are asked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from airlock.change.approval import eligible, is_away, seated, stands_for
from airlock.models import Absence, ApprovalRule, ApprovalTerms
from airlock.same_person import among, may_be_same

ABSENT = "approver_absent"
_NEXT = 3


@dataclass(frozen=True)
class Attendance:
    """``people``: who can be asked at the moment, sorted. ``code`` is ``present``, or ``approver_absent`` when the
    seats cannot all be filled by them; then ``back`` are the next moments, up to three, from which they can."""

    code: str
    people: tuple[str, ...]
    sentence: str
    back: tuple[datetime, ...] = ()


def attendance(
    rules: Sequence[ApprovalRule], requester: str, absences: Sequence[Absence], at: datetime
) -> Attendance:
    """Return who can be asked at the moment *at*, with delegates in the place of those who are away.

    :raises GateRefused: the seats could not all be filled even if nobody were away
    """
    members = eligible(rules, requester)
    people, missing = _voters(rules, requester, absences, at)
    away = [f"{one.person} is away until {one.end:%a %d %b %Y %H:%M} UTC"
            + (f", {one.delegate} decides meanwhile" if one.delegate else "")
            for one in sorted(absences, key=lambda one: (one.end, one.person))
            if among(one.person, members) and is_away(one, at)]
    if not missing:
        return Attendance("present", people, "; ".join(away) or "everybody is there")
    moments = sorted({one.end for one in absences if one.end > at} | {one.start for one in absences if one.start > at})
    back = tuple(moment for moment in moments if not _voters(rules, requester, absences, moment)[1])[:_NEXT]
    then = ", ".join(f"{moment:%a %d %b %Y %H:%M} UTC" for moment in back) or "no moment that is known"
    return Attendance(ABSENT, people, f"too few approvers are there: {'; '.join(away)}; {missing}; enough are there "
                      f"again from {then}", back)


def refusal(terms: ApprovalTerms, present: Attendance) -> str:
    """Return why people are not asked now; empty where they are, or the policy waits for those who are away."""
    if present.code != ABSENT or terms.absent != "refuse":
        return ""
    return f"{present.code}: {present.sentence}; ask again then, or let the absent name delegates"


def relevant(
    absences: Sequence[Absence], rules: Sequence[ApprovalRule], at: datetime
) -> tuple[Absence, ...]:
    """Return the *absences* that matter for *rules* from *at* on, sorted: to be recorded with the decision."""
    members = {person for rule in rules for person in rule.members}
    stand_ins = {one.delegate for one in absences if one.person in members and one.delegate and one.end > at}
    people = sorted(members | stand_ins)
    return tuple(sorted((one for one in absences if one.end > at and among(one.person, people)),
                        key=lambda one: (one.start, one.person)))


def plain(absences: Sequence[Absence]) -> list[dict[str, object]]:
    """Return *absences* as JSON data."""
    return [one.model_dump(mode="json") for one in absences]


def _voters(
    rules: Sequence[ApprovalRule], requester: str, absences: Sequence[Absence], at: datetime
) -> tuple[tuple[str, ...], str]:
    """Return who can vote at the moment *at*, and which seats they cannot fill."""
    gone = {one.person for one in absences if is_away(one, at)}
    members = set(eligible(rules, requester))
    barred = {requester, *(name for rule in rules for name in rule.authors)}
    delegates = {one.delegate for one in absences if one.delegate is not None and is_away(one, at)}
    voters = {}
    for person in sorted(members | delegates):
        if any(may_be_same(person, name) for name in barred | gone):
            continue
        own = (person,) if person in members else ()
        voters[person] = (*own, *stands_for(rules, person, requester, at, absences))
    people = tuple(person for person, seats in voters.items() if seats)
    missing = [f"{rule.group} would lack {rule.quorum - len(seats)} of {rule.quorum}"
               for rule, seats in zip(rules, seated(rules, voters), strict=True) if len(seats) < rule.quorum]
    return people, "; ".join(missing)
