"""What a cycle took and what a rollback returned to: computed again from the promotions on record."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict

from airlock.recompute.history import Entry, History, Recomputed, again, compared
from airlock.schedule.promotion import Hint, Promotion, candidate, version_before


def decisions(history: History) -> Iterator[Recomputed]:
    """Yield every choice of a version, and whether the request asks for just that content."""
    for entry in history.of("cycle"):
        yield again(history, entry, "version of the cycle", str(entry.data.get("version", "none")), _cycle)
    for entry in history.of("version_before"):
        yield again(history, entry, "version before", str(entry.data.get("version", "none")), _version_before)
    for entry in history.of("rfc"):
        yield again(history, entry, "content asked for", "", _asked)


def _cycle(_: History, entry: Entry) -> tuple[str, ...]:
    before, here, back = (_promotions(entry, name) for name in ("before", "here", "rolled_back_here"))
    given = entry.data["hints"]
    hints = None if given is None else [Hint.model_validate(one) for one in given]
    return compared(entry.data, asdict(candidate(before, here, back, hints)))


def _version_before(_: History, entry: Entry) -> tuple[str, ...]:
    return compared(entry.data, asdict(version_before(_promotions(entry, "promotions"), entry.data["stable"])))


def _asked(history: History, entry: Entry) -> tuple[str, ...]:
    """Return where the request differs from what was chosen: for a cycle the version, for a rollback the way too."""
    rfc, artifact = entry.data["rfc"], entry.data["artifact"]
    found = compared(artifact, {"digest": rfc["digest"]}) if rfc.get("digest") else ()
    for kind in ("cycle", "version_before"):
        chosen = history.newest(kind, entry)
        if chosen is not None:
            names = ("version", "digest") if kind == "cycle" else ("version", "digest", "undoes")
            found += compared(rfc, {name: chosen.data[name] for name in names})
    if rfc["change_type"] == "rollback" and history.newest("version_before", entry) is None \
            and "continues" not in entry.data:
        found += ("undoes: nothing on record says what the version before was",)
    return found


def _promotions(entry: Entry, name: str) -> list[Promotion]:
    return [Promotion.model_validate(one) for one in entry.data[name]]
