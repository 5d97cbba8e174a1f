"""What every check must do. A check's test derives from ``CheckContract`` and gives ``name`` and ``cases``, on real
servers and programs: what passes, what fails, what nobody answers, and what never comes to an end."""

from __future__ import annotations

import json
import logging
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any

import pytest

from airlock import registry
from airlock.deploy.check import Check, Subject, judged_again, open_check
from airlock.errors import EvidenceInvalid, InvalidInput
from airlock.models import Answer, CheckResult, PlannedCheck

SECRET = "ida.example@customers.test"
"""Stands in what each check looks at, and may be nowhere in what it says or keeps."""


@dataclass(frozen=True)
class Case:
    """Options, and what is looked at."""

    options: dict[str, Any]
    subject: Subject = field(default_factory=lambda: Subject("1.1"))


@dataclass(frozen=True)
class Cases:
    """``away``: nobody is there to answer. ``silent``: somebody is there, and never comes to an end."""

    good: Case
    bad: Case
    away: Case
    silent: Case


def planned(name: str, options: dict[str, Any]) -> PlannedCheck:
    """Return the check as a plan has it: every default written out, and what decides beside the options."""
    check = open_check(PlannedCheck(name=name, options=options))
    return PlannedCheck(name=name, options=check.options.model_dump(mode="json"), basis=check.basis())


def run(name: str, case: Case) -> CheckResult:
    """Carry out the check of *case*, and make its verdict again from what is kept, as years later."""
    plan = planned(name, case.options)
    result = open_check(plan).run(case.subject, plan)
    kept = CheckResult.model_validate(json.loads(result.model_dump_json()))
    assert judged_again(plan, kept) == result.verdict
    return result


class CheckContract(ABC):
    """See the module."""

    name: str

    @pytest.fixture
    @abstractmethod
    def cases(self) -> Cases: ...

    def open(self, options: dict[str, Any]) -> Check:
        return open_check(PlannedCheck(name=self.name, options=options))

    def test_it_is_registered_under_its_name(self, cases: Cases) -> None:
        assert type(self.open(cases.good.options)) is registry.resolve(registry.CHECKS, "check", self.name)

    def test_unknown_options_stop(self, cases: Cases) -> None:
        with pytest.raises(InvalidInput, match="colour"):
            self.open({**cases.good.options, "colour": "blue"})

    def test_what_is_as_it_should_be_passes(self, cases: Cases) -> None:
        result = run(self.name, cases.good)
        assert result.verdict.answer is Answer.PASS
        assert result.verdict.sentence
        assert result.found is not None

    def test_what_is_not_as_it_should_be_fails(self, cases: Cases) -> None:
        assert run(self.name, cases.bad).verdict.answer is Answer.FAIL

    def test_where_nobody_answers_it_is_an_error(self, cases: Cases) -> None:
        assert run(self.name, cases.away).verdict.answer is Answer.ERROR

    def test_what_never_ends_is_ended_and_is_no_pass(self, cases: Cases) -> None:
        assert run(self.name, cases.silent).verdict.answer in (Answer.FAIL, Answer.ERROR)

    def test_looking_again_changes_nothing(self, cases: Cases) -> None:
        for case in (cases.good, cases.bad, cases.good):
            first, second = run(self.name, case), run(self.name, case)
            assert first.verdict == second.verdict

    def test_nothing_of_what_it_sees_is_said_or_kept(self, cases: Cases, caplog: pytest.LogCaptureFixture) -> None:
        with caplog.at_level(logging.DEBUG):
            results = [run(self.name, case) for case in (cases.good, cases.bad, cases.silent)]
        for said in (*(result.model_dump_json() for result in results), caplog.text):
            assert SECRET not in said

    def test_what_decides_beside_the_options_may_not_change_after_approval(self, cases: Cases) -> None:
        plan = planned(self.name, cases.good.options)
        other = plan.model_copy(update={"basis": {**plan.basis, "other": "than approved"}})
        result = open_check(other).run(cases.good.subject, other)
        assert (result.verdict.answer, result.found) == (Answer.ERROR, None)
        assert "changed since it was approved" in result.verdict.sentence

    def test_a_plan_holds_every_option(self, cases: Cases) -> None:
        plan = planned(self.name, cases.good.options)
        check = open_check(plan)
        assert check.options == self.open(cases.good.options).options
        assert plan.options.keys() == type(check.options).model_fields.keys()

    def test_its_label_is_one_line(self, cases: Cases) -> None:
        label = self.open(cases.good.options).label
        assert label
        assert "\n" not in label
        assert SECRET not in label

    def test_no_pass_can_be_written_for_it(self, cases: Cases) -> None:
        plan, good = planned(self.name, cases.good.options), run(self.name, cases.good)
        with pytest.raises(EvidenceInvalid, match="can only be an error"):
            judged_again(plan, good.model_copy(update={"found": None}))
        with pytest.raises(EvidenceInvalid, match="nothing that it can find"):
            judged_again(plan, good.model_copy(update={"found": {"colour": "blue"}}))
        with pytest.raises(EvidenceInvalid, match="is of a check 'other'"):
            judged_again(plan, good.model_copy(update={"name": "other"}))
        bad = run(self.name, cases.bad)
        lying = bad.model_copy(update={"verdict": good.verdict})
        assert judged_again(planned(self.name, cases.bad.options), lying).answer is Answer.FAIL
