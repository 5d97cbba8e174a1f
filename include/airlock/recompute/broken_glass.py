"""A release that a person brought back by hand: that this is on record whole, was possible, and went back only."""

from __future__ import annotations

from collections.abc import Iterator

from airlock.deploy.broken_glass import BY_HAND, BrokenGlass, to_bring_back
from airlock.deploy.landing import BROKEN_GLASS
from airlock.recompute.change import WAY_BACK
from airlock.recompute.history import Entry, History, Recomputed, again, compared


def decisions(history: History) -> Iterator[Recomputed]:
    """Yield what a person did by hand."""
    for entry in history.of(BROKEN_GLASS):
        yield again(history, entry, "brought back by hand", str(entry.data.get("message")), _glass)
    for kind in ("act", "rolled_back", "outcome"):
        for entry in history.of(kind):
            if entry.record.actor.startswith(BY_HAND):
                yield again(history, entry, "by hand", f"{kind} {entry.record.subject}".strip(), _said_before)


def _glass(history: History, entry: Entry) -> tuple[str, ...]:
    glass = BrokenGlass.of_record(entry.data)
    found = compared({**entry.data, "actor": entry.record.actor}, {"message": glass.message, "actor": glass.actor})
    if not to_bring_back(history.before(entry), glass.damaged):
        found += ("there was nothing to bring back",)
    # Both are written while their process alone may act, and this one never by a clock that is behind.
    later = [one for one in history.of("act") if one.position > entry.position and one.record.subject not in WAY_BACK]
    return found + tuple(f"the act {one.record.subject[:80]!r} came after it, and goes forward" for one in later[:5])


def _said_before(history: History, entry: Entry) -> tuple[str, ...]:
    """Return what is wrong with a record that a person made: who makes one says before who they are, and why."""
    if any(one.record.actor == entry.record.actor for one in history.earlier(BROKEN_GLASS, entry)):
        return ()
    return (f"no record {BROKEN_GLASS!r} by {entry.record.actor[:120]!r} is before it",)
