"""Verdicts that stand in a record beside what they were made from: whatever record they are in, they are made again.

A check says what was expected, what was found, and whether that is ``ok``; a proof says so of its checks. Knows no
driver: what makes a check good is the same for all (``Check.fits``).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from airlock.change.difference import differences
from airlock.models import Check
from airlock.recompute.history import Entry, History, Recomputed, again

_CHECK, _PROOF = {"expected", "found", "ok"}, {"checks", "ok"}
_NAMES, _CONTENT, _DOCUMENTS, _ENDS = "names of ", "content of ", "documents", ("least", "most")
_DAYS_LEFT = re.compile(r"at least ([0-9.e+]+) day\(s\) left")


def decisions(history: History) -> Iterator[Recomputed]:
    """Yield the verdicts of every record that has some and is no proof: those are computed again with the proof."""
    for entry in history.entries:
        if entry.record.type not in ("proof", "drilled") and any(True for _ in _verdicts(entry)):
            yield again(history, entry, "checks", "", contradictions)


def contradictions(_: History, entry: Entry) -> tuple[str, ...]:
    """Return every verdict in the record that its own data does not give."""
    found = []
    for path, value in _verdicts(entry):
        computed = proved(value, entry) if value.keys() >= _PROOF else fits(Check.model_validate(value), entry.at)
        if value["ok"] is not computed:
            found.append(f"{path}.ok: {str(value['ok']).lower()} -> {str(computed).lower()}")
    return tuple(found)


def proved(proof: Mapping[str, Any], entry: Entry) -> bool:
    """Return whether the checks of *proof* prove its backup."""
    checks = [Check.model_validate(one) for one in proof["checks"]]
    return bool(checks) and all(check.ok and fits(check, entry.at) for check in checks) and not proof.get("reason")


def fits(check: Check, at: datetime) -> bool:
    """Return whether what *check* found *at* that moment is what it expected; certificates say their times in words."""
    if check.expected == "a begin in the past":
        return datetime.fromisoformat(str(check.found)) <= at
    left = _DAYS_LEFT.fullmatch(check.expected) if isinstance(check.expected, str) else None
    if left:
        ends = datetime.fromisoformat(str(check.found).removeprefix("until "))
        return at.astimezone(UTC) + timedelta(days=float(left[1])) < ends
    return check.fits


def unlike(facts: Mapping[str, Any], proof: Mapping[str, Any]) -> tuple[str, ...]:
    """Return every check of *proof* that expected something else than what the recovery point states of it."""
    found: list[str] = []
    for number, check in enumerate(Check.model_validate(one) for one in proof["checks"]):
        told, expected = stated(facts, check.name), check.expected
        if told is None or told == expected or (isinstance(expected, dict) and told in expected.get("any_of", ())):
            continue
        found += differences({f"proof.checks.{number}.expected": expected}, {f"proof.checks.{number}.expected": told})
    return tuple(found)


def unproven(facts: Mapping[str, Any], proof: Mapping[str, Any]) -> tuple[str, ...]:
    """Return a sentence where the recovery point states things that no check of a good *proof* is about: documents, and
    whatever else the proof compares the names of."""
    if proof.get("ok") is not True:
        return ()
    checked = {Check.model_validate(one).name for one in proof["checks"]}
    held = {part: keys for part, keys in facts.items() if isinstance(keys, dict)
            and (part == _DOCUMENTS or f"{_NAMES}{part}" in checked)}
    wanted = {f"{_CONTENT if part == _DOCUMENTS else f'{part} '}{key}" for part, keys in held.items() for key in keys}
    missing = sorted(wanted - checked)
    return (f"proof.checks: none of {len(missing)} is on record, such as {missing[0][:120]!r}",) if missing else ()


def stated(facts: Mapping[str, Any], name: str) -> Any:
    """Return what the *facts* of a recovery point say that the check called *name* must expect; ``None`` if they do not
    say. All drivers call their checks so: as the fact, as ``part key`` of a fact with keys, ``content of`` a document,
    or ``names of`` what a fact holds.
    """
    if name in facts or name.replace(" ", "_") in facts:
        return facts.get(name, facts.get(name.replace(" ", "_")))
    if name.startswith(_NAMES):
        held = facts.get(name.removeprefix(_NAMES))
        if isinstance(held, list):
            held = {one.get("name"): one for one in held if isinstance(one, dict)}
        return sorted(held) if isinstance(held, dict) else None
    part, _, key = f"{_DOCUMENTS} {name.removeprefix(_CONTENT)}".partition(" ") if name.startswith(_CONTENT) else (
        name.partition(" "))
    held = facts.get(part)
    found = held.get(key) if isinstance(held, dict) else None
    if part == "sequences" and isinstance(found, list) and len(found) == len(_ENDS):
        return dict(zip(_ENDS, found, strict=True))
    return found


def _verdicts(entry: Entry) -> Iterator[tuple[str, dict[str, Any]]]:
    waiting: list[tuple[str, Any]] = [("", entry.data)]
    while waiting:
        path, value = waiting.pop()
        if isinstance(value, dict):
            if value.keys() >= _CHECK or value.keys() >= _PROOF:
                yield path.removeprefix("."), value
            waiting += [(f"{path}.{key}"[:200], inner) for key, inner in value.items()]
        elif isinstance(value, list):
            waiting += [(f"{path}.{number}"[:200], inner) for number, inner in enumerate(value)]
