"""The records of one release in their order, and what comparing a decision on record with the same one computed again
yields. Knows no rule of any decision."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pydantic import ValidationError

from airlock.change.difference import differences
from airlock.errors import AirlockError, EvidenceInvalid
from airlock.models import Absence, Frozen, Plan, Record
from airlock.signing import Keyring

# Whatever a stranger put into a record becomes a sentence.
_UNUSABLE = (KeyError, IndexError, TypeError, ValueError, AttributeError, ArithmeticError, RecursionError)


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
    """All records of one release, oldest first, the outcome that its seal states, and the keys that are trusted."""

    entries: tuple[Entry, ...]
    outcome: str
    keyring: Keyring | None

    def of(self, kind: str, subject: str | None = None) -> Iterator[Entry]:
        """Yield the entries of *kind*, oldest first."""
        for entry in self.entries:
            if entry.record.type == kind and subject in (None, entry.record.subject):
                yield entry

    def before(self, entry: Entry) -> tuple[Record, ...]:
        """Return every record before *entry*, oldest first."""
        return tuple(one.record for one in self.entries if one.position < entry.position)

    def newest(self, kind: str, before: Entry, subject: str | None = "") -> Entry | None:
        """Return the newest entry of *kind* and *subject* (``None``: of any) before the entry *before*."""
        found = (one for one in reversed(self.entries) if one.position < before.position)
        return next((one for one in found
                     if one.record.type == kind and subject in (None, one.record.subject)), None)

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
        return Plan.model_validate(self.needed("plan", before).data["plan"])


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
    except _UNUSABLE as error:
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
