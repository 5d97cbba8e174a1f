"""The contract of every check: does a version do what it should? Knows no target, no release and no Airflow task.

A check looks (``look``), and judges what it saw (``judge``); the two are apart so that the verdict can be made again
from the record years later. ``look`` changes nothing in the world, waits no longer than its time limit, and does not
try again: the caller does. What it returns holds no row, no body and no secret, only what the verdict needs: it is kept
in the evidence as it is.

The verdicts: ``pass``; ``fail``: it is not as it should be; ``inconclusive``: there was nothing to judge; ``error``:
nobody knows, because the check could not be carried out. Only ``pass`` is a pass. ``look`` raises ``TemporaryError``
and ``PermanentError`` for what keeps it from looking; ``run`` makes verdicts of both.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from pydantic import ValidationError

from airlock import registry
from airlock.errors import AirlockError, EvidenceInvalid, PermanentError
from airlock.models import Answer, CheckResult, Frozen, PlannedCheck, Verdict
from airlock.models.needs import Needs
from airlock.options import Options, validated

_GRAVEST_FIRST = (Answer.FAIL, Answer.ERROR, Answer.INCONCLUSIVE, Answer.PASS)


@dataclass(frozen=True)
class Subject:
    """The version under test, and the address of its own backend (``http://host:port``), past any traffic split; empty
    where the target names none."""

    version: str
    address: str = ""


class Check(ABC):
    """One question about a version."""

    Options: ClassVar[type[Options]]
    Found: ClassVar[type[Frozen]]
    needs: ClassVar[Needs]

    def __init__(self, options: Mapping[str, Any]) -> None:
        """Validate the options.

        :raises InvalidInput: an option is missing, unknown or of the wrong type
        """
        self.options = validated(self.Options, options, f"check {type(self).__name__}")

    @property
    @abstractmethod
    def label(self) -> str:
        """Return what is checked, in a few words, for people."""

    def basis(self) -> dict[str, Any]:
        """Return what decides beside the options, as JSON data: it becomes part of the plan.

        :raises InvalidInput: it cannot be read here, or does not allow the check
        """
        return {}

    @abstractmethod
    def look(self, subject: Subject) -> Frozen:
        """Return what is to be seen of *subject* now, as ``Found``.

        :raises AirlockError: it cannot be looked at
        """

    @abstractmethod
    def judge(self, found: Any) -> Verdict:
        """Return the verdict on *found* (``Found``), by the options alone. Pure."""

    def run(self, subject: Subject, planned: PlannedCheck) -> CheckResult:
        """Look and judge, if everything that decides is still as it was *planned*. Raises nothing of Airlock."""
        try:
            if self.basis() != planned.basis:
                raise PermanentError(f"{self.label}: what decides about this check has changed since it was approved; "
                                     "put it back, or ask for approval again")
            found = self.look(subject)
        except AirlockError as error:
            return CheckResult(name=planned.name, found=None, verdict=Verdict(answer=Answer.ERROR, sentence=str(error)))
        return CheckResult(name=planned.name, found=found.model_dump(mode="json"), verdict=self.judge(found))


def open_check(planned: PlannedCheck) -> Check:
    """Return the check that *planned* names.

    :raises UnknownName: no such check is registered
    :raises InvalidInput: its options are wrong
    """
    check: Check = registry.resolve(registry.CHECKS, "check", planned.name)(planned.options)
    return check


def judged_again(planned: PlannedCheck, result: CheckResult) -> Verdict:
    """Return the verdict that what is on record gives; a check that found nothing has only its own word for why.

    :raises EvidenceInvalid: the record is of another check, or holds something that this check never finds
    """
    if result.name != planned.name:
        raise EvidenceInvalid(f"the result is of a check {result.name!r}, the plan has {planned.name!r} there")
    if result.found is None:
        if result.verdict.answer is not Answer.ERROR:
            raise EvidenceInvalid(f"the check {result.name!r} found nothing, which can only be an error")
        return result.verdict
    check = open_check(planned)
    try:
        return check.judge(check.Found.model_validate(result.found))
    except ValidationError as error:
        raise EvidenceInvalid(f"what the check {result.name!r} found is nothing that it can find: "
                              f"{error.errors()[0]['msg']}") from None


def together(verdicts: Sequence[Verdict]) -> Verdict:
    """Return the gravest of *verdicts*, with the sentences of all that are as grave. Of none: inconclusive."""
    if not verdicts:
        return Verdict(answer=Answer.INCONCLUSIVE, sentence="nothing was checked")
    answer = next(one for one in _GRAVEST_FIRST if any(verdict.answer is one for verdict in verdicts))
    said = dict.fromkeys(verdict.sentence.rstrip(".") for verdict in verdicts if verdict.answer is answer)
    numbers = {name: value for verdict in verdicts for name, value in verdict.numbers.items()}
    return Verdict(answer=answer, sentence="; ".join(said), numbers=numbers)
