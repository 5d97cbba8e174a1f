"""What people read of the answers before theirs: whether each counts, who is missing, who may answer until when."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from airlock.change.answers import Given, answers_text
from airlock.change.text import without_marks
from airlock.models import ApprovalRule, Vote

NOW = datetime(2026, 11, 24, 9, tzinfo=UTC)
ENDS = NOW + timedelta(hours=48)
RULES = (ApprovalRule(group="board", quorum=2, members=("bert", "cleo", "olga")),)
PEOPLE = ("bert", "cleo", "olga")
SILENT = "bert rejected without a reason; say why, so that the requester can mend it"


def answer(person: str, choice: str = "approve", why: str = "", minutes: int = 0, **more: object) -> Given:
    return Given(Vote(person=person, choice=choice, at=NOW + timedelta(minutes=minutes), **more), why)


def shown(*answers: Given, people: tuple[str, ...] = PEOPLE) -> str:
    return without_marks(answers_text(RULES, "rita", answers, people, ENDS))


def test_the_first_to_be_asked_read_who_may_answer_and_until_when() -> None:
    text = shown()
    assert "Only these may answer, until Thu 26 Nov 2026 09:00 UTC: bert, cleo, olga." in text
    assert "Answers so far" not in text


def test_an_answer_that_does_not_count_says_so_and_why() -> None:
    text = shown(answer("bert", "reject", SILENT))
    assert f"bert, Tue 24 Nov 2026 09:00 UTC: reject. It does not count: {SILENT}." in text
    assert "Still missing: board lacks 2 of 2. Not answered yet: bert, cleo, olga." in text


def test_a_second_answer_of_one_person_fills_no_second_seat_under_any_name() -> None:
    text = shown(answer("bert"), answer("bert", minutes=1), people=(*PEOPLE, "Bert"))
    assert text.count("It fills a seat of board.") == text.count("A second answer fills no second seat") == 1
    assert "Still missing: board lacks 1 of 2. Not answered yet: cleo, olga." in text


def test_a_delegate_is_named_with_whom_they_stand_in_for() -> None:
    assert "dora, Tue 24 Nov 2026 09:00 UTC: approve. It fills a seat of board, for olga." in shown(
        answer("dora", stands_for=("olga",)))


def test_what_others_typed_does_nothing() -> None:
    text = answers_text(RULES, "rita", [answer("bert", "reject", "<img src=x> [a](b) **x**")], PEOPLE, ENDS)
    assert "<img" not in text and "](b" not in text and "**x**" not in text


answers_of = st.lists(
    st.builds(answer, st.sampled_from((*PEOPLE, "Bert", "stranger")), st.sampled_from(("approve", "reject")),
              st.sampled_from(("", SILENT)), st.integers(0, 99)), max_size=20)


@given(before=answers_of, more=answers_of.filter(bool))
def test_every_answer_changes_what_is_shown(before: list[Given], more: list[Given]) -> None:
    """Else an answer that was counted could not be told from one that was not."""
    one, two = ([*before], [*before, *more])
    assert answers_text(RULES, "rita", one, PEOPLE, ENDS) != answers_text(RULES, "rita", two, PEOPLE, ENDS)
