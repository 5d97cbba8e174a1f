"""Release trains: what a train's file says, in which order services leave, who stays behind, and what a failure means.

Pure; must not know how a release is made, recorded or waited for. One service leaves at a time, so that a failure
stops those after it and is never mixed up with another change.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

from pydantic import Field

from airlock.errors import InvalidInput
from airlock.models import Frozen, Name, Outcome, Record
from airlock.service.model import Schedule
from airlock.service.values import Text


class TrainService(Frozen):
    """One service of a train, and the services of it that must have arrived before it leaves."""

    name: Name
    after: tuple[Name, ...] = ()


class Train(Frozen):
    """What a train's file says.

    ``cut_off_minutes``: who is not ready so long after the train was called stays behind. ``on_failure``: what becomes
    of those that arrived before one fails. ``on_freeze``: what the train does while a calendar of a service is closed,
    at most ``wait_hours``. ``start_hours``: how long a release may take to begin before it counts as failed.
    """

    train: Name
    description: Text
    owner: Text
    environment: Name
    schedule: Schedule | None = None
    cut_off_minutes: float = Field(30, ge=0, le=7 * 24 * 60, allow_inf_nan=False)
    on_failure: Literal["roll_back", "stop"] = "stop"
    on_freeze: Literal["wait", "carry_over"] = "carry_over"
    wait_hours: float = Field(12, gt=0, le=24 * 31, allow_inf_nan=False)
    start_hours: float = Field(2, gt=0, le=24 * 31, allow_inf_nan=False)
    services: tuple[TrainService, ...] = Field(min_length=1, max_length=100)


class Readiness(Frozen):
    """Whether one service has something to release, and may: ``nothing`` is neither good nor bad."""

    service: Name
    state: Literal["ready", "nothing", "not_ready"]
    why: str
    version: str | None = None
    digest: str | None = None


class Boarding(Frozen):
    """Who leaves, in this order, and who stays behind and is carried over to the next train, and why."""

    passengers: tuple[Name, ...]
    carried_over: dict[Name, str]


class Course(Frozen):
    """Where a train stands. ``next``: who may leave now. ``roll_back``: who goes back, in this order."""

    next: Name | None = None
    failed: Name | None = None
    arrived: tuple[Name, ...] = ()
    roll_back: tuple[Name, ...] = ()
    carried_over: tuple[Name, ...] = ()

    @property
    def over(self) -> bool:
        """Return whether nobody leaves any more."""
        return self.next is None


def order(services: Sequence[TrainService]) -> tuple[str, ...]:
    """Return the names of *services* so that each comes after those that it waits for; else as they are listed.

    :raises InvalidInput: a name is there twice, is unknown, or some wait for one another in a circle
    """
    names = [one.name for one in services]
    for name in names:
        if names.count(name) > 1:
            raise InvalidInput(f"services: {name!r} is listed {names.count(name)} times; keep one")
    after = {one.name: one.after for one in services}
    for name, wanted in after.items():
        unknown = [one for one in wanted if one not in after]
        if unknown:
            raise InvalidInput(f"services: {name!r} leaves after {unknown[0]!r}, which is not on the train; add it, "
                               "or remove it from 'after'")
    found: list[str] = []
    while len(found) < len(names):
        free = next((name for name in names if name not in found and set(after[name]) <= set(found)), None)
        if free is None:
            circle = " -> ".join(_circle({name: after[name] for name in names if name not in found}))
            raise InvalidInput(f"services: {circle} wait for one another, so none could leave; remove one 'after'")
        found.append(free)
    return tuple(found)


def _circle(after: Mapping[str, Sequence[str]]) -> list[str]:
    """Return a circle of names, the first one repeated at the end; each of *after* waits for one of *after*."""
    path = [next(iter(after))]
    while True:
        following = next(one for one in after[path[-1]] if one in after)
        if following in path:
            return [*path[path.index(following):], following]
        path.append(following)


def board(services: Sequence[TrainService], readiness: Mapping[str, Readiness]) -> Boarding:
    """Return who leaves: the ready ones, unless one that they wait for has something new and stays behind.

    One of which nothing is known stays behind.

    :raises InvalidInput: see ``order``
    """
    waits_for = {one.name: one.after for one in services}
    passengers: list[str] = []
    carried: dict[str, str] = {}
    for name in order(services):
        held = [one for one in waits_for[name] if one in carried]
        known = readiness.get(name)
        if known is None:
            carried[name] = "nothing is known of it"
        elif known.state == "not_ready":
            carried[name] = known.why
        elif known.state == "ready" and held:
            carried[name] = f"it leaves after {held[0]}, which stays behind"
        elif known.state == "ready":
            passengers.append(name)
        elif held:
            # Nothing new of its own, but those after it must not overtake the one before it.
            carried[name] = f"nothing new; those after it wait for {held[0]}"
    return Boarding(passengers=tuple(passengers), carried_over=carried)


def course(
    passengers: Sequence[str], ended: Mapping[str, Outcome], on_failure: Literal["roll_back", "stop"]
) -> Course:
    """Return where a train of *passengers*, in their order, stands.

    :param ended: how the releases ended that did: anything but a promotion is a failure
    """
    arrived: list[str] = []
    for position, name in enumerate(passengers):
        if name not in ended:
            return Course(next=name, arrived=tuple(arrived))
        if ended[name] is not Outcome.PROMOTED:
            back = tuple(reversed(arrived)) if on_failure == "roll_back" else ()
            left = (*(one for one in arrived if one in back), *passengers[position + 1:])
            return Course(failed=name, arrived=tuple(arrived), roll_back=back, carried_over=left)
        arrived.append(name)
    return Course(arrived=tuple(arrived))


def ended_of(records: Sequence[Record], kind: str) -> dict[str, Outcome]:
    """Return how the releases ended, by service, that *records* of *kind* (``arrived``, ``returned``) tell of."""
    return {one.subject: Outcome(one.data["outcome"]) for one in records if one.type == kind}


def course_of(records: Sequence[Record]) -> Course:
    """Return where the train stands by its own records; one that was carried over whole has nobody on the way."""
    departure = next((one for one in reversed(records) if one.type == "departure"), None)
    if departure is None or any(one.type == "carried_over" for one in records):
        return Course(carried_over=tuple(departure.data["passengers"]) if departure else ())
    return course(departure.data["passengers"], ended_of(records, "arrived"), departure.data["train"]["on_failure"])


def next_back(records: Sequence[Record]) -> str | None:
    """Return who goes back now by the train's own records: one at a time, and nobody past one that is stuck."""
    returned = ended_of(records, "returned")
    for name in course_of(records).roll_back:
        if name not in returned:
            return name
        if returned[name] is not Outcome.PROMOTED:
            return None
    return None


def ended(records: Sequence[Record]) -> tuple[Outcome, str]:
    """Return how the train ended by its own records, and a sentence about everybody on it."""
    where = course_of(records)
    departure = next((one for one in reversed(records) if one.type == "departure"), None)
    faults = [one for one in records if one.type == "fault"]
    if departure is None:
        return Outcome.FAILED, str(faults[0].data["message"]) if faults else "it never left"
    said = list(_sentences(records, where, departure.data["carried_over"]))
    back = ended_of(records, "returned")
    stuck = [one for one in where.roll_back if back.get(one) is not Outcome.PROMOTED]
    if stuck:
        said.append(f"{', '.join(stuck)} did not go back: on-call must look at it now")
    if where.next is not None:
        said.append(f"{where.next} had not arrived when the train ended")
    if where.failed or where.next or stuck:
        return Outcome.FAILED, "; ".join(said)
    return (Outcome.COMPLETED if where.arrived else Outcome.SKIPPED), "; ".join(said) or "nothing new for any service"


def _sentences(records: Sequence[Record], where: Course, behind: Mapping[str, str]) -> Iterator[str]:
    if where.arrived:
        yield f"arrived: {', '.join(where.arrived)}"
    if where.failed:
        why = next((one.data["why"] for one in reversed(records)
                    if one.type == "arrived" and one.subject == where.failed), "")
        yield f"{where.failed} failed: {why}"
    if where.roll_back:
        yield f"to go back: {', '.join(where.roll_back)}"
    held = next((one.data["why"] for one in records if one.type == "carried_over"), "")
    if held:
        yield held
    left = [*where.carried_over, *behind]
    if left:
        yield f"carried over to the next train: {', '.join(left)}"
