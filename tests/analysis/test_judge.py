from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any

import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from airlock.analysis.judge import judge, unavailable, undecided
from airlock.models import AnalysisPolicy, Answer, ArmSample, Sample, Verdict

POLICY = AnalysisPolicy()
NOW = datetime(2026, 1, 1, tzinfo=UTC)
BOUNDS = (5.0, 10.0, 50.0, 100.0, 200.0, 400.0)


def arm(version: str, requests: int, errors: int, milliseconds: float | None = 8.0) -> ArmSample:
    if milliseconds is None:
        return ArmSample(version=version, requests=requests, errors=errors)
    buckets = tuple((bound, requests if bound >= milliseconds else 0) for bound in BOUNDS)
    return ArmSample(
        version=version, requests=requests, errors=errors, latency_p50_ms=milliseconds, latency_p95_ms=milliseconds,
        latency_buckets=buckets,
    )  # fmt: skip


def sample(stable: ArmSample, canary: ArmSample, share: float = 0.05) -> Sample:
    return Sample(at=NOW, canary_share=share, stable=stable, canary=canary)


def ask(canary: tuple[int, int], stable: tuple[int, int] = (2000, 0), share: float = 0.05, **policy: Any) -> Verdict:
    return judge(POLICY.model_copy(update=policy), sample(arm("1.0", *stable), arm("1.2", *canary), share))


def test_a_healthy_canary_passes_and_the_sentence_has_the_numbers() -> None:
    verdict = ask((100, 0))
    assert verdict.answer is Answer.PASS
    assert "1.2: 0 errors in 100 requests" in verdict.sentence
    assert "at most 8." in verdict.sentence
    assert verdict.numbers["canary"]["requests"] == 100


@pytest.mark.parametrize(("canary", "share"), [((60, 3), 0.05), ((200, 10), 0.25), ((400, 20), 0.5)])
def test_errors_that_only_the_canary_has_fail_it(canary: tuple[int, int], share: float) -> None:
    verdict = ask(canary, (int(canary[0] * (1 - share) / share), 0), share)
    assert verdict.answer is Answer.FAIL
    assert f"{canary[1]} errors in {canary[0]} requests" in verdict.sentence


def test_proof_does_not_wait_for_the_minimum() -> None:
    assert ask((20, 20), (380, 0)).answer is Answer.FAIL


def test_the_same_error_rate_in_both_arms_is_no_fault_of_the_canary() -> None:
    assert ask((400, 8), (7600, 152)).answer is Answer.PASS


def test_a_ceiling_is_a_ceiling_also_when_the_stable_version_is_as_bad() -> None:
    verdict = ask((1000, 150), (1000, 150), share=0.5)
    assert verdict.answer is Answer.FAIL
    assert "5.0% allowed" in verdict.sentence


def test_one_error_in_few_requests_is_neither_proof_nor_a_pass() -> None:
    verdict = ask((10, 1), (190, 0))
    assert verdict.answer is Answer.INCONCLUSIVE
    assert "10 of at least 50" in verdict.sentence


def test_two_errors_that_only_the_canary_has_are_too_much_to_pass_and_too_little_to_fail() -> None:
    verdict = ask((300, 2), (5700, 0))
    assert verdict.answer is Answer.INCONCLUSIVE
    assert "too much to pass" in verdict.sentence


@pytest.mark.parametrize(
    ("stable", "canary", "says"),
    [
        (arm("1.0", 0, 0), arm("1.2", 0, 0), "0 of at least 50"),
        (arm("1.0", 2000, 0), arm("1.2", 0, 0), "0 of at least 50"),
        (arm("1.0", 0, 0), arm("1.2", 60, 0), "no request"),
        (arm("1.0", 2000, 0), arm("1.2", 60, 0, None), "latency of 1.2 is unknown"),
        (arm("1.0", 2000, 0, None), arm("1.2", 60, 0, 90.0), "latency of 1.0 is unknown"),
    ],
)
def test_missing_data_never_pass(stable: ArmSample, canary: ArmSample, says: str) -> None:
    found = judge(POLICY, sample(stable, canary))
    assert found.answer is Answer.INCONCLUSIVE
    assert says in found.sentence


NOT_NUMBERS = [math.nan, math.inf, -math.inf, -1, -0.5, "many", "NaN", None, [], 10**400, 10**13]


@pytest.mark.parametrize("wrong", NOT_NUMBERS)
@pytest.mark.parametrize("field", ["requests", "errors", "latency_p95_ms", "latency_p50_ms", "bound", "count"])
@pytest.mark.parametrize("side", ["stable", "canary"])
def test_what_is_no_number_is_refused_at_the_boundary(side: str, field: str, wrong: object) -> None:
    plain = sample(arm("1.0", 2000, 0), arm("1.2", 100, 0)).model_dump()
    if field in ("bound", "count"):
        plain[side]["latency_buckets"] = [(wrong, 1) if field == "bound" else (1.0, wrong)]
        optional = field == "bound" and wrong in (10**13,)
    else:
        plain[side][field] = wrong
        optional = field.startswith("latency") and wrong in (None, 10**13)
    if not optional:
        with pytest.raises(ValidationError):
            Sample.model_validate(plain)
        return
    assert judge(POLICY, Sample.model_validate(plain)).answer is not Answer.FAIL


@pytest.mark.parametrize("share", [0.0, -1.0, 1.5, math.nan, math.inf])
def test_counts_that_contradict_themselves_are_refused_at_the_boundary(share: float) -> None:
    with pytest.raises(ValidationError):
        sample(arm("1.0", 1, 0), arm("1.2", 1, 0), share)
    with pytest.raises(ValidationError, match="11 errors in 10 requests"):
        arm("1.2", 10, 11)
    for buckets in (((1.0, 5), (2.0, 4)), ((2.0, 1), (1.0, 2)), ((1.0, 1), (1.0, 2))):
        with pytest.raises(ValidationError, match="histogram of 1.2 falls"):
            ArmSample(version="1.2", requests=9, errors=0, latency_buckets=buckets)


@given(st.floats(), st.floats(), st.floats(), st.integers(), st.integers(), st.floats())
def test_no_number_whatever_passes_without_enough_requests(
    p50: float, p95: float, bound: float, requests: int, errors: int, share: float
) -> None:
    """NaN, infinities, negative and huge numbers: refused, or never a pass below the minimum."""
    bad = {"version": "1.2", "requests": requests, "errors": errors, "latency_p50_ms": p50, "latency_p95_ms": p95}
    try:
        canary = ArmSample(**bad, latency_buckets=((bound, requests),))
        found = sample(arm("1.0", 2000, 0), canary, share)
    except ValidationError:
        return
    verdict = judge(POLICY, found)
    assert all(math.isfinite(value) for value in verdict.numbers["evidence"].values())
    if verdict.answer is Answer.PASS:
        assert requests >= POLICY.minimum_requests
        assert errors <= POLICY.max_error_rate * requests
        assert math.isfinite(bound)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"ready": False}, "1.2 does not call itself healthy"),
        ({"silent_looks": 4, "newest_at": NOW}, "1.2 has answered no new request since 00:00:00 UTC, 4 looks in a row"),
        ({"silent_looks": 4}, "1.2 has answered no request at all"),
    ],
)
def test_a_canary_that_is_silent_or_not_healthy_does_not_pass(changes: dict[str, Any], says: str) -> None:
    canary = arm("1.2", 100, 0).model_copy(update=changes)
    for share in (0.05, 1.0):
        verdict = judge(POLICY, sample(arm("1.0", 2000, 0), canary, share))
        assert verdict.answer is Answer.INCONCLUSIVE
        assert says in verdict.sentence
    failing = arm("1.2", 100, 50).model_copy(update=changes)
    assert judge(POLICY, sample(arm("1.0", 2000, 0), failing)).answer is Answer.FAIL


def test_a_silent_stable_version_is_no_comparison_but_does_not_matter_without_traffic() -> None:
    stable = arm("1.0", 2000, 0).model_copy(update={"silent_looks": 4, "newest_at": NOW})
    verdict = judge(POLICY, sample(stable, arm("1.2", 100, 0)))
    assert verdict.answer is Answer.INCONCLUSIVE
    assert "1.0 has answered no new request" in verdict.sentence
    assert judge(POLICY, sample(stable, arm("1.2", 100, 0), 1.0)).answer is Answer.PASS


def test_short_silence_is_borne_and_few_timed_answers_are_no_latency() -> None:
    canary = arm("1.2", 100, 0)
    short = canary.model_copy(update={"silent_looks": 3, "newest_at": NOW})
    assert judge(POLICY, sample(arm("1.0", 2000, 0), short)).answer is Answer.PASS
    few = canary.model_copy(update={"latency_buckets": ((5.0, 0), (10.0, 19))})
    verdict = judge(POLICY, sample(arm("1.0", 2000, 0), few))
    assert verdict.answer is Answer.INCONCLUSIVE
    assert "known of 19 of at least 20 answers" in verdict.sentence


def test_a_canary_with_all_traffic_is_judged_by_its_own_limits() -> None:
    alone = sample(arm("1.0", 0, 0, None), arm("1.1", 500, 0), 1.0)
    assert judge(POLICY, alone).answer is Answer.PASS
    failing = sample(arm("1.0", 0, 0, None), arm("1.2", 500, 80), 1.0)
    assert judge(POLICY, failing).answer is Answer.FAIL


def test_a_slow_canary_fails_by_ratio_and_only_above_the_floor() -> None:
    slow = judge(POLICY, sample(arm("1.0", 2000, 0, 8.0), arm("1.3", 100, 0, 180.0)))
    assert slow.answer is Answer.FAIL
    assert "100 of 100 answers of 1.3 took longer than 50 ms" in slow.sentence
    assert judge(POLICY, sample(arm("1.0", 2000, 0, 4.0), arm("1.3", 100, 0, 40.0))).answer is Answer.PASS
    few = judge(POLICY, sample(arm("1.0", 2000, 0, 8.0), arm("1.3", 1, 0, 180.0)))
    assert few.answer is Answer.INCONCLUSIVE


def test_without_metrics_there_is_a_verdict_too() -> None:
    assert unavailable("Envoy is down") == Verdict(answer=Answer.ERROR, sentence="No metrics: Envoy is down")
    assert undecided("1.2 is in no slot").answer is Answer.INCONCLUSIVE


@given(st.integers(0, 400), st.integers(0, 400), st.integers(0, 4000), st.integers(0, 4000), st.floats(0.01, 0.99))
def test_more_canary_errors_never_improve_the_answer(a: int, b: int, good: int, bad: int, share: float) -> None:
    order = [Answer.PASS, Answer.INCONCLUSIVE, Answer.FAIL]
    requests = a + b + 1
    fewer = ask((requests, a), (good + bad, bad), share).answer
    more = ask((requests, a + 1), (good + bad, bad), share).answer
    assert order.index(more) >= order.index(fewer)


@given(st.integers(0, 49), st.integers(0, 2000), st.integers(0, 100))
def test_below_the_minimum_nothing_passes(requests: int, stable: int, errors: int) -> None:
    assert ask((requests, min(errors, requests)), (stable, 0)).answer is not Answer.PASS


def looks(chance: numpy.random.Generator, share: float, rates: tuple[float, float], seconds: int) -> list[Sample]:
    """A look each second at 120 requests a second; *rates* are the error rates of stable and canary."""
    canary = chance.binomial(120, share, seconds)
    errors = chance.binomial(canary, rates[1]).cumsum(), chance.binomial(120 - canary, rates[0]).cumsum()
    requests = canary.cumsum(), (120 - canary).cumsum()
    return [
        sample(
            arm("1.0", int(requests[1][n]), int(errors[1][n])),
            arm("1.2", int(requests[0][n]), int(errors[0][n])),
            share,
        )
        for n in range(seconds)
    ]


@pytest.mark.parametrize("share", [0.05, 0.25, 0.5])
@pytest.mark.parametrize("rate", [0.002, 0.03])
def test_looking_each_second_at_equal_versions_raises_few_false_alarms(share: float, rate: float) -> None:
    chance = numpy.random.default_rng(round(share * 100) + round(rate * 10_000))
    policy = POLICY.model_copy(update={"alpha": 0.05})
    runs = 60
    alarms = sum(
        any(judge(policy, look).answer is Answer.FAIL for look in looks(chance, share, (rate, rate), 60))
        for _ in range(runs)
    )
    assert alarms / runs <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / runs)


@pytest.mark.parametrize("share", [0.05, 0.25, 0.5])
def test_five_per_cent_of_errors_are_found_within_forty_seconds(share: float) -> None:
    chance = numpy.random.default_rng(5)
    policy = POLICY.model_copy(update={"alpha": POLICY.alpha / 3})
    found = [
        any(judge(policy, look).answer is Answer.FAIL for look in looks(chance, share, (0.0, 0.05), 40))
        for _ in range(40)
    ]
    assert sum(found) >= 38


def test_a_bake_has_nobody_to_compare_latencies_with() -> None:
    alone = sample(arm("1.0", 0, 0, None), arm("1.2", 2000, 0, 90.0), share=1.0)
    assert judge(POLICY, alone).answer is Answer.PASS
