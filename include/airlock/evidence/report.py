"""What the check of evidence found. Pure data."""

from __future__ import annotations

from collections.abc import Iterable

from airlock.models import Frozen

_PROBLEMS = 200


class Report(Frozen):
    """``ok`` only if there is no problem. *notes* are worth reading, but break nothing. *signed_by* is a key id, or
    several with commas between; ``release`` and ``outcome`` are empty where several releases were checked."""

    ok: bool
    problems: tuple[str, ...]
    notes: tuple[str, ...] = ()
    release: str = ""
    outcome: str = ""
    records: int = 0
    signed_by: str = ""


def make_report(problems: Iterable[str], notes: Iterable[str] = (), *, release: str = "", outcome: str = "",
                records: int = 0, signed_by: str = "") -> Report:
    """Return the report of *problems*, of which at most 200 are kept and the others counted."""
    found = tuple(dict.fromkeys(problems))
    more = len(found) - _PROBLEMS
    kept = (*found[:_PROBLEMS], f"... and {more} further problems") if more > 0 else found
    return Report(ok=not found, problems=kept, notes=tuple(notes), release=release, outcome=str(outcome),
                  records=records, signed_by=signed_by)
