"""Verdicts of several checks together: the gravest one is theirs, and none is no pass."""

from __future__ import annotations

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from airlock.deploy.check import together
from airlock.models import Answer, Verdict

VERDICTS = st.lists(st.builds(Verdict, answer=st.sampled_from(Answer), sentence=st.text(max_size=5)), max_size=6)


@given(VERDICTS)
def test_they_pass_only_where_each_passes_and_there_is_one(verdicts: list[Verdict]) -> None:
    found = together(verdicts)
    assert (found.answer is Answer.PASS) == (bool(verdicts) and all(one.answer is Answer.PASS for one in verdicts))
    assert (found.answer is Answer.FAIL) == any(one.answer is Answer.FAIL for one in verdicts)


@given(VERDICTS)
def test_the_sentences_are_those_of_the_gravest(verdicts: list[Verdict]) -> None:
    found = together(verdicts)
    for one in verdicts:
        assert one.answer is not found.answer or one.sentence.rstrip(".") in found.sentence


@given(VERDICTS, st.randoms(use_true_random=False))
def test_their_order_does_not_matter(verdicts: list[Verdict], random: Random) -> None:
    shuffled = list(verdicts)
    random.shuffle(shuffled)
    assert together(shuffled).answer is together(verdicts).answer


def test_nothing_that_was_checked_is_inconclusive() -> None:
    assert together([]).answer is Answer.INCONCLUSIVE
