"""Which releases touch the same real resource, and when the next ones could begin. Pure; must not know ledgers.

Two releases conflict when something that one of them touches is, or lies in, something that the other touches: what a
resource is, is told by its address, through whichever service it was declared.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from pydantic import AwareDatetime

from airlock.models import ApprovalTerms, Frozen

CONFLICT, CLEAR = "conflict", "clear"
WAITS, UNDER_WAY = "waits", "under way"
_NAMED = 3
Span = tuple[datetime, datetime]


class OpenChange(Frozen):
    """A release that has not ended: it *waits* for approval or a window, or is *under way*. ``until`` is when it is
    expected to end, as far as that is known."""

    service: str
    environment: str
    release: str
    version: str = ""
    state: str = WAITS
    since: AwareDatetime
    until: AwareDatetime | None = None
    touches: tuple[str, ...] = ()


class Conflict(Frozen):
    """Another release, and what both touch."""

    release: str
    service: str
    environment: str
    version: str
    state: str
    since: AwareDatetime
    until: AwareDatetime | None
    shared: tuple[str, ...]

    @property
    def sentence(self) -> str:
        """Return who holds what since when, for people."""
        more = f" and {len(self.shared) - _NAMED} more" if len(self.shared) > _NAMED else ""
        ends = f", expected to end at {_at(self.until)}" if self.until else ""
        return (f"{self.release} ({self.service} {self.version} to {self.environment}) {self.state} since "
                f"{_at(self.since)}{ends} and touches {', '.join(self.shared[:_NAMED])}{more}")


def conflicts(touches: Iterable[str], release: str, others: Iterable[OpenChange]) -> tuple[Conflict, ...]:
    """Return every other release that touches what *release* touches, those under way first, then the oldest."""
    own = frozenset(touches)
    if not own:
        return ()
    outside = frozenset(outer for one in own for outer in around(one))
    inside = tuple(f"{one}/" for one in own)
    found = []
    for other in others:
        within = [theirs for theirs in other.touches if theirs.startswith(inside)]
        # Most share nothing: two looks at sets are quicker than a look at each thing.
        if not within and own.isdisjoint(other.touches) and outside.isdisjoint(other.touches):
            continue
        shared = tuple(sorted({*within, *own.intersection(other.touches), *outside.intersection(other.touches)}))
        if other.release != release:
            found.append(Conflict(release=other.release, service=other.service, environment=other.environment,
                                  version=other.version, state=other.state, since=other.since, until=other.until,
                                  shared=shared))
    return tuple(sorted(found, key=lambda one: (one.state != UNDER_WAY, one.since, one.release)))


def refusal(terms: ApprovalTerms, found: Sequence[Conflict]) -> str:
    """Return why a release may not begin beside what was *found*; empty where nobody is under way, or the policy waits
    for them."""
    holders = [one for one in found if one.state == UNDER_WAY]
    if not holders or terms.conflicts != "refuse":
        return ""
    return f"{CONFLICT}: {'; '.join(one.sentence for one in holders)}; ask again when it has ended"


@dataclass(frozen=True)
class Slots:
    """``free``: times in which a release may begin; ``refused``: earlier ones, each with why not."""

    free: tuple[Span, ...]
    refused: tuple[tuple[Span, str], ...]

    def lines(self) -> tuple[str, ...]:
        """Return both for people, in the order of time."""
        told = [(span, f"free: {_span(span)}") for span in self.free]
        told += [(span, f"not {_span(span)}: {why}") for span, why in self.refused]
        return tuple(line for _, line in sorted(told))


def free_slots(
    spans: Iterable[Span], closed: Sequence[tuple[Span, str]], found: Sequence[Conflict], now: datetime, count: int = 3
) -> Slots:
    """Return the next times in which a release may begin, and why earlier ones are refused.

    :param spans: when the calendar is open, in order
    :param closed: when it is not, and why
    :param found: the conflicts; those under way keep a slot closed until they are expected to end
    """
    holders = [one for one in found if one.state == UNDER_WAY]
    free: list[Span] = []
    refused: list[tuple[Span, str]] = []
    for start, end in spans:
        if len(free) >= count:
            break
        begin = max(start, now)
        for moment, why in _hindrances(holders, now):
            if begin < min(moment, end):
                refused.append(((begin, min(moment, end)), why))
                begin = min(moment, end)
        if begin < end:
            free.append((begin, end))
    last = free[-1][0] if len(free) >= count else None
    refused += [one for one in closed if last is None or one[0][0] < last]
    return Slots(tuple(free), tuple(sorted(refused)))


def _hindrances(holders: Sequence[Conflict], now: datetime) -> list[tuple[datetime, str]]:
    """Return until when who keeps a slot closed, the first to go first; nobody knows when the overdue will end."""
    return sorted((one.until, one.sentence) for one in holders if one.until is not None and one.until > now)


def around(identity: str) -> Iterable[str]:
    """Yield what *identity* lies in: ``a://b/c/d`` lies in ``a://b/c``, but a server alone is no resource."""
    root = identity.find("/", identity.find("://") + 3)
    end = identity.rfind("/")
    while 0 < root < end:
        yield identity[:end]
        end = identity.rfind("/", 0, end)


def _span(span: Span) -> str:
    return f"{span[0]:%a %d %b %Y %H:%M} to {span[1]:%a %d %b %Y %H:%M} UTC"


def _at(moment: datetime) -> str:
    return f"{moment:%a %d %b %Y %H:%M} UTC"
