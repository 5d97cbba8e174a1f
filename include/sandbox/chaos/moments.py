"""The moments of a release at which a fault can strike, from its first act on the target on: records tell them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from airlock.models import Record


@dataclass(frozen=True)
class Moment:
    """``reached`` looks at the records so far; ``task`` is the task that works then; ``version`` good or failing."""

    name: str
    task: str
    reached: Callable[[Sequence[Record]], bool]
    failing: bool = False


def _act(name: str, **data: object) -> Callable[[Sequence[Record]], bool]:
    return lambda records: any(
        record.type == "act"
        and record.subject == name
        and all(record.data.get(key) == value for key, value in data.items())
        for record in records
    )


def _recorded(kind: str, subject: str | None = None) -> Callable[[Sequence[Record]], bool]:
    return lambda records: any(record.type == kind and subject in (None, record.subject) for record in records)


MOMENTS = (
    Moment("stage", "deploy.stage", _act("stage")),
    Moment("first step", "deploy.canary", _act("shift", percent=25)),
    Moment("second step", "deploy.canary", _act("shift", percent=50)),
    Moment("validate", "deploy.validate", _recorded("canary")),
    Moment("decide", "deploy.decide", _recorded("validated")),
    Moment("promote", "deploy.promote", _act("promote")),
    Moment("bake", "deploy.bake", _recorded("verdict", "bake")),
    Moment("retire", "deploy.bake", _act("retire")),
    Moment("seal", "close.seal", _recorded("baked")),
    Moment("rollback", "deploy.rollback.traffic", _act("roll_back"), failing=True),
    Moment("verify", "deploy.rollback.verify", _recorded("rolled_back"), failing=True),
)
