"""Conflicts with other releases: seen when a plan is made, and kept out from the start of a release to its end.

Level-triggered: a look at the open releases of every ledger. What a release holds is taken before its first act and
looked at again under the lock of every act, so that two releases never change the same resource at once. Knows no
Airflow.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import datetime, timedelta

from airlock.change.conflicts import (
    CLEAR,
    CONFLICT,
    UNDER_WAY,
    Conflict,
    OpenChange,
    conflicts,
    free_slots,
    refusal,
)
from airlock.change.text import Section
from airlock.errors import GateRefused, TemporaryError
from airlock.evidence.open_releases import HOLD, Holder, OpenReleases
from airlock.flow.stages.notices import notify
from airlock.flow.stages.release import Release, calendar_of
from airlock.models import Plan, utc_now
from airlock.past.open_changes import open_changes
from airlock.schedule.asking import slots as calendar_slots
from airlock.schedule.calendar import Slot

log = logging.getLogger(__name__)
_SLOTS = 12
_NAMED = 3
_PER_RESOURCE = timedelta(seconds=60)
_BESIDE = timedelta(minutes=5)


def register(release: Release, plan: Plan, state: str, now: datetime) -> None:
    """Put the release into the index of open ones: it *waits*, or is *under way*."""
    until = now + expected(plan) if state == UNDER_WAY else None
    change = OpenChange(service=plan.service, environment=plan.environment, release=release.id,
                        version=plan.artifact.version, state=state, since=now, until=until, touches=plan.touches)
    _index(release).put(_holder(release), change.model_dump(mode="json"))


def seen(release: Release, plan: Plan) -> tuple[Conflict, ...]:
    """Return every open release, of any service, that touches what *plan* touches.

    :raises EvidenceInvalid: an entry of the index is damaged, so that nobody knows
    """
    return conflicts(plan.touches, release.id, open_changes(release.environment, lambda: release.keyring))


def note(release: Release, plan: Plan, now: datetime) -> tuple[Section, ...]:
    """Record which conflicts there are and when the release could begin; return both for people."""
    found = seen(release, plan)
    slots = _record(release, plan, "conflicts", found, now)
    for one in found:
        log.warning("conflict: %s", one.sentence)
    then = ("It waits until they have ended." if plan.terms.conflicts == "wait"
            else "It is refused if one of them is under way when it begins.")
    if not found:
        return (("Conflicts", ("no other open release touches the same",)),)
    said = (*(one.sentence for one in found), then)
    return ("Conflicts", said), ("When it could begin after them", slots or ("no free time is known",))


def hold(release: Release, plan: Plan, now: datetime) -> tuple[Conflict, ...]:
    """Take everything that *plan* touches, for this release alone until it is sealed; return who has some of it, empty
    when all was got. What is held already stays held."""
    if not plan.touches:
        return ()
    # What others hold is told by their records; the index only decides who was first.
    if around := _before(release, plan):
        return around
    if _holds(release, plan):
        return ()
    _notice_what_is_free(release, plan)
    taken = _index(release).hold(_holder(release), plan.touches)
    if not taken and (around := _before(release, plan)):  # who had taken it a moment ago, if the index lost that
        _index(release).give_back(_holder(release), plan.touches)
        return around
    known = {one.release: one.model_copy(update={"state": UNDER_WAY}) for one in seen(release, plan)} if taken else {}
    return tuple(known.get(holder.release) or _unknown(what, holder, now) for what, holder in taken.items())


def _before(release: Release, plan: Plan) -> tuple[Conflict, ...]:
    """Return who else is under way with what *plan* touches, of whom was first if this release is under way too."""
    found = tuple(one for one in seen(release, plan) if one.state == UNDER_WAY)
    held = release.latest(HOLD) if found else None
    if held is None:
        return found
    own = (datetime.fromisoformat(held["at"]), release.id)
    return tuple(one for one in found if (one.since, one.release) < own)


def _notice_what_is_free(release: Release, plan: Plan) -> None:
    """Say it once when what the release holds by its own record is free in the index: somebody removed that."""
    free = _index(release).free(plan.touches)
    if not free or release.latest(HOLD) is None:
        return
    sentence = (f"somebody removed from the ledger's folder .held that {release.id} holds {', '.join(free)}; its "
                "record counts, and it is held again: look who can write there")
    log.error("%s", sentence)
    if release.latest("hold_removed") is None:
        release.record("hold_removed", touches=list(free))
        notify(release, "alarm", f"A hold of {release.id} was removed", sentence)


def begin(release: Release, plan: Plan, now: datetime) -> tuple[Conflict, ...]:
    """Hold what *plan* touches before the first act; return who has it, and record that once, with the next slots.

    :raises GateRefused: somebody has it, and the policy does not wait
    """
    found = hold(release, plan, now)
    if not found:
        if release.latest(HOLD) is None and plan.touches:
            register(release, plan, UNDER_WAY, now)
            release.record(HOLD, at=now.isoformat(), touches=list(plan.touches), version=plan.artifact.version,
                           until=(now + expected(plan)).isoformat())
            log.info("held until the release is sealed: %s", ", ".join(plan.touches))
        return ()
    sentence = "; ".join(one.sentence for one in found)
    before = release.latest("conflict")
    if before is None or [one["release"] for one in before["found"]] != [one.release for one in found]:
        slots = _record(release, plan, "conflict", found, now)
        notify(release, "conflict", f"{release.id} meets another release", sentence)
    else:
        slots = tuple(before["slots"])
    times = "; ".join(slots) or "none is known"
    if why := refusal(plan.terms, found):
        raise GateRefused(f"{why}. Next times: {times}")
    log.warning("%s: %s; next times: %s", CONFLICT, sentence, times)
    return found


def check_held(release: Release, act: str) -> None:
    """See, under the lock of *act*, that nobody else holds what the plan touches.

    :raises TemporaryError: somebody does, and the policy waits
    :raises GateRefused: somebody does, and the policy does not wait
    """
    found = hold(release, release.plan, utc_now())
    if not found:
        return
    sentence = f"{CONFLICT}: no {act}: {'; '.join(one.sentence for one in found)}"
    if release.plan.terms.conflicts == "refuse":
        raise GateRefused(sentence)
    raise TemporaryError(f"{sentence}; this task is tried again")


def expected(plan: Plan) -> timedelta:
    """Return how long carrying out *plan* is expected to take: its steps, its bake, and a minute for each resource."""
    watched = sum(step.observe_seconds for step in plan.rollout.steps) + plan.rollout.bake_seconds
    return timedelta(seconds=watched) + _PER_RESOURCE * len(plan.resources) + _BESIDE


def _record(
    release: Release, plan: Plan, kind: str, found: Sequence[Conflict], now: datetime
) -> tuple[str, ...]:
    """Record what was *found*, with everything that the next times follow from; return these for people."""
    opened = calendar_slots(calendar_of(plan), now, _SLOTS)
    spans = [(slot.start, slot.end) for slot in opened]
    closed = [((since, slot.start), _why_closed(slot)) for since, slot in
              zip((now, *(end for _, end in spans)), opened, strict=False) if since < slot.start]
    slots = free_slots(spans, closed, found, now).lines()
    release.record(
        kind, at=now.isoformat(), code=CONFLICT if found else CLEAR, touches=list(plan.touches),
        found=[one.model_dump(mode="json") for one in found], slots=list(slots),
        spans=[[start.isoformat(), end.isoformat()] for start, end in spans],
        closed=[[start.isoformat(), end.isoformat(), why] for (start, end), why in closed],
    )
    return slots


def _why_closed(slot: Slot) -> str:
    named = list(dict.fromkeys(f"{one.code} {one.name}".strip() for one in slot.before if one.code != "window"))
    return ", ".join(named[:_NAMED]) or "outside_window"


def _holds(release: Release, plan: Plan) -> bool:
    held = _index(release).holders(plan.touches)
    return len(held) == len(plan.touches) and set(held.values()) == {_holder(release)}


def _index(release: Release) -> OpenReleases:
    return OpenReleases(release.environment.ledger)


def _holder(release: Release) -> Holder:
    return Holder(release.environment.service, release.environment.environment, release.id)


def _unknown(what: str, holder: Holder, now: datetime) -> Conflict:
    return Conflict(release=holder.release, service=holder.service, environment=holder.environment, version="",
                    state=UNDER_WAY, since=now, until=None, shared=(what,))

