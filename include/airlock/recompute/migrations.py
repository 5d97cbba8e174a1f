"""The verdict on the way back, that no migration ran before its gates, and what became of them: computed again."""

from __future__ import annotations

from collections.abc import Iterator

from airlock.change.migrations import pending
from airlock.change.way_back import judge, refuses
from airlock.deploy.landing import DataWayBack, data_way_back
from airlock.models import Migration, Plan, RollbackSafety
from airlock.recompute.history import Entry, History, Recomputed, again, compared


def decisions(history: History) -> Iterator[Recomputed]:
    """Yield every decision about the database's schema."""
    for entry in history.of("plan"):
        yield again(history, entry, "way back", _verdict(entry), _way_back)
    for entry in history.of("migrated"):
        yield again(history, entry, "migration", entry.record.subject, _migrated)
    for entry in history.of("data_way_back"):
        yield again(history, entry, "data on the way back", str(entry.data.get("choice")), _data)


def _verdict(entry: Entry) -> str:
    plan = entry.data.get("plan")
    found = plan.get("way_back") if isinstance(plan, dict) else None
    return str(found.get("verdict")) if isinstance(found, dict) else ""


def _way_back(history: History, entry: Entry) -> tuple[str, ...]:
    """Return where the verdict differs from that on the SQL on record, for the database as it was found."""
    plan = Plan.model_validate(entry.data["plan"])
    expected, found = RollbackSafety(), tuple[str, ...]()
    if plan.settings.get("migrations"):
        known = history.needed("migrations", entry).data
        carried = [Migration.model_validate(one) for one in known["pending"]]
        lacking, _ = pending(carried, {name: str(digest) for name, digest in known["applied"].items()})
        expected = judge(lacking, known["ahead"])
        found = compared({"artifact": known["artifact"]}, {"artifact": plan.artifact.digest})
    if why := refuses(plan.rfc, plan.way_back):
        found += (f"rfc: {why}",)
    return found + compared({"way_back": plan.way_back.model_dump(mode="json")},
                            {"way_back": expected.model_dump(mode="json")})


def _migrated(history: History, entry: Entry) -> tuple[str, ...]:
    approved = {one.name: one.up_digest for one in history.plan(entry).way_back.migrations}
    acts = any(one.data.get("migration") == entry.record.subject
               for one in reversed(history.earlier("act", entry, "migrate")))
    found = () if acts else ("act: nothing on record says that it was begun",)
    return found + compared({"digest": entry.data["digest"]}, {"digest": approved.get(entry.record.subject)})


def _data(history: History, entry: Entry) -> tuple[str, ...]:
    choice, why = data_way_back(history.plan(entry), entry.data["applied"], entry.data["failed"])
    return compared(entry.data, {"choice": choice.value, "why": why})


def gate(history: History, entry: Entry) -> tuple[str, ...]:
    """Return what is missing of that which must be on record before the act ``migrate`` or ``migrate_back``."""
    plan = history.plan(entry)
    planned = next((one for one in plan.way_back.migrations if one.name == entry.data["migration"]), None)
    if planned is None:
        return (f"migration: {entry.data['migration']} is not in the plan",)
    if entry.record.subject == "migrate_back":
        setting = plan.settings["migrations"]
        allowed = planned.undo and setting["on_rollback"] == "undo"
        return () if allowed else (f"{DataWayBack.UNDO}: the plan does not allow to undo {planned.name}",)
    history.needed("restore_set", entry)
    if plan.touches:
        history.needed("hold_resources", entry)
    return compared(entry.data, {"digest": planned.up_digest})
