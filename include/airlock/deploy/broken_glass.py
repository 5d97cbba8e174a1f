"""A release that a person brings back by hand, while Airflow is down: who, where from, why, and when that may be. Pure.

Called after the pane that one breaks to pull the lever behind it: it is always possible, and never in secret. Knows no
ledger, no target and no Airflow.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from pydantic import AfterValidator, StringConstraints

from airlock.deploy.landing import acted, newest, way_back_needed
from airlock.models import Frozen, Record
from airlock.plain_text import LOGIN_NAME, LOGIN_NAME_RULE, fault_in, visible_length

BY_HAND = "land by "
"""How the actor of every record begins that such a person makes."""
SHORTEST, LONGEST = 10, 2000


def _reason(text: str) -> str:
    if fault_in(text) or not SHORTEST <= visible_length(text) <= len(text) <= LONGEST:
        raise ValueError(f"the reason must be {SHORTEST} to {LONGEST} characters of plain text that say what happened, "
                         "and why it cannot wait for Airflow")
    return text


def _person(text: str) -> str:
    if text and not LOGIN_NAME.fullmatch(text):
        raise ValueError(f"the name must be {LOGIN_NAME_RULE}")
    return text


class BrokenGlass(Frozen):
    """Who brings a release back by hand, and why.

    ``user`` and ``host`` are as the machine says; ``person`` is how its user calls themselves, empty if not at all.
    ``airflow``: what the Airflow of the release's run answered. ``damaged``: records that could not be read.
    """

    reason: Annotated[str, AfterValidator(_reason)]
    person: Annotated[str, AfterValidator(_person)] = ""
    user: Annotated[str, StringConstraints(pattern=r"^\S{1,64}$")]
    host: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._:-]{1,253}$")]
    airflow: str = ""
    damaged: tuple[str, ...] = ()

    @property
    def actor(self) -> str:
        """Return who the records are by."""
        return f"{BY_HAND}{self.person or self.user}@{self.host}"

    @property
    def message(self) -> str:
        """Return who it was, from where and why, in a sentence."""
        who = f"{self.person} (user {self.user})" if self.person else f"the user {self.user}"
        return f"{who} took it in hand on {self.host}, outside Airflow: {self.reason}"

    def as_record(self) -> dict[str, Any]:
        """Return the data of the record ``landing.BROKEN_GLASS``."""
        return {**self.model_dump(mode="json"), "message": self.message}

    @classmethod
    def of_record(cls, data: Mapping[str, Any]) -> BrokenGlass:
        """Return what the *data* of such a record say.

        :raises ValidationError: it is none
        """
        return cls.model_validate({name: value for name, value in data.items() if name != "message"})


def to_bring_back(records: Sequence[Record], damaged: Sequence[str]) -> str:
    """Return why a person may end the release by hand; empty when there is nothing to bring back, or all traffic has
    been given to its new version and that is on record as baked.

    :param damaged: what is wrong with records that cannot be read
    """
    if newest(records, "baked") is not None or not (acted(records) or damaged):
        return ""
    return way_back_needed(records, damaged) or "it is back already, and not sealed"
