"""A canary's next move, by table and by property: no data is never a pass, and whatever looks bring, it ends."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airlock.analysis.judge import judge, unavailable
from airlock.deploy.progress import (
    CanaryProgress,
    Decision,
    Look,
    Move,
    after_bake_look,
    after_look,
    counting,
    look_policy,
    most_looks,
    shifted,
)
from airlock.deploy.watching import compared
from airlock.errors import CountsLost
from airlock.models import AnalysisPolicy, Answer, ArmSample, Rollout, RolloutStep, Sample, Verdict

NOW = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)
ROLLOUT = Rollout(steps=tuple(RolloutStep(percent=p, observe_seconds=10) for p in (5, 25, 50)), bake_seconds=10)
POLICY = AnalysisPolicy(
    look_every_seconds=5, silent_looks=1, extend_looks=2, hold_looks=2, hold_every_seconds=60, new_beginnings=1
)


def at(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def started(step: int = 0) -> CanaryProgress:
    return counting(shifted(CanaryProgress(step=step), NOW), {"mark": 1}, NOW)


def sample(canary: int, stable: int = 1000, *, ready: bool = True, share: float = 0.5) -> Sample:
    arms = {
        name: ArmSample(version=version, requests=count, errors=0, latency_p95_ms=5, ready=ready or name == "stable")
        for name, version, count in (("stable", "1.0", stable), ("canary", "1.1", canary))
    }
    return Sample(at=NOW, canary_share=share, **arms)


def look(progress: CanaryProgress, seconds: float, found: Sample | None) -> Look:
    """What the flow makes of a sample, or of none."""
    if found is None or progress.watch is None:
        return Look(at=at(seconds), verdict=unavailable("the source is silent"))
    try:
        seen = compared(progress.watch, found.model_copy(update={"at": at(seconds)}))
    except CountsLost as error:
        return Look(at=at(seconds), verdict=unavailable(str(error)), lost=True)
    return Look(at=at(seconds), verdict=judge(POLICY, seen), sample=seen)


def walk(samples: list[Sample | None], every: float = 5, progress: CanaryProgress | None = None) -> list[Decision]:
    """The decisions about *samples*, one every *every* seconds, until one of them ends or leaves the step."""
    progress, decisions = progress or started(), []
    for number, found in enumerate(samples, 1):
        decisions.append(after_look(ROLLOUT, POLICY, progress, look(progress, number * every, found)))
        progress = decisions[-1].progress
        if decisions[-1].move not in (Move.OBSERVE, Move.HOLD):
            break
    return decisions


def moves(samples: list[Sample | None], every: float = 5) -> list[Move]:
    return [decision.move for decision in walk(samples, every)]


OBSERVE, HOLD, NEXT, BACK = Move.OBSERVE, Move.HOLD, Move.NEXT_STEP, Move.ROLL_BACK


@pytest.mark.parametrize(
    ("samples", "expected"),
    [
        pytest.param([sample(60, 1000), sample(120, 2000)], [OBSERVE, NEXT], id="good data for its time"),
        pytest.param([None] * 9, [OBSERVE] * 2 + [HOLD] * 2 + [BACK], id="metrics that never answer"),
        pytest.param([sample(0, 0)] * 9, [OBSERVE] * 3 + [HOLD] * 2 + [BACK], id="no traffic at all"),
        pytest.param(
            [sample(90, 1000)] * 9, [OBSERVE] * 4 + [HOLD] * 2 + [BACK], id="traffic stops, or numbers are repeated"
        ),
        pytest.param(
            [sample(90 * n, 1000) for n in range(1, 10)], [OBSERVE] * 4 + [HOLD] * 2 + [BACK], id="only the canary"
        ),
        pytest.param(
            [sample(0, 1000 * n) for n in range(1, 10)], [OBSERVE] * 3 + [HOLD] * 2 + [BACK], id="only the stable one"
        ),
        pytest.param(
            [sample(90 * n, 1000 * n, ready=False) for n in range(1, 10)],
            [OBSERVE] * 2 + [HOLD] * 2 + [BACK],
            id="never healthy",
        ),
        pytest.param(
            [sample(90 * n, 1000 * n, ready=n % 2 == 0) for n in range(1, 10)],
            [OBSERVE] * 3 + [NEXT],
            id="flapping: only healthy looks are credited",
        ),
        pytest.param(
            [None, None, None, sample(90, 1000), sample(180, 2000)],
            [OBSERVE, OBSERVE, HOLD, OBSERVE, NEXT],
            id="data return while held",
        ),
        pytest.param([sample(90, 900), sample(20, 1000)], [OBSERVE, Move.BEGIN_AGAIN], id="a counter went backwards"),
        pytest.param(
            [sample(10 * n, 1000 * n) for n in range(1, 10)],
            [OBSERVE] * 3 + [HOLD, NEXT],
            id="too few requests in its time, enough while held",
        ),
    ],
)
def test_what_looks_lead_to(samples: list[Sample | None], expected: list[Move]) -> None:
    assert moves(samples) == expected


def test_waits_are_the_policys_and_sentences_say_what_is_missing() -> None:
    decisions = walk([sample(40, 500)] * 9)
    waits = [decision.wait_seconds for decision in decisions]
    assert waits == [5, 5, 5, 5, 60, 60, 0]
    assert "extended (1 of 2 looks)" in decisions[2].why
    assert "1.1 has answered no new request since 12:00:05 UTC, 2 looks in a row (1 are borne)" in decisions[2].why
    assert "40 of at least 50 requests since 12:00:00 UTC" in decisions[2].why
    assert "held at its share of traffic, for 120 s more at most" in decisions[4].why
    assert "for 60 s more" in decisions[5].why
    assert "never a pass" in decisions[6].why


def test_a_failure_rolls_back_at_once_also_while_held() -> None:
    fail = Verdict(answer=Answer.FAIL, sentence="it fails")
    for progress in (started(), started().model_copy(update={"unanswered": 2, "held": 1})):
        decision = after_look(ROLLOUT, POLICY, progress, Look(at=at(1), verdict=fail))
        assert (decision.move, decision.why) == (Move.ROLL_BACK, "it fails")


def test_the_next_step_begins_unshifted_so_that_a_retry_shifts_it() -> None:
    last = walk([sample(60, 1000), sample(120, 2000)])[-1]
    assert last.progress == CanaryProgress(step=1)
    passed = walk([sample(60, 1000), sample(120, 2000)], progress=started(2))[-1]
    assert passed.move is Move.PASS


def test_a_new_beginning_forgets_counts_but_not_patience_and_there_are_few() -> None:
    progress = started().model_copy(update={"unanswered": 1, "held": 1})
    decision = walk([sample(90, 900), sample(20, 1000)], progress=progress)[-1]
    again = decision.progress
    assert (again.shifted_at, again.watch, again.mark, again.beginnings) == (None, None, {}, 1)
    assert (again.unanswered, again.held, again.looks) == (1, 1, 2)
    assert "1.1 has 20 requests where the look before saw 90" in decision.why
    restarted = counting(shifted(again, at(20)), {"mark": 2}, at(20))
    last = walk([sample(90, 900), sample(20, 1000)], progress=restarted)[-1]
    assert last.move is Move.ROLL_BACK
    assert "lost 2 times" in last.why


@pytest.mark.parametrize("jump", [3600.0, -3600.0, 86400.0 * 365, 0.0])
def test_a_jump_of_the_clock_earns_no_watching_time(jump: float) -> None:
    """One look after the jump is worth one look interval at most: as much as any look."""
    patient = POLICY.model_copy(update={"silent_looks": 3})
    decision = after_look(ROLLOUT, patient, started(), look(started(), jump, sample(500, 500)))
    assert decision.move is Move.OBSERVE
    assert decision.progress.watch is not None
    assert decision.progress.watch.seconds == (5 if jump > 0 else 0)


def test_a_clock_that_stands_still_or_runs_back_ends_in_a_rollback() -> None:
    limit = most_looks(POLICY, 10)
    for every in (0.0, -3600.0):
        found = moves([sample(90 * n, 900 * n) for n in range(1, 100)], every)
        assert found == [Move.OBSERVE] * (limit - 1) + [Move.ROLL_BACK]


def test_a_step_that_cannot_be_begun_is_extended_held_and_rolled_back() -> None:
    progress, found = CanaryProgress(), []
    while Move.ROLL_BACK not in found:
        decision = after_look(ROLLOUT, POLICY, progress, Look(at=NOW, verdict=unavailable("not healthy")))
        found.append(decision.move)
        progress = decision.progress
    assert found == [OBSERVE] * 2 + [HOLD] * 2 + [BACK]


def test_a_sample_before_counting_began_is_a_bug() -> None:
    odd = Look(at=NOW, verdict=Verdict(answer=Answer.PASS, sentence=""), sample=sample(99))
    with pytest.raises(ValueError, match="counting never began"):
        after_look(ROLLOUT, POLICY, CanaryProgress(), odd)
    with pytest.raises(ValueError, match="counting never began"):
        after_bake_look(ROLLOUT, POLICY, CanaryProgress(), odd)


def test_the_bake_follows_the_same_rules_with_all_traffic_on_one_version() -> None:
    for flow, expected in ((0, Move.ROLL_BACK), (90, Move.PASS)):
        progress, decision = started(), None
        for number in range(1, 10):
            found = sample(90 + flow * number, 0, share=1.0)
            decision = after_bake_look(ROLLOUT, POLICY, progress, look(progress, 5 * number, found))
            progress = decision.progress
            if decision.move in (Move.PASS, Move.ROLL_BACK):
                break
        assert decision is not None
        assert decision.move is expected


def test_chance_of_a_false_alarm_is_shared_out_over_the_steps_and_the_bake() -> None:
    assert look_policy(ROLLOUT, POLICY).alpha == pytest.approx(POLICY.alpha / 4)


# What a hostile source and a hostile clock can do between two looks: seconds, new requests of both arms, and whether
# the source answers, the version is healthy, the counters were reset.
EVENTS = st.tuples(
    st.sampled_from([5.0, 5.0, 5.0, 0.0, 2.5, -3600.0, 3600.0]),
    st.sampled_from([0, 0, 1, 30, 5000]),
    st.sampled_from([0, 0, 1, 300]),
    st.sampled_from(["answers", "answers", "answers", "silent", "unhealthy", "reset"]),
)


class World:
    """Plays *events* against the rules as the flow does, and keeps what really happened."""

    def __init__(self, policy: AnalysisPolicy) -> None:
        self.policy = policy
        self.progress = CanaryProgress()
        self.moment, self.canary, self.stable = 0.0, 0, 0
        self.looks, self.good_looks, self.seen = 0, 0, (0, 0)
        self.percents: list[int] = []

    def turn(self, event: tuple[float, int, int, str]) -> Move:
        elapsed, canary, stable, happens = event
        self.moment += elapsed
        if self.progress.shifted_at is None:
            self.percents.append(ROLLOUT.steps[self.progress.step].percent)
            self.progress = counting(shifted(self.progress, at(self.moment)), {"mark": 1}, at(self.moment))
            self.canary = self.stable = self.good_looks = 0
            self.seen = (0, 0)
            return Move.OBSERVE
        self.looks += 1
        if happens == "reset":
            self.canary = self.stable = 0
        self.canary, self.stable = self.canary + canary, self.stable + stable
        healthy = happens in ("answers", "reset")
        if happens != "silent":
            # New to whoever looks: requests that came while the source was silent are new at the look after.
            new = self.canary > self.seen[0] and self.stable > self.seen[1]
            self.good_looks += healthy and new
            self.seen = (self.canary, self.stable)
        found = None if happens == "silent" else sample(self.canary, self.stable, ready=healthy)
        seen = look(self.progress, self.moment, found)
        decision = after_look(ROLLOUT, self.policy, self.progress, seen)
        self.progress = decision.progress
        return decision.move


@given(st.lists(EVENTS, min_size=1, max_size=12), st.integers(0, 2), st.integers(0, 2))
def test_every_sequence_of_looks_ends_and_passes_only_after_enough_healthy_data(
    events: list[tuple[float, int, int, str]], extend: int, hold: int
) -> None:
    policy = POLICY.model_copy(update={"extend_looks": extend, "hold_looks": hold})
    world, passed = World(policy), 0
    limit = len(ROLLOUT.steps) * (most_looks(policy, 10) + 1)
    for turn in range(20 * limit):
        move = world.turn(events[turn % len(events)])
        if move in (Move.NEXT_STEP, Move.PASS):
            passed += 1
            # 10 s of data need two looks of 5 s that brought new requests of both arms, and 50 requests.
            assert world.good_looks >= 2
            assert world.seen[0] >= policy.minimum_requests
        if move in (Move.PASS, Move.ROLL_BACK):
            break
    else:
        pytest.fail("the canary was neither passed nor rolled back")
    assert world.looks <= limit
    assert world.percents == sorted(world.percents), "weights only grow"
    assert (move is Move.PASS) == (passed == len(ROLLOUT.steps))


@given(st.lists(st.sampled_from([None, sample(0), sample(500, ready=False), sample(500, 0)]), min_size=1, max_size=20))
def test_no_sequence_without_healthy_data_of_both_arms_ever_passes(samples: list[Sample | None]) -> None:
    found = moves(samples * 30)
    assert found[-1] in (Move.ROLL_BACK, Move.BEGIN_AGAIN)
