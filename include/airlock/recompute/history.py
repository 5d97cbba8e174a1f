"""The records of one release in their order, and what comparing a decision on record with the same one computed again
yields. Knows no rule of any decision."""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any, TypeVar

from pydantic import ValidationError

from airlock.change.difference import differences
from airlock.errors import AirlockError, EvidenceInvalid
from airlock.models import Absence, Frozen, Plan, Record
from airlock.signing import Keyring

T = TypeVar("T")
# Whatever a stranger put into a record becomes a sentence.
UNUSABLE = (KeyError, IndexError, TypeError, ValueError, AttributeError, ArithmeticError, RecursionError)


class Recomputed(Frozen):
    """One decision: the name of its record, what was decided, what is on record of it in short, and every field that
    differs as ``field: on record -> computed again``."""

    record: str
    decision: str
    answer: str
    differences: tuple[str, ...] = ()


@dataclass(frozen=True)
class Entry:
    """One record, its position (from 1) and its name."""

    position: int
    name: str
    record: Record

    @property
    def data(self) -> Mapping[str, Any]:
        """Return the record's data."""
        return self.record.data

    @property
    def at(self) -> datetime:
        """Return when the record was written."""
        return self.record.at

    def moment(self) -> datetime:
        """Return the moment that the decision was made for (``at`` in its data).

        :raises EvidenceInvalid: it is not on record
        """
        if "at" not in self.data:
            raise EvidenceInvalid("the record does not hold the moment of the decision (at)")
        return datetime.fromisoformat(self.data["at"])


@dataclass(frozen=True)
class History:
    """All records of one release, oldest first, the outcome that its seal states, and the keys that are trusted.

    Whoever hands in evidence may hand in much of it, so nothing is looked for from the beginning again and again.
    """

    entries: tuple[Entry, ...]
    outcome: str
    keyring: Keyring | None

    @cached_property
    def _records(self) -> tuple[Record, ...]:
        return tuple(entry.record for entry in self.entries)

    @cached_property
    def _sorted(self) -> Mapping[tuple[str, str | None], list[Entry]]:
        """The entries by kind, and by kind and subject."""
        found: dict[tuple[str, str | None], list[Entry]] = defaultdict(list)
        for entry in self.entries:
            found[entry.record.type, None].append(entry)
            found[entry.record.type, entry.record.subject].append(entry)
        return found

    @cached_property
    def _computed(self) -> dict[tuple[str, int], Any]:
        return {}

    def once(self, what: str, entry: Entry, compute: Callable[[Entry], T]) -> T:
        """Return *what* follows from *entry* alone, which is computed when it is asked for first."""
        if (what, entry.position) not in self._computed:
            self._computed[what, entry.position] = compute(entry)
        found: T = self._computed[what, entry.position]
        return found

    def of(self, kind: str, subject: str | None = None) -> Sequence[Entry]:
        """Return the entries of *kind*, oldest first."""
        return self._sorted.get((kind, subject), ())

    def earlier(self, kind: str, before: Entry, subject: str | None = None) -> Sequence[Entry]:
        """Return those before the entry *before*, oldest first."""
        found = self.of(kind, subject)
        return found[: bisect_left(found, before.position, key=_position)]

    def before(self, entry: Entry) -> tuple[Record, ...]:
        """Return every record before *entry*, oldest first."""
        return self._records[: entry.position - 1]

    def newest(self, kind: str, before: Entry, subject: str | None = "") -> Entry | None:
        """Return the newest entry of *kind* and *subject* (``None``: of any) before the entry *before*."""
        found = self.of(kind, subject)
        place = bisect_left(found, before.position, key=_position)
        return found[place - 1] if place else None

    def needed(self, kind: str, before: Entry, subject: str | None = "") -> Entry:
        """Return the same.

        :raises EvidenceInvalid: there is none
        """
        found = self.newest(kind, before, subject)
        if found is None:
            raise EvidenceInvalid(f"there is no record {kind!r} before it")
        return found

    def plan(self, before: Entry) -> Plan:
        """Return the plan that was in force when *before* was written.

        :raises EvidenceInvalid: there is none
        """
        return self.once("plan", self.needed("plan", before), _plan)


def _position(entry: Entry) -> int:
    return entry.position


def _plan(entry: Entry) -> Plan:
    return Plan.model_validate(entry.data["plan"])


Compare = Callable[[History, Entry], Iterable[str]]
"""Computes the decision of one entry again and returns every difference."""


def again(history: History, entry: Entry, decision: str, answer: str, compute: Compare) -> Recomputed:
    """Return the comparison that *compute* makes of *entry*; what cannot be computed is a difference too."""
    try:
        found = tuple(compute(history, entry))
    except ValidationError as error:
        fault = error.errors()[0]
        found = (f"cannot be computed again: {'.'.join(map(str, fault['loc']))}: {fault['msg']}",)
    except AirlockError as error:
        found = (f"cannot be computed again: {error}",)
    except UNUSABLE as error:
        found = (f"cannot be computed again, the record lacks its input: {type(error).__name__} {str(error)[:120]}",)
    return Recomputed(record=entry.name, decision=decision, answer=answer[:300], differences=found)


def absences_of(entry: Entry) -> list[Absence]:
    """Return the absences that were known when *entry* was recorded.

    :raises EvidenceInvalid: they are no list
    """
    stored = entry.data.get("absences", [])
    if not isinstance(stored, list):
        raise EvidenceInvalid("absences are no list")
    return [Absence.model_validate(one) for one in stored]


def compared(recorded: Mapping[str, Any], computed: Mapping[str, Any]) -> tuple[str, ...]:
    """Return every field that *recorded* and *computed* (JSON data) differ in; *recorded* may hold further fields."""
    return differences({name: recorded[name] for name in computed if name in recorded}, dict(computed))
