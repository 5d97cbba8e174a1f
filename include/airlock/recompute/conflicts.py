"""Conflicts with other releases, what was held, and the next times: computed again from the records."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from airlock.change.conflicts import CLEAR, CONFLICT, Conflict, OpenChange, conflicts, free_slots
from airlock.recompute.history import Entry, History, Recomputed, again, compared


def decisions(history: History) -> Iterator[Recomputed]:
    """Yield every look at other releases, and what this one held."""
    for kind in ("conflicts", "conflict"):
        for entry in history.of(kind):
            yield again(history, entry, "conflicts", str(entry.data.get("code")), _conflicts)
    for entry in history.of("hold_resources"):
        yield again(history, entry, "resources held", "", _held)


def _conflicts(history: History, entry: Entry) -> tuple[str, ...]:
    recorded: list[dict[str, Any]] = entry.data["found"]
    given = [Conflict.model_validate(one) for one in recorded]
    others = [OpenChange(service=one.service, environment=one.environment, release=one.release, version=one.version,
                         state=one.state, since=one.since, until=one.until, touches=one.shared) for one in given]
    plan = history.plan(entry)
    found = conflicts(plan.touches, entry.record.release, others)
    spans = [(datetime.fromisoformat(start), datetime.fromisoformat(end)) for start, end in entry.data["spans"]]
    closed = [((datetime.fromisoformat(start), datetime.fromisoformat(end)), str(why))
              for start, end, why in entry.data["closed"]]
    return compared(entry.data, {
        "code": CONFLICT if found else CLEAR, "touches": list(plan.touches),
        "found": [one.model_dump(mode="json") for one in found],
        "slots": list(free_slots(spans, closed, found, entry.moment()).lines()),
    })


def _held(history: History, entry: Entry) -> tuple[str, ...]:
    return compared(entry.data, {"touches": list(history.plan(entry).touches)})
