"""The judge of a canary: policy and counts in, verdict out. Pure: no clock, no I/O, no memory.

Three questions, each with a third of the policy's ``alpha``, answered by evidence that may be looked at at any time:

1. Does the canary have more than its share of all errors?
2. Is its error rate above the policy's ceiling?
3. Are more than 5 % of its answers slower than the limit (``latency_ratio`` times the stable p95, at least the floor;
   ``max_latency_ms``, if that is less or nothing else is known)?

*fail* needs proof of one of them. *pass* needs enough requests that still come, of a version that is healthy, and
none of them even suspected. All between is *inconclusive*; metrics that cannot be had, or contradict themselves, are
an *error*. Nothing missing is ever read as good.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from airlock.analysis.statistics import count_above, log_evidence, quantile, upper_bound
from airlock.models import AnalysisPolicy, Answer, ArmSample, Sample, Verdict

_QUESTIONS = 3
_SLOW_SHARE = 0.05
# Among fewer answers there need be none of the slowest 5 %.
_FEWEST_TIMED = 20
_LARGEST = 1e12


@dataclass(frozen=True)
class _Finding:
    """The evidence for one fault: ``name``, logarithm of its e-value, and the sentence that states it."""

    name: str
    log_evidence: float
    sentence: str


def judge(policy: AnalysisPolicy, sample: Sample) -> Verdict:
    """Return the verdict about the canary of *sample* (counts of one step, since it was shifted).

    Look as often as you like: over all looks at one step the chance of failing a canary that is no worse than the
    stable version and within the limits is at most ``policy.alpha``.
    """
    numbers = _numbers(policy, sample)
    findings = _findings(policy, sample)
    numbers["evidence"] = {found.name: round(_evidence(found), 3) for found in findings}
    proof = math.log(_QUESTIONS / policy.alpha)
    numbers["evidence_needed"] = round(math.exp(proof), 1)
    worst = max(findings, key=lambda found: found.log_evidence)
    if worst.log_evidence >= proof:
        sentence = (
            f"{worst.sentence} Chance alone would show this in at most 1 of {_evidence(worst):.0f} good releases, "
            f"however often it is looked at; the policy rolls back from 1 of {math.exp(proof):.0f} on."
        )
        return Verdict(answer=Answer.FAIL, sentence=sentence, numbers=numbers)
    doubt = _doubt(policy, sample, worst, proof)
    if doubt:
        return Verdict(answer=Answer.INCONCLUSIVE, sentence=doubt, numbers=numbers)
    return Verdict(answer=Answer.PASS, sentence=_praise(sample, numbers), numbers=numbers)


def unavailable(reason: str) -> Verdict:
    """The verdict when metrics cannot be had, or contradict themselves; *reason* is the source's sentence."""
    return Verdict(answer=Answer.ERROR, sentence=f"No metrics: {reason}")


def undecided(reason: str) -> Verdict:
    """The verdict when metrics have no value for the versions in question; *reason* is the source's sentence."""
    return Verdict(answer=Answer.INCONCLUSIVE, sentence=f"No data: {reason}")


def _findings(policy: AnalysisPolicy, sample: Sample) -> list[_Finding]:
    stable, canary = sample.stable, sample.canary
    found = [
        _Finding(
            "error_ceiling",
            log_evidence(canary.errors, canary.requests, policy.max_error_rate),
            f"{_errors(canary)}: more than the {policy.max_error_rate:.1%} allowed.",
        )
    ]
    share = _share(sample)
    if share < 1:
        found.append(
            _Finding(
                "more_errors",
                log_evidence(canary.errors, canary.errors + stable.errors, share),
                f"{_errors(canary)}, {_errors(stable)}, with {share:.1%} of the requests on the canary.",
            )
        )
    limit = _latency_limit(policy, stable)
    if limit is not None and canary.latency_buckets:
        total, slow = canary.latency_buckets[-1][1], count_above(canary.latency_buckets, limit)
        found.append(
            _Finding(
                "slower",
                log_evidence(slow, total, _SLOW_SHARE),
                f"{slow} of {total} answers of {canary.version} took longer than {limit:.0f} ms, which is "
                + ("the most that is allowed." if limit == policy.max_latency_ms else
                   f"{policy.latency_ratio:g} times the p95 of {stable.version}, or the floor."),
            )
        )
    return found


def _share(sample: Sample) -> float:
    """The canary's share of requests: what was meant or what was seen, whichever accuses the canary less."""
    total = sample.canary.requests + sample.stable.requests
    return max(sample.canary_share, sample.canary.requests / total if total else 0.0)


def _latency_limit(policy: AnalysisPolicy, stable: ArmSample) -> float | None:
    """Milliseconds that 95 % of the canary's answers must keep within; None while none is known."""
    p95, most = _p95(stable), policy.max_latency_ms
    relative = None if p95 is None else max(policy.latency_floor_ms, policy.latency_ratio * p95)
    return min((limit for limit in (relative, most) if limit is not None), default=None)


def _p95(arm: ArmSample) -> float | None:
    return quantile(arm.latency_buckets, 1 - _SLOW_SHARE) if arm.latency_buckets else arm.latency_p95_ms


def _doubt(policy: AnalysisPolicy, sample: Sample, worst: _Finding, proof: float) -> str:
    """Why the canary may not pass yet; empty when it may."""
    canary = sample.canary
    missing = _missing(policy, sample)
    if missing:
        return missing
    # Half of the way (in logarithms) to a proof is too near to pass.
    if worst.log_evidence >= proof / 2:
        return f"{worst.sentence} This may be chance, but it is too much to pass."
    if canary.errors > policy.max_error_rate * canary.requests:
        return f"{_errors(canary)}: above the {policy.max_error_rate:.1%} allowed, though it may be chance."
    return _latency_doubt(policy, sample)


def _missing(policy: AnalysisPolicy, sample: Sample) -> str:
    """Which data are missing, of which arm, and since when; empty when there are enough."""
    stable, canary = sample.stable, sample.canary
    since = f" since {sample.since:%H:%M:%S} UTC" if sample.since else ""
    if not canary.ready:
        return f"{canary.version} does not call itself healthy at this look, so what it answers cannot let it pass."
    for arm in (canary, stable) if sample.canary_share < 1 else (canary,):
        if arm.silent_looks > policy.silent_looks:
            newest = f"no new request since {arm.newest_at:%H:%M:%S} UTC" if arm.newest_at else "no request at all"
            return (
                f"{arm.version} has answered {newest}, {arm.silent_looks} looks in a row "
                f"({policy.silent_looks} are borne); {canary.version} has answered {canary.requests} of at least "
                f"{policy.minimum_requests} requests{since}."
            )
    if canary.requests < policy.minimum_requests:
        return f"{canary.version} has answered {canary.requests} of at least {policy.minimum_requests} requests{since}."
    if stable.requests == 0 and sample.canary_share < 1:
        return f"{stable.version} has answered no request{since} to compare {canary.version} with."
    return ""


def _latency_doubt(policy: AnalysisPolicy, sample: Sample) -> str:
    stable, canary = sample.stable, sample.canary
    limit, p95 = _latency_limit(policy, stable), _p95(canary)
    # In the bake nobody else gets requests to compare with; the steps before it compared.
    if p95 is None or (limit is None and sample.canary_share < 1 and p95 > policy.latency_floor_ms):
        return f"The latency of {(canary if p95 is None else stable).version} is unknown."
    if limit is not None and p95 > limit:
        return f"95 % of the answers of {canary.version} take up to {p95:.0f} ms; the limit is {limit:.0f} ms."
    needed = min(policy.minimum_requests, _FEWEST_TIMED)
    if canary.latency_buckets and canary.latency_buckets[-1][1] < needed:
        timed = canary.latency_buckets[-1][1]
        return f"The latency of {canary.version} is known of {timed} of at least {needed} answers."
    return ""


def _praise(sample: Sample, numbers: dict[str, Any]) -> str:
    return (
        f"{_errors(sample.canary)}, {_errors(sample.stable)}; the true error rate of {sample.canary.version} is at "
        f"most {numbers['canary_error_rate_at_most']:.1%}; p95 {_p95(sample.canary):.0f} ms."
    )


def _errors(arm: ArmSample) -> str:
    rate = f" ({arm.errors / arm.requests:.2%})" if arm.requests else ""
    return f"{arm.version}: {arm.errors} errors in {arm.requests} requests{rate}"


def _evidence(found: _Finding) -> float:
    return math.exp(min(found.log_evidence, math.log(_LARGEST)))


def _numbers(policy: AnalysisPolicy, sample: Sample) -> dict[str, Any]:
    numbers: dict[str, Any] = {"canary_share": sample.canary_share}
    for name, arm in (("stable", sample.stable), ("canary", sample.canary)):
        numbers[name] = {
            "version": arm.version,
            "requests": arm.requests,
            "errors": arm.errors,
            "p50_ms": arm.latency_p50_ms,
            "p95_ms": arm.latency_p95_ms,
        }
    canary = sample.canary
    numbers["canary_error_rate_at_most"] = round(upper_bound(canary.errors, canary.requests, policy.alpha), 4)
    return numbers
