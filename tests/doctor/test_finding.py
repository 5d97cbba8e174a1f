"""What findings mean together, and what may stand in them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airlock.doctor.finding import FAULTY, WARNED, Finding, Gravity, Report, Subject, by_area

SUBJECT = Subject("keys", "signing key")


def report(*gravities: Gravity) -> Report:
    return Report(findings=tuple(SUBJECT.found(one, one.value) for one in gravities))


@pytest.mark.parametrize(("gravities", "code"), [
    ((), 0),
    ((Gravity.FINE, Gravity.NOTE, Gravity.NOT_ASKED), 0),
    ((Gravity.WARNING, Gravity.FINE), WARNED),
    ((Gravity.FINE, Gravity.FAULT, Gravity.WARNING), FAULTY),
])  # fmt: skip
def test_the_exit_code_is_that_of_the_gravest(gravities: tuple[Gravity, ...], code: int) -> None:
    assert report(*gravities).exit_code == code
    # 1 and 2 say that doctor itself failed, or was asked wrongly
    assert report(*gravities).exit_code not in (1, 2)


def test_warnings_alone_are_not_called_a_failure() -> None:
    assert report(Gravity.WARNING).sentence.startswith("a release would run")
    assert report(Gravity.FAULT).sentence.startswith("a release would fail: 1 fault(s)")
    assert "2 not asked" in report(Gravity.NOT_ASKED, Gravity.NOT_ASKED).sentence


def test_what_was_not_asked_is_never_called_well() -> None:
    assert report(Gravity.FINE).sentence.startswith("nothing stands in the way of a release")
    for some in ((Gravity.NOT_ASKED,), (Gravity.FINE, Gravity.NOT_ASKED), (Gravity.NOTE, Gravity.NOT_ASKED)):
        assert report(*some).sentence.startswith("nothing that could be asked stands in the way of a release")
    assert report().sentence.startswith("nothing was asked")


@given(st.text())
def test_words_of_others_stay_on_one_line_and_are_bounded(words: str) -> None:
    said = SUBJECT.fault(words, words, words)
    for text in (said.what, said.why, said.mend):
        assert len(text) <= 600
        assert not any(ord(character) < 32 or ord(character) == 127 for character in text)


def test_the_gravest_of_an_area_comes_first() -> None:
    found = [SUBJECT.fine("a"), Subject("places", "x").fine("b"), SUBJECT.fault("c", "", "")]
    assert [[one.what for one in held] for held in by_area(found).values()] == [["c", "a"], ["b"]]


def test_findings_survive_json() -> None:
    whole = report(*Gravity)
    assert Report.model_validate_json(whole.model_dump_json()) == whole
    assert all(isinstance(one, Finding) for one in whole.findings)
