"""When the events of an iCalendar file occur (RFC 5545, 3.8.5): rules, added and left out dates, changed occurrences.

Rules are followed by ``dateutil``, from shortly before the time that is asked for. An occurrence is known by its moment
(a day by its date, a time without a zone by the clock), and never by what another clock shows at it: then a date in
another zone would leave out, or change, an occurrence that nobody meant.

Knows events that ``rules`` found sure. Must not know what they mean.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import cached_property
from itertools import chain, takewhile
from typing import Any, NamedTuple

MOST_COUNTED = 100_000
"""So many occurrences the rules with COUNT of one file may have together: they are counted from the first one on."""
_MARGIN = timedelta(days=3)
_BLOCK_DAYS = 730
_BY_DAY = frozenset({"BYDAY", "BYMONTHDAY", "BYYEARDAY", "BYWEEKNO"})


class Occurrence(NamedTuple):
    """One time at which *event* occurs: a day, a time of a zone, or one without. ``length``: where it has its own."""

    event: Any
    start: date
    length: timedelta | None = None


def key_of(value: date) -> date:
    """Return what an occurrence at *value* is known by."""
    return value.astimezone(UTC) if isinstance(value, datetime) and value.tzinfo is not None else value


def sort_of(value: Any) -> str:
    """Return ``day``, ``floating``, ``UTC`` or ``zone``."""
    if not isinstance(value, datetime):
        return "day"
    if value.tzinfo is None:
        return "floating"
    return "UTC" if str(value.tzinfo) == "UTC" else "zone"


def rules_of(event: Any) -> list[Any]:
    """Return the rules of *event*."""
    rules = event.get("RRULE") or []
    return rules if isinstance(rules, list) else [rules]


def parts_of(rule: Any) -> dict[str, list[Any]]:
    """Return the parts of *rule*, each as a list."""
    return {str(name).upper(): value if isinstance(value, list) else [value] for name, value in rule.items()}


def dates_of(event: Any, name: str) -> Iterator[Any]:
    """Yield the values of RDATE or EXDATE."""
    given = event.get(name, [])
    for one in given if isinstance(given, list) else [given]:
        yield from (value.dt for value in one.dts)


def length_of(event: Any) -> timedelta:
    """Return how long *event* is as its two times are written: days by the calendar, whatever the clock does."""
    start, end, length = event.decoded("DTSTART"), event.decoded("DTEND", None), event.decoded("DURATION", None)
    found: timedelta = end - start if end is not None else length if length is not None else timedelta(days=1)
    return found


@dataclass(frozen=True)
class Series:
    """An event that may recur. ``changed``: its occurrences that are others, by RECURRENCE-ID; ``later``: changes from
    one occurrence on (RANGE=THISANDFUTURE), in order."""

    event: Any
    changed: frozenset[date]
    later: tuple[Any, ...]

    def between(self, since: datetime, until: datetime) -> Iterator[Occurrence]:
        """Yield the occurrences that may overlap the time from *since* to *until*, in no order."""
        first, last = self._clock(since - self._reach - _MARGIN), self._clock(until + self._reach + _MARGIN)
        ruled = ((self._value(wall), None) for rule in self._rules for wall in rule.between(first, last))
        added = ((value, length) for wall, value, length in self._given if first <= wall <= last)
        seen = set[date]()
        for value, length in chain(added, ruled):
            key = key_of(value)
            if key not in seen and key not in self._left_out and key not in self.changed:
                seen.add(key)
                yield self._as_changed(Occurrence(self.event, value, length))

    def occurs(self, value: date) -> bool:
        """Return whether there is an occurrence at *value*, changed or not, that is not left out."""
        at = self._wall(value)
        ruled = chain.from_iterable(rule.between(at - _MARGIN, at + _MARGIN) for rule in self._rules)
        values = chain((one for _, one, _ in self._given), map(self._value, ruled))
        return key_of(value) in {key_of(one) for one in values} - self._left_out

    @cached_property
    def counted(self) -> int:
        """Return how many occurrences have to be counted from the first one on."""
        return sum(int(parts_of(rule).get("COUNT", [0])[0]) for rule in rules_of(self.event))

    @cached_property
    def _start(self) -> date:
        value: date = self.event.decoded("DTSTART")
        return value

    @cached_property
    def _given(self) -> tuple[tuple[datetime, date, timedelta | None], ...]:
        """The dates that no rule makes, by the clock, as they are written, and with their own length: added ones, whose
        length counts, before the first one."""
        added = (one if isinstance(one, tuple) else (one, None) for one in dates_of(self.event, "RDATE"))
        return tuple((self._wall(start), start, end if end is None or isinstance(end, timedelta) else end - start)
                     for start, end in (*added, (self._start, None)))

    @cached_property
    def _left_out(self) -> frozenset[date]:
        return frozenset(key_of(one) for one in dates_of(self.event, "EXDATE"))

    @cached_property
    def _reach(self) -> timedelta:
        """How far from its start an occurrence may be of interest: its length, and how far it is moved."""
        lengths = [abs(length_of(one)) for one in (self.event, *self.later)]
        own = [length for *_, length in self._given if length is not None]
        return max([*lengths, *own]) + max((abs(_moved(one)) for one in self.later), default=timedelta())

    @cached_property
    def _rules(self) -> tuple[_Rule, ...]:
        return tuple(_Rule(rule, self._wall(self._start), self._value) for rule in rules_of(self.event))

    def _as_changed(self, occurrence: Occurrence) -> Occurrence:
        for change in reversed(self.later):
            at = self._wall(change.decoded("RECURRENCE-ID"))
            if at <= self._wall(occurrence.start):
                return Occurrence(change, occurrence.start + _moved(change), occurrence.length)
        return occurrence

    def _clock(self, moment: datetime) -> datetime:
        """Return what the clock of the series shows at *moment*; of one without a zone, that of UTC is near enough."""
        zone = self._start.tzinfo if isinstance(self._start, datetime) else None
        return moment.astimezone(zone or UTC).replace(tzinfo=None)

    def _wall(self, value: date) -> datetime:
        if not isinstance(value, datetime):
            return datetime.combine(value, time())
        zone = self._start.tzinfo if isinstance(self._start, datetime) else None
        return (value.astimezone(zone) if value.tzinfo and zone else value).replace(tzinfo=None)

    def _value(self, wall: datetime) -> date:
        if not isinstance(self._start, datetime):
            return wall.date()
        return wall.replace(tzinfo=self._start.tzinfo)


class _Rule:
    """One RRULE of a series, by the clock of its zone."""

    def __init__(self, rule: Any, start: datetime, value: Callable[[datetime], date]) -> None:
        self._parts, self._start, self._value = parts_of(rule), start, value
        self._until = next(iter(self._parts.get("UNTIL", [])), None)
        self._rule = type(rule)({name: value for name, value in rule.items() if str(name).upper() != "UNTIL"})
        self._blocks: dict[int, tuple[datetime, ...]] = {}
        self._every = int(self._parts.get("INTERVAL", [1])[0])

    def between(self, first: datetime, last: datetime) -> Iterator[datetime]:
        """Yield the times of the rule from *first* to *last*."""
        blocks = range(first.toordinal() // _BLOCK_DAYS, last.toordinal() // _BLOCK_DAYS + 1)
        if "COUNT" in self._parts:
            walls: Iterable[datetime] = self._counted
        elif str(self._parts["FREQ"][0]).upper() in ("MONTHLY", "YEARLY"):
            walls = chain.from_iterable(map(self._block, blocks))
        else:
            walls = self._followed(self._nearby(first))
        for wall in walls:
            if wall > last or (self._until is not None and key_of(self._value(wall)) > key_of(self._until)):
                return
            if wall >= first:
                yield wall

    def _block(self, number: int) -> tuple[datetime, ...]:
        """Return the times in a block of days, and keep them: ``dateutil`` looks at whole years for each."""
        if number not in self._blocks:
            first = datetime.fromordinal(max(1, number * _BLOCK_DAYS))
            until = first + timedelta(days=_BLOCK_DAYS)
            near = takewhile(lambda wall: wall < until, self._followed(self._nearby(first)))
            self._blocks[number] = tuple(wall for wall in near if wall >= first)
        return self._blocks[number]

    @cached_property
    def _counted(self) -> tuple[datetime, ...]:
        return tuple(self._followed(self._start))

    def _followed(self, start: datetime) -> Iterator[datetime]:
        from dateutil.rrule import rrulestr

        rule = self._rule
        if start != self._start and not _BY_DAY & set(self._parts):
            # What a rule leaves open is as in its first day, which is none of the days from here on.
            frequency = str(self._parts["FREQ"][0]).upper()
            given = {"BYMONTHDAY": self._start.day} if frequency in ("MONTHLY", "YEARLY") else {}
            if frequency == "YEARLY" and "BYMONTH" not in self._parts:
                given["BYMONTH"] = self._start.month
            rule = type(rule)({**rule, **given})
        return iter(rrulestr(rule.to_ical().decode(), dtstart=start))

    def _nearby(self, first: datetime) -> datetime:
        """Return a start of the same rule shortly before *first*, so that years are not counted through."""
        start, frequency = self._start, str(self._parts["FREQ"][0]).upper()
        if frequency in ("DAILY", "WEEKLY"):
            days = self._every * (7 if frequency == "WEEKLY" else 1)
            whole = ((first - start).days // days - 1) * days
            return start + timedelta(days=whole) if whole > 0 else start
        months = self._every * (12 if frequency == "YEARLY" else 1)
        away = (first.year - start.year) * 12 + first.month - start.month
        whole = (away // months - 1) * months
        if whole <= 0:
            return start
        year, month = divmod(start.year * 12 + start.month - 1 + whole, 12)
        return start.replace(year=year, month=1 if frequency == "YEARLY" else month + 1, day=1)


def series_of(events: Sequence[Any]) -> tuple[tuple[Series, ...], tuple[Any, ...]]:
    """Return what recurs among *events*, and the events that do not: changes of one occurrence among them.

    A change without categories of its own is of those of the event that it changes.
    """
    changes: dict[str, list[Any]] = defaultdict(list)
    sound = [event for event in events if not event.errors]
    for event in sound:
        if "RECURRENCE-ID" in event:
            changes[str(event.get("UID"))].append(event)
    masters = [event for event in sound if "RECURRENCE-ID" not in event]
    of_uid = {str(event["UID"]): event for event in masters if "UID" in event}
    series, single = [], [event for event in events if event.errors]
    for event in masters:
        own = changes[str(event["UID"])] if "UID" in event else []
        if own or any(name in event for name in ("RRULE", "RDATE", "EXDATE")):
            series.append(_series(event, own))
        else:
            single.append(event)
    for uid, own in changes.items():
        single += [_with_categories(one, of_uid.get(uid)) for one in own if not _is_range(one) or uid not in of_uid]
    return tuple(series), tuple(single)


def _series(event: Any, changes: Iterable[Any]) -> Series:
    changes = list(changes)
    once = frozenset(key_of(one.decoded("RECURRENCE-ID")) for one in changes if not _is_range(one))
    later = [_with_categories(one, event) for one in changes if _is_range(one)]
    later.sort(key=lambda one: str(key_of(one.decoded("RECURRENCE-ID"))))
    return Series(event, once, tuple(later))


def _with_categories(change: Any, event: Any) -> Any:
    if event is None or "CATEGORIES" in change or "CATEGORIES" not in event:
        return change
    found = change.copy()
    found["CATEGORIES"] = event["CATEGORIES"]
    return found


def _is_range(change: Any) -> bool:
    return "RANGE" in change["RECURRENCE-ID"].params


def _moved(change: Any) -> timedelta:
    start, at = change.decoded("DTSTART"), change.decoded("RECURRENCE-ID")
    if isinstance(at, datetime) and at.tzinfo is not None:
        at = at.astimezone(start.tzinfo)
    found: timedelta = start - at
    return found
