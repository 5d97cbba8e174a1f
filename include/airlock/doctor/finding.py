"""What the doctor found: one frozen finding for each answer, and the exit code that all of them together mean.

Knows no probe, no service and no Airflow.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from pydantic import Field

from airlock.models.frozen import Frozen
from airlock.plain_text import harmless

_LONGEST_WORDS = 600
WARNED, FAULTY = 3, 4
"""Exit codes; 0: nothing worse than a note. 1 and 2 stay what they are elsewhere: doctor itself failed, wrong input."""


class Gravity(StrEnum):
    """How bad a finding is, from nothing to what makes a release fail."""

    FINE = "fine"
    NOT_ASKED = "not asked"
    NOTE = "note"
    WARNING = "warning"
    FAULT = "fault"


_GRAVEST_LAST = list(Gravity)


class Finding(Frozen):
    """One answer. ``mend`` says how to put it right; what is fine or a note needs none.

    area: which part of the report it belongs to (``resources``, ``keys``...); where: of what, as people call it;
    service, environment: whose it is, empty where it is nobody's alone
    """

    service: str = ""
    environment: str = ""

    gravity: Gravity
    area: str
    where: str
    what: str
    why: str = ""
    mend: str = ""


@dataclass(frozen=True)
class Subject:
    """What a question is about: the area of the report, and what it is called there."""

    area: str
    where: str

    def found(self, gravity: Gravity, what: str, why: str = "", mend: str = "") -> Finding:
        """Return a finding about it. Words of others in it are put on one line, bounded and made harmless."""
        return Finding(gravity=gravity, area=self.area, where=self.where, what=plain(what), why=plain(why),
                       mend=plain(mend))

    def fine(self, what: str) -> Finding:
        """Return that *what* is as it should be."""
        return self.found(Gravity.FINE, what)

    def fault(self, what: str, why: str, mend: str) -> Finding:
        """Return that *what* would make a release fail."""
        return self.found(Gravity.FAULT, what, why, mend)

    def not_asked(self, what: str, why: str) -> Finding:
        """Return that nobody knows *what*, and why it was not asked."""
        return self.found(Gravity.NOT_ASKED, what, why)


def plain(words: str) -> str:
    """Return *words* on one line, without what a terminal or log would act on, and bounded."""
    said = " ".join(harmless(words).split())
    return said if len(said) <= _LONGEST_WORDS else f"{said[:_LONGEST_WORDS - 1]}…"


class Report(Frozen):
    """All findings of one run, in the order of the questions."""

    findings: tuple[Finding, ...] = Field(default_factory=tuple)
    untold: dict[Gravity, int] = Field(default_factory=dict)
    """How many more there were of each gravity, where only the findings that matter are handed on."""

    @property
    def gravest(self) -> Gravity:
        """The worst that was found."""
        there = [*(one.gravity for one in self.findings), *(gravity for gravity, count in self.untold.items() if count)]
        return max(there, key=_GRAVEST_LAST.index, default=Gravity.FINE)

    @property
    def exit_code(self) -> int:
        """0 where nothing is worse than a note; one for warnings, and another for faults."""
        return {Gravity.FAULT: FAULTY, Gravity.WARNING: WARNED}.get(self.gravest, 0)

    @property
    def sentence(self) -> str:
        """What was found, in one line."""
        if not self.findings and not self.untold:
            return "nothing was asked"
        counts = {gravity: sum(one.gravity is gravity for one in self.findings) + self.untold.get(gravity, 0)
                  for gravity in _GRAVEST_LAST}
        said = ", ".join(f"{counts[gravity]} {_NAMES[gravity]}" for gravity in reversed(_GRAVEST_LAST))
        asked = " that could be asked" if counts[Gravity.NOT_ASKED] else ""
        verdict = {
            Gravity.FAULT: "a release would fail",
            Gravity.WARNING: "a release would run, and something wants looking after",
        }.get(self.gravest, f"nothing{asked} stands in the way of a release")
        return f"{verdict}: {said}"


_NAMES = {Gravity.FINE: "fine", Gravity.NOT_ASKED: "not asked", Gravity.NOTE: "note(s)",
          Gravity.WARNING: "warning(s)", Gravity.FAULT: "fault(s)"}


def by_area(findings: Iterable[Finding]) -> dict[str, Sequence[Finding]]:
    """Return *findings* by area, each with its gravest first; areas in the order in which they came."""
    areas: dict[str, list[Finding]] = {}
    for one in findings:
        areas.setdefault(one.area, []).append(one)
    return {area: sorted(held, key=lambda one: -_GRAVEST_LAST.index(one.gravity)) for area, held in areas.items()}
