"""What the check of evidence found. Pure data."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from airlock.models import Frozen
from airlock.signing import Keyring

_PROBLEMS = 200
UNVERIFIED = "unverified signer"
"""What a report trusts when no key is given: whoever makes false evidence can sign it with a key of their own."""


class Report(Frozen):
    """``ok`` only if there is no problem, and *trust* is not ``UNVERIFIED``. *notes* are worth reading, but break
    nothing. *signed_by* is a key id, or several with commas between; ``release`` and ``outcome`` are empty where
    several releases were checked. *end*: whether an anchor was asked what is newer than the newest that is there."""

    ok: bool
    problems: tuple[str, ...]
    notes: tuple[str, ...] = ()
    release: str = ""
    outcome: str = ""
    records: int = 0
    signed_by: str = ""
    trust: Literal["unverified signer", "any signer", "trusted key"] = "unverified signer"
    end: Literal["not checked", "checked"] = "not checked"

    @property
    def verdict(self) -> str:
        """Return the report in a word or two."""
        return "NOT intact" if self.problems else "intact" if self.ok else self.trust

    @property
    def end_in_words(self) -> str:
        """Return what stands beside a verdict that is good: nobody must read it as more than it is."""
        return "" if self.problems or self.end == "checked" else "but its END WAS NOT CHECKED (no anchor given)"

    def judged(self, trusted: Keyring | None, *, any_signer: bool, anchored: bool = False) -> Report:
        """Return the report with what was trusted: keys that were given, whoever signed, or nobody; and whether it was
        compared with an anchor."""
        trust = "trusted key" if trusted is not None else "any signer" if any_signer else UNVERIFIED
        return self.model_copy(update={"trust": trust, "ok": not self.problems and trust != UNVERIFIED,
                                       "end": "checked" if anchored else "not checked"})


def make_report(problems: Iterable[str], notes: Iterable[str] = (), *, release: str = "", outcome: str = "",
                records: int = 0, signed_by: str = "") -> Report:
    """Return the report of *problems*, of which at most 200 are kept and the others counted."""
    found = tuple(dict.fromkeys(problems))
    more = len(found) - _PROBLEMS
    kept = (*found[:_PROBLEMS], f"... and {more} further problems") if more > 0 else found
    return Report(ok=not found, problems=kept, notes=tuple(notes), release=release, outcome=str(outcome),
                  records=records, signed_by=signed_by)
