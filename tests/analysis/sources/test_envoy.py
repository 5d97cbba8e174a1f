from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator

import pytest

from airlock.analysis.judge import judge
from airlock.analysis.sources.envoy import EnvoySource
from airlock.deploy.targets.supervisord_rpc import Supervisor
from airlock.errors import CountsLost, InvalidInput, NoData, TemporaryError
from airlock.models import AnalysisPolicy, Answer, Sample
from tests.contracts.declared_reach import METRICS, Reach, reaching
from tests.faulty_proxy import Fault, FaultyProxy, faulty_proxy
from tests.shop_front import Front, front, running_front, wait_for

__all__ = ["front", "running_front"]
Look = Callable[[], Sample]
POLICY = AnalysisPolicy(alpha=0.01 / 3)


def staged(front: Front, version: str, percent: int) -> None:
    front.delivery().stage(front.artifact(version))
    front.delivery().shift(version, percent)


def look_until(front: Front, version: str, percent: int, wanted: Callable[[Sample], bool]) -> tuple[Sample, Look]:
    """Look twice a second at real traffic until the sample is as *wanted*; return it and a way to look again."""
    source = front.source()
    staged(front, version, percent)
    mark = source.begin("1.0", version)

    def look() -> Sample:
        return source.sample(mark, "1.0", version, percent / 100)

    with front.traffic(120):
        limit = time.monotonic() + 200
        while True:
            time.sleep(0.5)
            found = look()
            if wanted(found) or time.monotonic() > limit:
                return found, look


def test_counts_follow_the_split_and_a_good_version_passes(front: Front) -> None:
    found, look = look_until(
        front, "1.1", 25, lambda look: look.canary.requests >= 150 and judge(POLICY, look).answer is Answer.PASS
    )
    total = found.canary.requests + found.stable.requests
    assert 0.15 < found.canary.requests / total < 0.35
    assert (found.canary.errors, found.stable.errors) == (0, 0)
    assert found.canary.latency_p95_ms is not None
    assert found.canary.latency_p50_ms <= found.canary.latency_p95_ms
    # Envoy adds to its histogram every few seconds, later than to its counters: they agree when all is quiet.
    wait_for(lambda: look().canary.latency_buckets[-1][1] == look().canary.requests >= found.canary.requests)
    assert judge(POLICY, found).answer is Answer.PASS


@pytest.mark.parametrize("percent", [pytest.param(5, marks=pytest.mark.campaign), 50])
def test_a_failing_version_is_caught(front: Front, percent: int) -> None:
    found, _ = look_until(front, "1.2", percent, lambda look: judge(POLICY, look).answer is Answer.FAIL)
    verdict = judge(POLICY, found)
    assert verdict.answer is Answer.FAIL
    assert found.stable.errors == 0
    assert f"1.2: {found.canary.errors} errors in {found.canary.requests} requests" in verdict.sentence


def test_a_slow_version_is_caught(front: Front) -> None:
    found, _ = look_until(front, "1.3", 25, lambda look: judge(POLICY, look).answer is Answer.FAIL)
    verdict = judge(POLICY, found)
    assert verdict.answer is Answer.FAIL
    assert "took longer than" in verdict.sentence
    # It waits 150 ms before each answer; a busy machine adds to both versions.
    assert found.canary.latency_p50_ms >= 115
    assert found.canary.latency_p50_ms >= found.stable.latency_p50_ms + 50


@pytest.mark.campaign
def test_what_the_slot_answered_before_is_not_counted(front: Front) -> None:
    """Envoy adds to its histogram late: the answers of 1.1 must not pass for fast answers of the slow 1.3."""
    source = front.source()
    staged(front, "1.1", 50)
    with front.traffic(120):
        mark = source.begin("1.0", "1.1")
        wait_for(lambda: source.sample(mark, "1.0", "1.1", 0.5).canary.requests >= 100)
        front.delivery().shift("1.1", 0)
        staged(front, "1.3", 50)
        mark = source.begin("1.0", "1.3")
        wait_for(lambda: source.sample(mark, "1.0", "1.3", 0.5).canary.latency_buckets[-1][1] >= 20)
        canary = source.sample(mark, "1.0", "1.3", 0.5).canary
    fast = max((count for bound, count in canary.latency_buckets if bound <= 100), default=0)
    assert fast == 0


def test_a_version_that_dies_is_seen_as_failing(front: Front) -> None:
    source = front.source()
    staged(front, "1.1", 50)
    stable = str((front.layout.host("prod") / "slots" / "stable").readlink())
    with front.traffic(60):
        mark = source.begin("1.0", "1.1")
        Supervisor("shop_supervisor").stop(f"shop-prod-{'b' if stable == 'a' else 'a'}")
        wait_for(lambda: judge(POLICY, source.sample(mark, "1.0", "1.1", 0.5)).answer is Answer.FAIL, 120)


@pytest.mark.campaign
def test_a_version_that_mends_a_dead_one_is_watched_alone(front: Front) -> None:
    """As when on-call goes back from a version that does not answer any more."""
    source, stable = front.source(), front.delivery().target.stable()
    staged(front, "1.1", 100)
    Supervisor("shop_supervisor").stop(f"shop-prod-{stable}")
    with pytest.raises(TemporaryError, match="does not answer"):
        source.begin("1.0", "1.1")
    mark = source.begin("1.0", "1.1", alone=True)
    with front.traffic(60):
        wait_for(lambda: judge(POLICY, source.sample(mark, "1.0", "1.1", 1.0)).answer is Answer.PASS, 120)
    assert source.sample(mark, "1.0", "1.1", 1.0).stable.requests == 0
    assert judge(POLICY, source.sample(mark, "1.0", "1.1", 0.5)).answer is Answer.INCONCLUSIVE
    with pytest.raises(TemporaryError, match="does not answer"):
        source.begin("1.0", "1.2", alone=True)


@pytest.mark.campaign
def test_no_requests_are_no_pass(front: Front) -> None:
    source = front.source()
    front.delivery().stage(front.artifact("1.1"))
    found = source.sample(source.begin("1.0", "1.1"), "1.0", "1.1", 0.05)
    assert found.canary.requests == found.stable.requests == 0
    assert found.canary.latency_p95_ms is None
    assert judge(POLICY, found).answer is Answer.INCONCLUSIVE


@pytest.mark.campaign
def test_a_version_that_runs_nowhere_is_no_data(front: Front) -> None:
    front.delivery().stage(front.artifact("1.1"))
    with pytest.raises(NoData, match=r"1\.2 answers in 0 slots"):
        front.source().begin("1.0", "1.2")
    mark = front.source().begin("1.0", "1.1")
    with pytest.raises(CountsLost, match="other versions"):
        front.source().sample(mark, "1.0", "1.2", 0.05)


@pytest.mark.campaign
def test_another_version_in_the_slot_is_no_data(front: Front) -> None:
    front.delivery().stage(front.artifact("1.1"))
    mark = front.source().begin("1.0", "1.1")
    front.delivery().stage(front.artifact("1.2"))
    with pytest.raises(NoData, match=r"runs 1\.2 now"):
        front.source().sample(mark, "1.0", "1.1", 0.05)


@pytest.mark.campaign
def test_an_envoy_that_restarted_lost_its_counts_however_many_it_has_now(front: Front) -> None:
    staged(front, "1.1", 50)
    source = front.source()
    mark = source.begin("1.0", "1.1")
    front.restart_envoy()
    with pytest.raises(CountsLost, match="restarted"):
        source.sample(mark, "1.0", "1.1", 0.5)
    front.delivery().shift("1.1", 50)
    with front.traffic(120):
        again = source.begin("1.0", "1.1")
        wait_for(lambda: source.sample(again, "1.0", "1.1", 0.5).canary.requests >= 100)
    with pytest.raises(CountsLost, match="restarted"):
        source.sample(mark, "1.0", "1.1", 0.5)


@pytest.mark.parametrize("hours", [-1, 1, 24 * 365])
def test_a_clock_that_jumps_is_no_restart(front: Front, monkeypatch: pytest.MonkeyPatch, hours: float) -> None:
    front.delivery().stage(front.artifact("1.1"))
    source, clock = front.source(), time.time
    mark = source.begin("1.0", "1.1")
    monkeypatch.setattr(time, "time", lambda: clock() + hours * 3600)
    assert source.sample(mark, "1.0", "1.1", 0.5).canary.ready


@pytest.fixture
def proxied(front: Front) -> Iterator[tuple[EnvoySource, FaultyProxy, FaultyProxy]]:
    """A source that reaches Envoy through one proxy, and the slot of 1.1 through another."""
    front.delivery().stage(front.artifact("1.1"))
    options = front.source().options.model_dump(mode="json")
    stable = (front.layout.host("prod") / "slots" / "stable").readlink().name
    slot = options["slots"]["b" if stable == "a" else "a"]
    with faulty_proxy(options["admin"]) as admin, faulty_proxy(slot["address"]) as canary:
        options["admin"], slot["address"] = admin.url, canary.url
        yield EnvoySource(options), admin, canary


def on(path: str, fault: Fault) -> Callable[[str, str], Fault | None]:
    return lambda method, asked: fault if asked.startswith(path) else None


def replaced(old: bytes, new: bytes) -> Fault:
    return Fault(alter=lambda body: re.sub(old, new, body))


_TOTAL = rb'("name":"cluster\.[a-z_]*\.upstream_rq_total","value"):\d+'


@pytest.mark.campaign
@pytest.mark.parametrize(
    ("fault", "error", "says"),
    [
        (Fault(status=500), TemporaryError, "status 500"),
        (Fault(status=429), TemporaryError, "status 429"),
        (Fault(status=200, body=b"<html>welcome</html>"), TemporaryError, "not JSON"),
        (Fault(status=200, body=b"[]"), TemporaryError, "no object"),
        (Fault(status=200, body=b"{}"), TemporaryError, "another shape"),
        (Fault(status=200, body=b'{"stats": []}'), NoData, "has no value"),
        (Fault(drop=True), TemporaryError, "does not answer"),
        (Fault(cut=40), TemporaryError, "does not answer"),
        (Fault(delay=6), TemporaryError, "does not answer"),
        (replaced(_TOTAL, rb'"name":"x","value":0'), NoData, "has no value"),
        (Fault(alter=lambda body: body.replace(b'{"stats":[', b'{"stats":[' + body[10:-2] + b",")), NoData, "several"),
        (replaced(rb'completed","value":\d+', rb'completed","value":NaN'), TemporaryError, "not JSON"),
        (replaced(rb'completed","value":\d+', rb'completed","value":1e999'), TemporaryError, "no counts"),
        (replaced(rb'completed","value":\d+', rb'completed","value":-7'), TemporaryError, "no counts"),
        (replaced(rb'completed","value":\d+', rb'completed","value":"many"'), TemporaryError, "no counts"),
        (replaced(rb'completed","value":\d+', rb'completed","value":9' + b"9" * 40), TemporaryError, "no counts"),
        (replaced(rb'completed","value":\d+', rb'completed","value":1'), CountsLost, "requests of 1.* went backwards"),
        (replaced(rb'"cumulative":\d+', rb'"cumulative":0'), CountsLost, "latency of 1.* went backwards"),
    ],
)
def test_metrics_that_answer_wrong_are_named_and_never_counted(
    front: Front,
    proxied: tuple[EnvoySource, FaultyProxy, FaultyProxy],
    fault: Fault,
    error: type[TemporaryError],
    says: str,
) -> None:
    source, admin, _ = proxied
    front.delivery().shift("1.1", 50)
    begun = source.begin("1.0", "1.1")
    with front.traffic(240):
        # Envoy makes a counter with the first request that it counts, and the histogram later.
        wait_for(lambda: source.sample(begun, "1.0", "1.1", 0.5).canary.latency_buckets)
        wait_for(lambda: source.sample(begun, "1.0", "1.1", 0.5).stable.latency_buckets)
        mark = source.begin("1.0", "1.1")
    admin.decide = on("/stats", fault)
    with pytest.raises(error, match=says):
        source.sample(mark, "1.0", "1.1", 0.5)
    admin.decide = lambda method, path: None
    assert source.sample(mark, "1.0", "1.1", 0.5).canary.version == "1.1"


def test_an_envoy_that_does_not_tell_its_start_is_no_source(
    proxied: tuple[EnvoySource, FaultyProxy, FaultyProxy],
) -> None:
    source, admin, _ = proxied
    for fault in (Fault(status=200, body=b"{}"), Fault(status=200, body=b'{"configs": [{"@type": 1}, 2]}')):
        admin.decide = on("/config_dump", fault)
        with pytest.raises(TemporaryError, match="does not tell when it started"):
            source.begin("1.0", "1.1")


@pytest.mark.parametrize(
    "fault",
    [
        Fault(status=503, body=b'{"version": "1.1", "ok": false}'),
        Fault(status=200, body=b"<html>"),
        Fault(status=200, body=b'{"version": 1.1}'),
        Fault(drop=True),
    ],
    ids=["unhealthy", "rubbish", "no version", "silent"],
)
def test_a_version_that_is_not_healthy_now_is_not_ready(
    proxied: tuple[EnvoySource, FaultyProxy, FaultyProxy], fault: Fault
) -> None:
    source, _, canary = proxied
    mark = source.begin("1.0", "1.1")
    canary.always(fault)
    found = source.sample(mark, "1.0", "1.1", 0.5)
    assert (found.canary.ready, found.stable.ready) == (False, True)
    canary.decide = lambda method, path: None
    assert source.sample(mark, "1.0", "1.1", 0.5).canary.ready


def test_a_mark_that_was_tampered_with_is_not_counted_from(front: Front) -> None:
    front.delivery().stage(front.artifact("1.1"))
    source = front.source()
    mark = source.begin("1.0", "1.1")
    for wrong in ({}, {**mark, "started": 5}, {**mark, "canary": {}}, {**mark, "stable": None}):
        with pytest.raises(CountsLost, match="mark"):
            source.sample(wrong, "1.0", "1.1", 0.5)


def test_a_silent_slot_and_a_silent_envoy_are_temporary(front: Front) -> None:
    with pytest.raises(TemporaryError, match="does not answer"):
        front.source().begin("1.0", "1.1")
    options = front.source().options.model_dump(mode="json")
    with pytest.raises(TemporaryError, match="does not answer"):
        EnvoySource({**options, "admin": "http://127.0.0.1:9"}).online()
    assert "Envoy 1." in front.source().online()


def test_rubbish_is_temporary_and_typing_errors_stop(front: Front) -> None:
    options = front.source().options.model_dump(mode="json")
    with pytest.raises(TemporaryError, match=r"status 404|not JSON"):
        EnvoySource({**options, "admin": front.layout.url("prod_a")}).online()
    with pytest.raises(InvalidInput, match="admin"):
        EnvoySource({**options, "admin": "127.0.0.1:1/path"})
    front.delivery().stage(front.artifact("1.1"))
    slots = {name: {**slot, "cluster": "nothing"} for name, slot in options["slots"].items()}
    with pytest.raises(NoData, match="cluster 'nothing'"):
        EnvoySource({**options, "slots": slots}).begin("1.0", "1.1")


def test_what_it_reaches_is_what_it_declares(front: Front, monkeypatch: pytest.MonkeyPatch) -> None:
    front.delivery().stage(front.artifact("1.1"))
    source, reach = front.source(), Reach()
    with reaching(reach, source, METRICS, monkeypatch):
        source.online()
        source.sample(source.begin("1.0", "1.1"), "1.0", "1.1", 0.25)
    assert reach.unused == []
