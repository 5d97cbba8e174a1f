"""A canary's next move, by table and by property."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airlock.deploy.strategy import CanaryProgress, Move, after_look, begin_step, look_policy
from airlock.models import AnalysisPolicy, Answer, Rollout, RolloutStep, Verdict

NOW = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)
ROLLOUT = Rollout(steps=tuple(RolloutStep(percent=p, observe_seconds=10) for p in (5, 25, 50)))
POLICY = AnalysisPolicy(extend_looks=2, hold_looks=1)


def verdict(answer: Answer) -> Verdict:
    return Verdict(answer=answer, sentence=f"said {answer}")


def started(step: int = 0) -> CanaryProgress:
    return begin_step(CanaryProgress(step=step), {"mark": 1}, NOW)


@pytest.mark.parametrize(
    ("answer", "seconds", "step", "move"),
    [
        (Answer.FAIL, 1, 0, Move.ROLL_BACK),
        (Answer.PASS, 1, 0, Move.OBSERVE),
        (Answer.PASS, 10, 0, Move.NEXT_STEP),
        (Answer.PASS, 10, 2, Move.PASS),
        (Answer.INCONCLUSIVE, 10, 0, Move.OBSERVE),
        (Answer.ERROR, 1, 0, Move.OBSERVE),
    ],
)
def test_move(answer: Answer, seconds: int, step: int, move: Move) -> None:
    assert after_look(ROLLOUT, POLICY, started(step), verdict(answer), NOW + timedelta(seconds=seconds)).move is move


def test_next_step_begins_unshifted_so_that_a_retry_shifts_it() -> None:
    progress = after_look(ROLLOUT, POLICY, started(), verdict(Answer.PASS), NOW + timedelta(seconds=11)).progress
    assert (progress.step, progress.shifted_at, progress.mark) == (1, None, {})


def test_no_data_extends_then_holds_then_rolls_back() -> None:
    progress, moves = started(), []
    for look in range(4):
        moment = NOW + timedelta(seconds=20 + look)
        decision = after_look(ROLLOUT, POLICY, progress, verdict(Answer.INCONCLUSIVE), moment)
        moves.append(decision.move)
        progress = decision.progress
    assert moves == [Move.OBSERVE, Move.OBSERVE, Move.HOLD, Move.ROLL_BACK]
    assert "never a pass" in decision.why


@given(st.lists(st.sampled_from([Answer.INCONCLUSIVE, Answer.ERROR]), min_size=4, max_size=12))
def test_no_sequence_without_a_pass_is_ever_promoted(answers: list[Answer]) -> None:
    progress = started(2)
    for number, answer in enumerate(answers):
        decision = after_look(ROLLOUT, POLICY, progress, verdict(answer), NOW + timedelta(seconds=60 + number))
        assert decision.move is not Move.PASS
        if decision.move is Move.ROLL_BACK:
            return
        progress = decision.progress
    pytest.fail("the canary was neither passed nor rolled back")


def test_looking_before_shifting_is_a_bug() -> None:
    with pytest.raises(ValueError, match="after its traffic was shifted"):
        after_look(ROLLOUT, POLICY, CanaryProgress(), verdict(Answer.PASS), NOW)


def test_chance_of_a_false_alarm_is_shared_out_over_the_steps() -> None:
    assert look_policy(ROLLOUT, POLICY).alpha == pytest.approx(POLICY.alpha / 3)
