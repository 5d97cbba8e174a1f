"""A person lands a release while Airflow is down: on a real Envoy and supervisord, killed, beside a running act."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from airlock.deploy.broken_glass import BrokenGlass
from airlock.deploy.landing import BROKEN_GLASS
from airlock.deploy.progress import CanaryProgress
from airlock.errors import AirlockError, GateRefused
from airlock.flow.stages import attempts, broken_glass, deploy, follow_up, rollback
from airlock.flow.stages.outside_releases import StreamRun
from airlock.flow.stages.release import Attempt, Release
from airlock.flow.stages.settle import RunState, settle
from airlock.models import Record, utc_now
from airlock.past.ledgers import FOLLOW_UP
from airlock.recompute.release import recompute
from tests.flow.stages.test_settle import only_running
from tests.notify.slack_server import running_slack
from tests.real_servers import set_connection
from tests.recompute import flown
from tests.recompute.test_broken_glass import by_hand, in_mid_air
from tests.release_front import AIRFLOW, STEPS, ReleaseFront, first_step, promoted, stage
from tests.shop_front import Front, front, running_front, wait_for

pytestmark = pytest.mark.campaign

__all__ = ["front", "running_front"]
GLASS = BrokenGlass(reason="The database of Airflow is gone.", person="olga", user="root", host="h7")


@pytest.fixture
def house(front: Front, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ReleaseFront:
    return ReleaseFront(front, tmp_path, monkeypatch)


def hand(house: ReleaseFront) -> Release:
    """Return the release as the command line sees it."""
    return Release(house.environment, "cafe-live-1", GLASS.actor)


def decided_again(release: Release) -> bool:
    found = recompute(Path(release.environment.evidence) / f"{release.id}.zip", any_signer=True)
    assert [one for one in found.differing if "hand" in one.decision] == []
    return found.problems == ()


@pytest.mark.parametrize("step", ["stage", "first step", "promoted"])
def test_a_release_under_way_is_brought_back_and_sealed(house: ReleaseFront, step: str) -> None:
    release = house.release()
    STEPS[step](release)
    (found,) = broken_glass.open_releases(house.environment, GLASS.actor)
    assert (found.release, found.version, found.airflow) == (release.id, "1.1", AIRFLOW)
    assert found.why
    assert broken_glass.land(hand(house), GLASS) == f"{release.id}: settled as rolled_back"
    assert only_running(house) == "1.0"
    assert house.verified(release).ok
    assert decided_again(release)
    assert broken_glass.open_releases(house.environment, GLASS.actor) == ()
    with pytest.raises(GateRefused, match="nothing to bring back any more: it is sealed"):
        broken_glass.land(hand(house), GLASS)


@pytest.mark.parametrize(("step", "left"), [("nothing", "changed nothing"), ("baked", "is baked")])
def test_what_needs_no_way_back_is_left_alone(house: ReleaseFront, step: str, left: str) -> None:
    release = house.release()
    STEPS[step](release)
    records = release.records()
    (found,) = broken_glass.open_releases(house.environment, GLASS.actor)
    assert not found.why
    assert left in found.left
    with pytest.raises(GateRefused, match="nothing to bring back"):
        broken_glass.land(hand(house), GLASS)
    assert release.records() == records


def test_it_waits_for_an_act_that_is_being_done(house: ReleaseFront) -> None:
    release = house.release()
    stage(release)
    done: list[str] = []
    with release.ledger.acting(10):
        other = threading.Thread(target=lambda: done.append(broken_glass.land(hand(house), GLASS)))
        other.start()
        time.sleep(1.5)
        assert done == []
        assert release.latest(BROKEN_GLASS) is None
    other.join(60)
    assert done == [f"{release.id}: settled as rolled_back"]


def test_from_the_word_of_a_person_on_no_task_goes_forward(house: ReleaseFront) -> None:
    release = house.release()
    first_step(release)
    hand(house).record(BROKEN_GLASS, **GLASS.as_record())
    for act in (deploy.stage, deploy.promote, first_step):
        with pytest.raises(GateRefused, match="final"):
            act(house.again())
    assert deploy.decide(house.again()) == "roll_back"
    assert house.front.delivery().inspect().weight_of("1.1") > 0, "the word alone moves nothing"
    assert GLASS.message in rollback.needed(house.again()), "the release's own run brings it back too"
    assert broken_glass.land(hand(house), GLASS).endswith("settled as rolled_back")
    assert decided_again(release)


def test_it_lands_beside_a_canary_that_goes_on(house: ReleaseFront) -> None:
    """A worker may live on while the scheduler is gone: its task tries one act after the other."""
    release = house.release()
    first_step(release)
    refused: list[str] = []

    def task() -> None:
        own, limit = house.again(), time.monotonic() + 60
        while not refused and time.monotonic() < limit:
            try:
                deploy.shift(own, CanaryProgress())
            except AirlockError as error:
                refused.append(str(error))

    other = threading.Thread(target=task)
    other.start()
    time.sleep(0.3)
    assert broken_glass.land(hand(house), GLASS).endswith("settled as rolled_back")
    other.join(90)
    assert any("final" in one or "sealed" in one for one in refused), refused
    assert only_running(house) == "1.0"
    assert house.verified(release).ok


def test_settle_and_a_person_at_once_land_it_once(house: ReleaseFront) -> None:
    release = house.release()
    promoted(release)
    said: list[str] = []

    def run(what) -> None:
        try:
            said.append(what())
        except GateRefused as error:  # the other one was quicker
            said.append(str(error))

    settled = threading.Thread(target=run, args=(
        lambda: settle(house.again(), AIRFLOW, lambda dag, run: RunState.FAILED, utc_now()),))
    landed = threading.Thread(target=run, args=(lambda: broken_glass.land(hand(house), GLASS),))
    for thread in (settled, landed):
        thread.start()
    for thread in (settled, landed):
        thread.join(120)
    assert any("settled as rolled_back" in one for one in said), said
    assert only_running(house) == "1.0"
    assert house.verified(release).ok
    assert decided_again(release)


@pytest.mark.campaign
@pytest.mark.parametrize("after", ["broken_glass", "roll_back", "rolled_back", "outcome"])
@pytest.mark.parametrize("then", ["a person", "settle"])
def test_it_may_be_killed_at_any_time(house: ReleaseFront, tmp_path: Path, after: str, then: str) -> None:
    release = house.release()
    promoted(release)
    script = tmp_path / "land.py"
    script.write_text(LAND)
    process = subprocess.Popen([sys.executable, str(script), str(tmp_path / "services" / "cafe.yaml"), release.id],
                               env=os.environ)
    wait_for(lambda: process.poll() is not None
             or any(f"-{after}-" in name for name in release.ledger.record_names(release.id)))
    process.send_signal(signal.SIGKILL)
    process.wait(30)
    if not release.ledger.sealed(release.id) and then == "a person":
        other = GLASS.model_copy(update={"person": "bert"})
        broken_glass.land(Release(house.environment, release.id, other.actor), other)
    else:
        settle(house.again(), AIRFLOW, lambda dag, run: RunState.GONE, utc_now())
    assert only_running(house) == "1.0"
    assert house.verified(release).ok
    assert decided_again(release)


def test_by_a_clock_that_is_behind_nothing_is_begun(house: ReleaseFront) -> None:
    release = house.release()
    stage(release)
    release.ledger.append(Record(release=release.id, type="note", at=utc_now() + timedelta(minutes=2), actor="task",
                                 data={}))
    records = release.records()
    with pytest.raises(GateRefused, match="the clock of this machine is 1[0-9][0-9] s behind"):
        broken_glass.land(hand(house), GLASS)
    assert release.records() == records


def test_a_target_out_of_reach_is_known_before_anything_is_said(
    house: ReleaseFront, monkeypatch: pytest.MonkeyPatch
) -> None:
    release = house.release()
    stage(release)
    assert "1.0 100 %" in broken_glass.target_now(hand(house))
    monkeypatch.delenv("AIRFLOW_CONN_SIGNING")
    with pytest.raises(AirlockError, match="AIRFLOW_CONN_SIGNING"):
        broken_glass.target_now(hand(house))


# --- when Airflow is back ---------------------------------------------------------------------------------------------


def test_afterwards_people_are_told_once_and_asked_for_a_review(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with flown.keys(), running_slack() as slack:
        release = in_mid_air(tmp_path)
        release.record("run", dag_id="release.cafe.live", run_id="manual 1", airflow=AIRFLOW)
        assert broken_glass.unshown(release) is None
        broken_glass.land(by_hand(release), GLASS)
        (tmp_path / "evidence/cafe-live-1.zip").unlink()  # it was written on the other machine
        set_connection(monkeypatch, "airlock_slack", conn_type="slack", password="xoxb-right",
                       extra={"base_url": slack.url, "channel": "C024BE91L"})  # fmt: skip
        seen = Release(release.environment, release.id, "task settle")
        glass = broken_glass.unshown(seen)
        assert glass is not None
        assert (glass.person, glass.user, glass.host, glass.reason) == ("olga", "root", "h7", GLASS.reason)
        broken_glass.show_afterwards(seen, glass)
        assert broken_glass.unshown(seen) is None
        (told,) = slack.posted
        assert "was ended by hand while Airflow was down" in told["text"]
        assert "olga (user root) took it in hand on h7" in told["text"]
        assert (tmp_path / "evidence/cafe-live-1.zip").exists()
        (owed,) = follow_up.owed(release.environment)
        assert owed.review == "a person ended it by hand, outside Airflow: rolled back"
        run = StreamRun(release.environment, FOLLOW_UP, release.id, "task review")
        assert follow_up.brought_back_by(run) == GLASS.message


def test_a_run_that_still_thinks_it_is_running_is_told_who_ended_its_release(tmp_path: Path) -> None:
    with flown.keys():
        release = in_mid_air(tmp_path)
        attempt = Attempt(dag_id="release.cafe.live", run_id="manual 1", airflow=AIRFLOW, number=1)
        release.record("run", dag_id=attempt.dag_id, run_id=attempt.run_id, airflow=attempt.airflow)
        broken_glass.land(by_hand(release), GLASS)
        task = Release(release.environment, release.id, "task deploy.canary", attempt)
        with pytest.raises(GateRefused, match=r"is sealed \(olga \(user root\) took it in hand on h7, outside Airflow"):
            attempts.begin(task, "deploy.canary", after_seal=False)
        attempts.begin(task, "close.outcome", after_seal=True)
        assert "settled" not in settle(task, AIRFLOW, lambda dag, run: RunState.ALIVE, utc_now())


# --- whether Airflow works --------------------------------------------------------------------------------------------


@contextmanager
def airflow(status: int, body: object) -> Iterator[str]:
    """Answer as the health page of an Airflow that lies below a path."""

    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found = self.path == "/flow/api/v2/monitor/health"
            data = body.encode() if isinstance(body, str) else json.dumps(body).encode()
            self.send_response(status if found else 404)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Page)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/flow/"
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize(
    ("status", "body", "works", "said"),
    [
        (200, {"scheduler": {"status": "healthy"}}, True, "scheduler healthy"),
        (200, {"scheduler": {"status": "unhealthy"}}, False, "scheduler unhealthy"),
        (200, {"scheduler": {"status": None}}, False, "scheduler None"),
        (200, {}, False, "no answer of Airflow's"),
        (200, [], False, "no answer of Airflow's"),
        (200, {"scheduler": []}, False, "no answer of Airflow's"),
        (200, "<html>", False, "no answer of Airflow's"),
        (503, {}, False, "HTTP 503"),
    ],
)
def test_whether_airflow_works_is_what_its_scheduler_says(status: int, body: object, works: bool, said: str) -> None:
    with airflow(status, body) as address:
        assert broken_glass.airflow_now(address) == (works, said)


@pytest.mark.parametrize("address", ["http://127.0.0.1:1", "http://127.0.0.1:99999", "nonsense", "http://[", ""])
def test_an_airflow_that_is_not_there_does_not_work(address: str) -> None:
    works, said = broken_glass.airflow_now(address)
    assert not works
    assert said


LAND = """
import sys
from airlock.deploy.broken_glass import BrokenGlass
from airlock.flow.stages import broken_glass
from airlock.flow.stages.release import Release
from airlock.service.reading import load_file

glass = BrokenGlass(reason="The database of Airflow is gone.", person="olga", user="root", host="h7")
broken_glass.land(Release(load_file(sys.argv[1])[0], sys.argv[2], glass.actor), glass)
"""
