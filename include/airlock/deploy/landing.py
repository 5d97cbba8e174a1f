"""How a release goes on and how it ended, by what is on record alone: whatever state a task shows does not matter.

Pure: the same records give the same answer, in a task and years later from an evidence pack. Knows no target, no
ledger and no Airflow.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from enum import StrEnum

from airlock.deploy.progress import Move
from airlock.models import Outcome, Plan, Proof, Record, Reversal

WAY_BACK = "roll_back"
"""The act after which a release only goes back."""
BROKEN_GLASS = "broken_glass"
"""Type of the record by which a person takes a release out of Airflow's hands, to bring it back: from then on it only
goes back, too (see ``deploy.broken_glass``)."""


class DataWayBack(StrEnum):
    """What becomes of what a release migrated when its traffic goes back."""

    NOTHING = "nothing"
    UNDO = "undo"
    RESTORE = "restore"
    KEEP = "keep"
    HUMAN = "human"


def newest(records: Sequence[Record], kind: str, subject: str = "") -> Record | None:
    """Return the newest of *records* (oldest first) of *kind* about *subject*, or ``None``."""
    found = (record for record in reversed(records) if (record.type, record.subject) == (kind, subject))
    return next(found, None)


def acted(records: Sequence[Record]) -> bool:
    """Return whether the release announced any act on its target. If not, nothing was changed."""
    return any(record.type == "act" for record in records)


def goes_back(records: Sequence[Record]) -> bool:
    """Return whether the way back was begun, or a person has taken the release in hand to begin it."""
    return newest(records, "act", WAY_BACK) is not None or newest(records, BROKEN_GLASS) is not None


def landed(records: Sequence[Record]) -> bool:
    """Return whether the release has no way to go: it changed nothing, is back, or its new version is baked."""
    return not way_back_needed(records, ())


def way_back_needed(records: Sequence[Record], damaged: Sequence[str]) -> str:
    """Return why the release must be brought back; empty when it must not.

    :param damaged: what is wrong with records that cannot be read. One of them may have told of an act, so only an end
        that is on record keeps such a release from being brought back, which changes nothing where nothing was changed.
    """
    ended = any(newest(records, kind) is not None for kind in ("rolled_back", "baked"))
    if ended or not (acted(records) or damaged):
        return ""
    return f"its evidence is damaged: {damaged[0]}" if damaged else reason_of(records)


def unproven_restores(records: Sequence[Record]) -> tuple[str, ...]:
    """Return the resources whose origin the way back restored, and of which no later record proves that the origin is
    what was backed up."""
    unproven: dict[str, str] = {}
    for record in records:
        if record.type == "act" and record.subject == "restore":
            unproven[str(record.data["resource"])] = str(record.data["recovery_point"])
        elif record.type == "restored":
            proof = Proof.model_validate(record.data["proof"])
            if all(check.ok for check in proof.checks) and proof.checks:
                unproven = {name: point for name, point in unproven.items()
                            if (name, point) != (proof.resource, proof.recovery_point)}
    return tuple(sorted(unproven))


def reason_of(records: Sequence[Record]) -> str:
    """Return why the release did not go on: the canary's reason, else the first fault, or the word of the person who
    brought it back by hand, else what the last task that was tried, and did not get on, ran into."""
    canary = newest(records, "canary")
    if canary is not None and canary.data["move"] == Move.ROLL_BACK:
        return str(canary.data["why"])
    faults = [record for record in records
              if record.type in ("fault", BROKEN_GLASS) and not _only_backup(records, record)]
    if faults:
        return str(faults[0].data["message"])
    forward = itertools.takewhile(lambda record: record.type != "decision" and record.subject != WAY_BACK, records)
    last = [record for record in forward if record.type != "notification"][-1:]
    if last and last[0].type == "retry":
        return f"{last[0].subject} was tried in vain: {last[0].data['message']}"
    return "the release was interrupted before it was validated"


def _returned(records: Sequence[Record]) -> str:
    """Return the version before, if the release is a return to it; else nothing."""
    plan = newest(records, "plan")
    rfc = plan.data["plan"]["rfc"] if plan is not None else {}
    return str(rfc["version"]) if rfc.get("change_type") == "rollback" else ""


def _trial(records: Sequence[Record]) -> str:
    """Return what the new version had to pass."""
    plan = newest(records, "plan")
    strategy = plan.data["plan"]["rollout"]["strategy"] if plan is not None else "canary"
    return "the canary" if strategy == "canary" else "the switch"


def _only_backup(records: Sequence[Record], fault: Record) -> bool:
    """Return whether *fault* is of a backup that follows the traffic of a return, and so sends nothing back."""
    return bool(_returned(records)) and acted(records) and fault.subject.startswith("backup.")


def choose(records: Sequence[Record]) -> tuple[str, str]:
    """Return ``promote``, ``roll_back`` or ``refuse``, and why."""
    if not acted(records):
        return "refuse", "nothing was changed"
    if not goes_back(records) and newest(records, "validated") is not None:
        back = _returned(records)
        return "promote", (f"{back} answers all traffic as it should, and was validated" if back else
                           f"{_trial(records)} passed and the release was validated")
    return "roll_back", reason_of(records)


def outcome_of(records: Sequence[Record]) -> tuple[Outcome, str] | None:
    """Return how the release ended, and why; ``None`` if it has not landed: something was changed, and neither
    promotion nor rollback is complete."""
    skipped = newest(records, "skipped")
    if skipped is not None:
        return Outcome.SKIPPED, str(skipped.data["why"])
    if not acted(records):
        return Outcome.REFUSED, reason_of(records)
    rolled_back = newest(records, "rolled_back")
    if rolled_back is not None:
        data = newest(records, "data_way_back")
        if data is not None and data.data["choice"] != DataWayBack.HUMAN:
            data = None
        return Outcome.ROLLED_BACK, "; ".join(str(one.data["why"]) for one in (rolled_back, data) if one is not None)
    if newest(records, "baked") is None:
        return None
    if not (back := _returned(records)):
        return Outcome.PROMOTED, f"{_trial(records)} passed, the release was validated, and the bake passed"
    proved = newest(records, "restore_set") is not None
    kept = "every resource is backed up and proved" if proved else (
        "NOT every resource could be backed up and proved: see the tasks below backup")
    return Outcome.PROMOTED, f"all traffic is back on {back}, which was watched, validated and baked; {kept}"


def data_way_back(plan: Plan, applied: Sequence[str], failed: str = "") -> tuple[DataWayBack, str]:
    """Return what becomes of the migrations of a release that goes back, and why.

    An irreversible one leaves the data to people: a restore by itself would lose what was written since the backup, and
    SQL back does not bring back what is gone.

    :param applied: the migrations of the plan that the release applied, or began and may have applied
    :param failed: why the way that was chosen failed for good; empty if it did not
    """
    own = [migration for migration in plan.way_back.migrations if migration.name in applied]
    setting = plan.settings.get("migrations") or {}
    resource = str(setting.get("resource", ""))
    names = ", ".join(migration.name for migration in own)
    if failed:
        return DataWayBack.HUMAN, f"a human decides about the data of {resource}: its way back failed: {failed}"
    if not own:
        return DataWayBack.NOTHING, "the database holds nothing that the release migrated"
    gravest = max((migration.verdict for migration in own), key=lambda verdict: verdict.rank)
    if gravest is Reversal.NEEDS_RESTORE:
        return DataWayBack.HUMAN, (
            f"a human decides about the data of {resource}, which stays as {names} left it: only a restore of this "
            "release's recovery point brings back what is gone, and that loses what was written since"
        )
    if resource in plan.backup_policy.get("restore_on_rollback", ()):
        return DataWayBack.RESTORE, f"restore_on_rollback names {resource}: it is restored, without {names}"
    if gravest is Reversal.FIX_FORWARD:
        return DataWayBack.HUMAN, (
            f"a human decides about the data of {resource}, which stays as {names} left it: {plan.current_version} may "
            "not be able to live with that; look at it, and fix forward"
        )
    if setting.get("on_rollback") == "undo" and all(migration.undo for migration in own):
        return DataWayBack.UNDO, f"{names} only added, and the policy is to take that away again"
    return DataWayBack.KEEP, f"{names} only added, so {plan.current_version} can live with it: it is kept"
