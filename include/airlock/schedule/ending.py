"""How a backup, a drill, an expiry or a train ended, by its records alone. Pure: the same in a task and from a pack."""

from __future__ import annotations

from collections.abc import Sequence

from airlock.models import Outcome, Record
from airlock.schedule import train

_STATED = ("drill", "retention", "backup")


def ended(records: Sequence[Record]) -> tuple[Outcome, str]:
    """Return whether everything was done that was to be done, and a sentence that says so, or what was not."""
    if any(record.type == "boarding" for record in records):
        return train.ended(records)
    faults = [record for record in records if record.type == "fault"]
    tests = [record.data["proof"] for record in records if record.type in ("proof", "drilled")]
    proofs = {proof["recovery_point"]: proof for proof in tests}
    bad = [proof["reason"] for proof in proofs.values() if not proof["ok"]]
    points = [record.data["point"]["id"] for record in records if record.type == "recovery_point"]
    drills = [record for record in records if record.type == "drill"]
    wanted = [*points, *(drills[-1].data["chosen"] if drills else ())]
    unproved = [point for point in wanted if point not in proofs]
    left = _left(records)
    if bad:
        return Outcome.FAILED, f"{len(bad)} of {len(proofs)} restore tests failed: {'; '.join(bad)}"
    if faults:
        return Outcome.FAILED, str(faults[0].data["message"])
    if unproved:
        return Outcome.FAILED, f"{len(unproved)} of {len(wanted)} recovery points were not restored: {unproved[0]}"
    if left:
        return Outcome.FAILED, left
    if not any(record.type in _STATED for record in records):
        return Outcome.FAILED, "nothing was done: the run ended before it began"
    expired = sum(record.type == "expired" for record in records)
    done = [f"{len(points)} backup(s) taken"] if points else []
    done += [f"{len(proofs)} restored and proved"] if proofs else []
    done += [f"{expired} recovery point(s) removed"] if any(record.type == "retention" for record in records) else []
    return Outcome.COMPLETED, ", ".join(done) or "there was nothing to restore"


def _left(records: Sequence[Record]) -> str:
    """Return what was to be done and is not on record as done; empty when nothing is left."""
    taken = {record.subject for record in records if record.type == "recovery_point"}
    expired = {record.subject for record in records if record.type == "expired"}
    for record in records:
        if record.type == "backup" and (missing := [one for one in record.data["resources"] if one not in taken]):
            return f"{len(missing)} of {len(record.data['resources'])} resources were not backed up: {missing[0]}"
        if record.type == "retention" and not record.data["dry_run"]:
            stay = [one["id"] for one in record.data["fates"] if not one["keep"] and one["id"] not in expired]
            if stay:
                return f"{len(stay)} recovery point(s) that no rule keeps were not removed: {stay[0]}"
    return ""
