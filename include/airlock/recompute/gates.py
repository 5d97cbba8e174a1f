"""Window, proofs, restore set, decision and outcome, and that no act went before its gate: computed again."""

from __future__ import annotations

from collections.abc import Iterator

from airlock.backup.run import restore_set
from airlock.change.override import mended_incident
from airlock.change.review import finished
from airlock.deploy.landing import WAY_BACK, choose, outcome_of, reason_of, unproven_restores
from airlock.deploy.progress import Move
from airlock.deploy.strategy import strategy_of
from airlock.models import Answer, Checkpoint, Outcome, Plan, Proof, RecoveryPoint, TargetState
from airlock.recompute import checks, migrations, verdicts
from airlock.recompute.change import ACT_LEEWAY
from airlock.recompute.history import Entry, History, Recomputed, again, compared
from airlock.schedule.asking import Asked, Basis
from airlock.schedule.asking import again as decision_again
from airlock.schedule.ending import ended
from airlock.service.calendar import PlannedCalendar

_ON_WHAT_GOES = ("retire", WAY_BACK)
"""Acts on the version before; the others are on the new one."""


def decisions(history: History) -> Iterator[Recomputed]:
    """Yield every decision of a gate, and how the release landed."""
    for entry in history.of("window"):
        yield again(history, entry, "window", str(entry.data.get("code")), _window)
    for entry in history.of("calendar"):
        yield again(history, entry, "calendar", f"{entry.record.subject}: {entry.data.get('code')}", _calendar)
    for entry in history.of("hold"):
        yield again(history, entry, "hold", f"{entry.record.subject}: {entry.data.get('code')}", _calendar)
    for kind in ("proof", "restored"):
        for entry in history.of(kind):
            proof = entry.data.get("proof")
            answer = "" if not isinstance(proof, dict) else "proven" if proof.get("ok") is True else "not proven"
            yield again(history, entry, f"{kind} {entry.record.subject}", answer, _proof)
    for entry in history.of("restore_set"):
        skew = f"skew {entry.data.get('skew_seconds')} s"
        yield again(history, entry, "restore set", skew, _restore_set)
    for entry in history.of("act"):
        yield again(history, entry, "act after its gate", entry.record.subject, _gate)
    for kind in ("staged", "validated"):
        for entry in history.of(kind):
            yield again(history, entry, f"{kind} digest", "", _approved_content)
    for entry in history.of("decision"):
        yield again(history, entry, "decision", str(entry.data.get("choice")), _decision)
    for entry in history.of("rolled_back"):
        yield again(history, entry, "rolled back", "", _rolled_back)
    for entry in history.of("outcome"):
        yield again(history, entry, "outcome", str(entry.data.get("outcome")), _outcome)


def _calendar(history: History, entry: Entry) -> tuple[str, ...]:
    """Return what differs of an answer of the calendar; its files must be those of the plan."""
    plan = history.plan(entry)
    calendar, basis = PlannedCalendar.model_validate(plan.calendar), Basis.model_validate(entry.data["basis"])
    asked = Asked(entry.moment(), decision_again(calendar, entry.moment(), basis, mended_incident(plan.rfc)), basis)
    known = {one.name: one.digest for one in calendar.files}
    foreign = {name: digest for name, digest in basis.files.items() if known.get(name) != digest}
    unread = [one.name for one in calendar.files if one.name not in basis.files]
    silent = unread and not any(one.unreadable for one in basis.answers)
    found = compared({"files": foreign}, {"files": {}}) + compared(entry.data, asked.as_record())
    if entry.record.subject == "assess":
        found += _overridden(plan, calendar, entry)
    if silent or len([one for one in basis.answers if one.closes != "file"]) != len(calendar.signals):
        found += ("basis: not every file and signal of the plan's calendar was asked",)
    return found


def _overridden(plan: Plan, calendar: PlannedCalendar, entry: Entry) -> tuple[str, ...]:
    """Return what differs of what the plan overrides: just what closed the calendar, and only if that was asked for."""
    basis, incident = Basis.model_validate(entry.data["basis"]), mended_incident(plan.rfc)
    bare = decision_again(calendar.model_copy(update={"overridden": ()}), entry.moment(), basis, incident)
    wanted = () if plan.rfc.calendar_override is None else tuple(one.key for one in bare.closures)
    return compared({"overridden": [one.model_dump() for one in calendar.overridden]},
                    {"overridden": [one.model_dump() for one in wanted]})


def _window(history: History, entry: Entry) -> tuple[str, ...]:
    plan, found = history.plan(entry), _calendar(history, entry)
    if entry.data["code"] != "open":
        found += ("code: the calendar of the plan is closed at that moment",)
    if plan.rfc.start_after is not None and entry.moment() < plan.rfc.start_after:
        found += (f"at: {entry.data['at']} -> not before {plan.rfc.start_after.isoformat()}, which the RFC asks for",)
    return found


def _proof(history: History, entry: Entry) -> tuple[str, ...]:
    proof = Proof.model_validate(entry.data["proof"])
    point = RecoveryPoint.model_validate(history.needed("recovery_point", entry, entry.record.subject).data["point"])
    found = compared(
        {"subject": entry.record.subject, "recovery_point": proof.recovery_point,
         "of": f"{point.resource.kind}.{point.resource.name}", "ok": proof.ok},
        {"subject": f"{proof.kind}.{proof.resource}", "recovery_point": point.id, "of": entry.record.subject,
         "ok": verdicts.proved(entry.data["proof"], entry)},
    )
    return (*found, *verdicts.unlike(point.facts, entry.data["proof"]),
            *verdicts.unproven(point.facts, entry.data["proof"]), *verdicts.contradictions(history, entry))


def _restore_set(history: History, entry: Entry) -> tuple[str, ...]:
    plan = history.plan(entry)
    points, slowest, found = [], 0.0, []
    for resource in plan.resources:
        label = f"{resource.kind}.{resource.name}"
        point = RecoveryPoint.model_validate(history.needed("recovery_point", entry, label).data["point"])
        proved = history.needed("proof", entry, label)
        proof = Proof.model_validate(proved.data["proof"])
        if not verdicts.proved(proved.data["proof"], proved) or proof.recovery_point != point.id:
            found.append(f"points: {label} is not proved")
        points.append(point)
        slowest = max(slowest, proof.restore_seconds)
    skew = restore_set(points).skew_seconds
    if skew > plan.backup_policy["maximum_skew_seconds"]:
        found.append(f"skew_seconds: {skew} is more than the plan's {plan.backup_policy['maximum_skew_seconds']}")
    computed = {"points": [point.id for point in points], "skew_seconds": skew, "slowest_restore_seconds": slowest}
    return (*found, *compared(entry.data, computed))


def _gate(history: History, entry: Entry) -> tuple[str, ...]:
    """Return what is missing of that which must be on record before the act."""
    act = entry.record.subject
    return (*_meant(history, entry), *_before(history, entry, act))


def _meant(history: History, entry: Entry) -> tuple[str, ...]:
    """Return where the act is on another version than the plan means."""
    version = entry.data.get("version")
    if version is None:
        return ()
    plan, goes = history.plan(entry), entry.record.subject in _ON_WHAT_GOES
    return compared({"version": version}, {"version": plan.current_version if goes else plan.artifact.version})


def _before(history: History, entry: Entry, act: str) -> tuple[str, ...]:
    if act in ("migrate", "migrate_back"):
        closed = _open(history, entry) if act == "migrate" else ()
        return (*migrations.gate(history, entry), *closed)
    if act == "stage":
        if not history.plan(entry).traffic_first:
            history.needed("restore_set", entry)
        for planned in history.plan(entry).way_back.migrations:
            history.needed("migrated", entry, planned.name)
        if history.plan(entry).touches:
            history.needed("hold_resources", entry)
        return _open(history, entry) + compared(entry.data, {"digest": history.plan(entry).artifact.digest})
    if act == "shift":
        history.needed("staged", entry)
        return _open(history, entry)
    if act == "promote":
        decided = history.needed("decision", entry)
        return _open(history, entry) + compared({"choice": decided.data["choice"]}, {"choice": "promote"})
    if act == "retire":
        newest = history.needed("verdict", entry, "bake").data
        return compared({"answer": newest["verdict"]["answer"]}, {"answer": "pass"})
    return () if history.newest("act", entry, None) else ("there was nothing to go back from",)


def _open(history: History, entry: Entry) -> tuple[str, ...]:
    """Return what is wrong with the calendar at an act: it was asked in that moment, and open."""
    asked = history.needed("calendar", entry, entry.record.subject)
    if not entry.at - ACT_LEEWAY <= asked.moment() <= entry.at:
        return (f"calendar: was asked at {asked.moment().isoformat()}, not in the moment of the act",)
    return compared({"calendar": asked.data["code"]}, {"calendar": "open"})


def _approved_content(history: History, entry: Entry) -> tuple[str, ...]:
    artifact, state = history.plan(entry).artifact, TargetState.model_validate(entry.data["state"])
    new = [one for one in state.versions if one.version == artifact.version]
    staged = entry.record.type == "staged"
    made = history.needed("checks", entry, Checkpoint.SMOKE if staged else Checkpoint.VALIDATION)
    found = compared(
        {"digest": new[0].digest if new else "", "checks": checks.made_again(history, made).answer.value,
         "stable": state.stable, "running": any(one.running for one in new)},
        {"digest": artifact.installed_digest, "checks": Answer.PASS.value,
         "stable": history.plan(entry).current_version, "running": True},
    )  # fmt: skip
    if made.position < history.needed("act", entry, "stage" if staged else "shift").position:
        found += ("checks: none was made since the version was last staged or shifted",)
    if staged:
        found += _previewed(history, entry)
    if entry.record.type == "validated":
        move = history.needed("canary", entry).data["move"]
        found += compared({"canary": move}, {"canary": Move.PASS.value})
    return found


def _previewed(history: History, entry: Entry) -> tuple[str, ...]:
    """Return what is wrong with the checks of a preview, where the strategy wants one."""
    plan = history.plan(entry)
    if plan.returns or not strategy_of(plan.rollout).previews:
        return ()
    made = history.needed("checks", entry, Checkpoint.VALIDATION)
    if made.position < history.needed("act", entry, "stage").position:
        return ("preview: it was not checked since the version was last staged",)
    return compared({"preview": checks.made_again(history, made).answer.value}, {"preview": Answer.PASS.value})


def _decision(history: History, entry: Entry) -> tuple[str, ...]:
    choice, why = choose(history.before(entry))
    return compared(entry.data, {"choice": choice, "why": why})


def _rolled_back(history: History, entry: Entry) -> tuple[str, ...]:
    stable, state = history.plan(entry).current_version, TargetState.model_validate(entry.data["state"])
    others = sorted(one.version for one in state.versions if one.version != stable and one.running)
    unproven = list(unproven_restores(history.before(entry)))
    return compared({**entry.data, "weight": state.weight_of(stable), "others": others, "unproven": unproven,
                     "stable": state.stable,
                     "running": any(one.version == stable and one.running for one in state.versions)},
                    {"why": reason_of(history.before(entry)), "weight": 100, "others": [], "unproven": [],
                     "stable": stable, "running": True})


def _outcome(history: History, entry: Entry) -> tuple[str, ...]:
    before = tuple(record for record in history.before(entry) if record.type != "outcome")
    train = any(record.type == "boarding" for record in before)
    outside = train or entry.data["outcome"] in (Outcome.COMPLETED, Outcome.FAILED)
    if outside and any(record.type in ("rfc", "plan", "permit", "act") for record in before):
        return (f"outcome: {entry.data['outcome']} -> that of a release, which its records are of",)
    if any(record.type == "owed" for record in before):
        landed: tuple[Outcome, str] | None = finished(before)
    else:
        landed = ended(before) if outside else outcome_of(before)
    if landed is None:
        return (f"outcome: {entry.data['outcome']} -> none, neither promotion nor rollback is complete on record",)
    found = compared(entry.data, {"outcome": landed[0].value, "why": landed[1]})
    is_last = entry is history.of("outcome")[-1]
    if is_last and history.outcome:
        found += compared({"outcome in the seal": history.outcome}, {"outcome in the seal": landed[0].value})
    return found
