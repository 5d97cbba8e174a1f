"""What a cycle took, what a rollback returned to, and what was done outside releases: computed again from records."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict

from airlock.models import Proof
from airlock.recompute import verdicts
from airlock.recompute.history import Entry, History, Recomputed, again, compared
from airlock.schedule.drill import DrillPoint, chosen
from airlock.schedule.promotion import Hint, Promotion, candidate, version_before
from airlock.schedule.retention import KeptPoint, fates
from airlock.schedule.train import Readiness, Train, board, course_of, next_back
from airlock.service.model import RetentionPolicy


def decisions(history: History) -> Iterator[Recomputed]:
    """Yield every choice of a version, and whether the request asks for just that content."""
    for entry in history.of("cycle"):
        yield again(history, entry, "version of the cycle", str(entry.data.get("version", "none")), _cycle)
    for entry in history.of("version_before"):
        yield again(history, entry, "version before", str(entry.data.get("version", "none")), _version_before)
    for entry in history.of("drill"):
        yield again(history, entry, "drilled points", f"{len(entry.data.get('chosen', ()))} chosen", _drill)
    for entry in history.of("drilled"):
        yield again(history, entry, f"drill {entry.record.subject}", "", _drilled)
    for entry in history.of("retention"):
        yield again(history, entry, "retention", f"{len(entry.data.get('fates', ()))} decided on", _retention)
    for entry in history.of("expired"):
        yield again(history, entry, "expired", entry.record.subject, _expired)
    for entry in history.of("departure"):
        yield again(history, entry, "boarding", ", ".join(map(str, entry.data.get("passengers", ()))), _boarding)
    for kind, turn in (("start", "leaves"), ("send_back", "goes back")):
        for entry in history.of(kind):
            yield again(history, entry, turn, entry.record.subject, _turn)
    for entry in history.of("index"):
        yield again(history, entry, "index of releases", f"{len(entry.data.get('releases', ()))} releases", _index)
    for entry in _chosen_by_rule(history):
        yield again(history, entry, "content asked for", "", _asked)


def _boarding(history: History, entry: Entry) -> tuple[str, ...]:
    seen = history.needed("boarding", entry).data
    train = Train.model_validate(entry.data["train"])
    known = [Readiness.model_validate(one) for one in seen["readiness"]]
    found = board(train.services, {one.service: one for one in known})
    releases = {one.service: {"version": one.version, "digest": one.digest} for one in known
                if one.service in found.passengers}
    return compared(entry.data, {"train": seen["train"], "passengers": list(found.passengers), "releases": releases,
                                 "carried_over": found.carried_over})


def _turn(history: History, entry: Entry) -> tuple[str, ...]:
    before = history.before(entry)
    starts, service = entry.record.type == "start", entry.record.subject
    whose = course_of(before).next if starts else next_back(before)
    if starts:
        said = dict(history.needed("departure", entry).data["releases"][service])
    else:
        said = {"release": history.needed("arrived", entry, service).data["release"]}
    return compared({**entry.data, "turn": service}, {**said, "turn": whose})


def _index(history: History, entry: Entry) -> tuple[str, ...]:
    ends = sorted((*history.earlier("arrived", entry), *history.earlier("returned", entry)),
                  key=lambda one: one.position)
    said = [{"service": one.record.subject, "what": one.record.type,
             **{name: one.data[name] for name in ("release", "outcome", "seal")}} for one in ends]
    return compared(entry.data, {"releases": said})


def _chosen_by_rule(history: History) -> Iterator[Entry]:
    """Yield the requests whose version no person chose."""
    for entry in history.of("rfc"):
        rfc = entry.data.get("rfc")
        if isinstance(rfc, dict) and (rfc.get("digest") or rfc.get("change_type") == "rollback"):
            yield entry


def _cycle(_: History, entry: Entry) -> tuple[str, ...]:
    before, here, back = (_promotions(entry, name) for name in ("before", "here", "rolled_back_here"))
    given = entry.data["hints"]
    hints = None if given is None else [Hint.model_validate(one) for one in given]
    return compared(entry.data, asdict(candidate(before, here, back, hints)))


def _version_before(_: History, entry: Entry) -> tuple[str, ...]:
    return compared(entry.data, asdict(version_before(_promotions(entry, "promotions"), entry.data["stable"])))


def _drill(_: History, entry: Entry) -> tuple[str, ...]:
    points = [DrillPoint.model_validate(one) for one in entry.data["points"]]
    found = chosen(points, entry.data["newest"], entry.data["random"], entry.data["seed"])
    return compared({**entry.data, "release": entry.record.release},
                    {"chosen": list(found), "release": entry.data["seed"]})


def _drilled(history: History, entry: Entry) -> tuple[str, ...]:
    proof = Proof.model_validate(entry.data["proof"])
    wanted = history.once("chosen", history.needed("drill", entry), lambda one: frozenset(one.data["chosen"]))
    if proof.recovery_point not in wanted:
        return (f"recovery_point: {proof.recovery_point} -> none, the drill did not choose it",)
    resources = history.once("resources", history.needed("drill", entry),
                             lambda one: {point["id"]: point["resource"] for point in one.data["points"]})
    found = compared(
        {"point": entry.record.subject, "of": f"{proof.kind}.{proof.resource}", "ok": proof.ok},
        {"point": proof.recovery_point, "of": resources.get(proof.recovery_point),
         "ok": verdicts.proved(entry.data["proof"], entry)},
    )  # fmt: skip
    return (*found, *verdicts.contradictions(history, entry))


def _retention(_: History, entry: Entry) -> tuple[str, ...]:
    policy = RetentionPolicy.model_validate(entry.data["policy"])
    points = [KeptPoint.model_validate(one) for one in entry.data["points"]]
    found = fates(policy, points, entry.moment())
    return compared(entry.data, {"fates": [one.model_dump(mode="json") for one in found]})


def _expired(history: History, entry: Entry) -> tuple[str, ...]:
    decided = history.needed("retention", entry)
    gone = history.once("gone", decided, lambda one: {fate["id"] for fate in one.data["fates"] if not fate["keep"]})
    found = () if entry.record.subject in gone else (f"{entry.record.subject}: removed -> kept by the decision",)
    return (*found, *compared(decided.data, {"dry_run": False}))


def _asked(history: History, entry: Entry) -> tuple[str, ...]:
    """Return where the request differs from what was chosen: for a cycle the version, for a rollback the way too."""
    rfc, artifact = entry.data["rfc"], entry.data["artifact"]
    found = compared(artifact, {"digest": rfc["digest"]}) if rfc.get("digest") else ()
    for kind in ("cycle", "version_before"):
        taken = history.newest(kind, entry)
        if taken is not None:
            names = ("version", "digest") if kind == "cycle" else ("version", "digest", "undoes")
            found += compared(rfc, {name: taken.data[name] for name in names})
    if rfc["change_type"] == "rollback" and history.newest("version_before", entry) is None \
            and "continues" not in entry.data:
        found += ("undoes: nothing on record says what the version before was",)
    return found


def _promotions(entry: Entry, name: str) -> list[Promotion]:
    return [Promotion.model_validate(one) for one in entry.data[name]]
