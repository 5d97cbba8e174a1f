"""Wherever a release is left by its run, settle lands it: shown on a real Envoy and supervisord."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from airlock.deploy.progress import CanaryProgress
from airlock.errors import EvidenceInvalid, GateRefused, TemporaryError
from airlock.flow.stages import broken_glass, change, close, deploy, rollback
from airlock.flow.stages.release import Release
from airlock.flow.stages.settle import QUIET_LIMIT, STRANDED_LIMIT, RunState, settle
from airlock.models import utc_now
from airlock.service.reading import load_file
from tests.release_front import AIRFLOW, STEPS, ReleaseFront, baked, first_step, promoted, stage
from tests.shop_front import Front, front, running_front, wait_for

__all__ = ["front", "running_front"]


@pytest.fixture
def house(front: Front, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ReleaseFront:
    return ReleaseFront(front, tmp_path, monkeypatch)


def settled(release: Release, state: RunState = RunState.FAILED) -> str:
    return settle(release, AIRFLOW, lambda dag, run: state, utc_now())


def only_running(house: ReleaseFront) -> str:
    state = house.front.delivery().inspect()
    assert state.weight_of(state.stable) == 100
    running = [version.version for version in state.versions if version.running]
    assert running == [state.stable]
    return state.stable


@pytest.mark.parametrize(
    ("step", "state", "outcome", "stable"),
    [
        ("nothing", RunState.FAILED, "refused", "1.0"),
        ("stage", RunState.GONE, "rolled_back", "1.0"),
        ("first step", RunState.SUCCESS, "rolled_back", "1.0"),
        ("promoted", RunState.FAILED, "rolled_back", "1.0"),
        ("baked", RunState.GONE, "promoted", "1.1"),
    ],
)
def test_a_release_whose_run_is_over_lands(
    house: ReleaseFront, step: str, state: RunState, outcome: str, stable: str
) -> None:
    release = house.release()
    STEPS[step](release)
    assert settled(house.again(), state) == f"{release.id}: settled as {outcome}"
    assert only_running(house) == stable
    report = house.verified(release)
    assert (report.ok, report.outcome) == (True, outcome)
    fault = house.again().latest("fault", "settle")
    assert fault is not None
    assert ("is gone" if state is RunState.GONE else f"ended as {state}") in fault["message"]
    assert house.again().ledger.unsettled() == ()


@pytest.mark.parametrize("step", STEPS)
def test_a_release_whose_run_works_is_left_alone(house: ReleaseFront, step: str) -> None:
    release = house.release()
    STEPS[step](release)
    before, records = house.front.delivery().inspect(), release.records()
    assert "left alone" in settled(house.again(), RunState.ALIVE)
    assert (house.front.delivery().inspect(), release.records()) == (before, records)


@pytest.mark.parametrize("step", STEPS)
def test_a_release_whose_dag_has_vanished_lands_if_the_dag_does_not_come_back(house: ReleaseFront, step: str) -> None:
    release = house.release()
    STEPS[step](release)
    now = utc_now()

    def look(state: RunState, at: datetime) -> str:
        return settle(house.again(), AIRFLOW, lambda dag, run: state, at)

    if step in ("nothing", "baked"):
        for at in (now, now + timedelta(hours=9)):
            assert "nothing is under way" in look(RunState.STRANDED, at)
        return
    assert "vanished a moment ago" in look(RunState.STRANDED, now)
    assert "its run works" in look(RunState.ALIVE, now + STRANDED_LIMIT)
    later = now + 2 * STRANDED_LIMIT
    assert "vanished a moment ago" in look(RunState.STRANDED, later), "a DAG that was back is waited for anew"
    assert "vanished a moment ago" in look(RunState.STRANDED, later + STRANDED_LIMIT / 2)
    assert look(RunState.STRANDED, later + STRANDED_LIMIT) == f"{release.id}: settled as rolled_back"
    assert only_running(house) == "1.0"
    assert "Airflow has its DAG no more" in str(house.again().latest("fault", "settle"))
    assert house.verified(release).ok
    with pytest.raises(GateRefused, match=r"sealed|rolled back"):
        deploy.promote(house.again())


def test_a_release_of_another_airflow_is_left_alone(house: ReleaseFront) -> None:
    release = house.release()
    first_step(release)
    before = house.front.delivery().inspect()
    said = settle(house.again(), "http://127.0.0.1:2", lambda dag, run: RunState.GONE, utc_now())
    assert "another Airflow" in said
    assert house.front.delivery().inspect() == before


def test_the_way_back_leads_to_where_the_release_acted_whatever_the_service_file_says_now(house: ReleaseFront) -> None:
    release = house.release()
    first_step(release)
    elsewhere = {**house.front.target_options(), "folder": "/nowhere"}
    away = {**house.front.router_options(), "admin": "http://127.0.0.1:9"}
    target = house.environment.target.model_copy(update={"options": elsewhere})
    router = house.environment.router.model_copy(update={"options": away})
    changed = house.environment.model_copy(update={"target": target, "router": router})
    assert settled(Release(changed, release.id, "a test")).endswith("settled as rolled_back")
    assert only_running(house) == "1.0"


def test_a_quiet_release_in_mid_air_asks_for_help(house: ReleaseFront, caplog: pytest.LogCaptureFixture) -> None:
    release = house.release()
    first_step(release)
    late = utc_now() + QUIET_LIMIT + timedelta(minutes=1)
    settle(house.again(), AIRFLOW, lambda dag, run: RunState.ALIVE, late)
    assert "mark the run as failed" in caplog.text


def test_the_way_back_is_final(house: ReleaseFront) -> None:
    release = house.release()
    first_step(release)
    rollback.traffic(release, "the test says so")
    again = house.again()
    for act in (deploy.stage, deploy.promote, first_step):
        with pytest.raises(GateRefused, match="final"):
            act(again)
    assert deploy.decide(again) == "roll_back"
    assert only_running(house) == "1.0"


def test_nothing_is_done_in_a_release_that_has_landed(house: ReleaseFront) -> None:
    release = house.release()
    baked(release)
    with pytest.raises(GateRefused, match="has landed"):
        deploy.promote(house.again())
    assert rollback.needed(house.again()) == ""
    close.seal(release)
    with pytest.raises(GateRefused, match="sealed"):
        rollback.traffic(house.again(), "late")
    assert only_running(house) == "1.1"


def test_the_next_release_waits_until_the_one_before_has_landed(house: ReleaseFront) -> None:
    first = house.release("cafe-live-1")
    second = house.release("cafe-live-2", "1.2")
    stage(first)
    with pytest.raises(TemporaryError, match="cafe-live-1 changed the target and has not landed"):
        stage(second)
    assert [act.subject for act in second.recorded("act")] == []
    settled(house.again("cafe-live-1"))
    stage(second)
    assert "1.2" in {version.version for version in house.front.delivery().inspect().versions if version.running}


def test_a_release_under_way_whose_records_are_gone_stops_the_next(house: ReleaseFront, tmp_path: Path) -> None:
    file = Path(house.environment.source)
    file.write_text(file.read_text().replace("    ledger:", f"    anchor: {tmp_path}/anchor\n    ledger:"))
    (house.environment,) = load_file(file)
    first, second = house.release("cafe-live-1"), house.release("cafe-live-2", "1.2")
    stage(first)
    kept = tmp_path / "kept"
    shutil.move(str(first.ledger.release_folder(first.id)), kept)
    with pytest.raises(GateRefused, match="cafe-live-1 began and was not sealed.* its records are gone"):
        stage(second)
    assert [act.subject for act in second.recorded("act")] == []
    with pytest.raises(GateRefused, match="records are gone, so nobody knows where to bring it back to"):
        broken_glass.open_releases(house.environment, "land by olga@h7")
    shutil.move(kept, str(first.ledger.release_folder(first.id)))
    settled(house.again("cafe-live-1"))
    stage(second)


def test_a_version_that_somebody_else_released_stops_the_plan(house: ReleaseFront) -> None:
    release = house.release(version="1.2")
    target = house.front.delivery()
    target.stage(house.front.artifact("1.1"))
    target.promote("1.1")
    with pytest.raises(GateRefused, match=r"1\.1 is stable on the target now"):
        stage(release)
    assert [act.subject for act in release.recorded("act")] == []


def test_settle_waits_for_the_act_of_a_task_that_still_runs(house: ReleaseFront) -> None:
    release = house.release()
    stage(release)
    done: list[str] = []
    with release.ledger.acting(10):
        other = threading.Thread(target=lambda: done.append(settled(house.again())))
        other.start()
        time.sleep(1.5)
        assert done == []
        assert release.latest("act", "roll_back") is None
    other.join(60)
    assert done == [f"{release.id}: settled as rolled_back"]


def test_two_settle_at_once_and_the_release_lands_once(house: ReleaseFront) -> None:
    release = house.release()
    promoted(release)
    said: list[str] = []

    def run() -> None:
        try:
            said.append(settled(house.again()))
        except GateRefused as error:  # the other one has sealed it meanwhile
            said.append(str(error))

    threads = [threading.Thread(target=run) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert len(said) == 3
    assert any("settled as rolled_back" in one for one in said)
    assert only_running(house) == "1.0"
    assert house.verified(release).ok


@pytest.mark.campaign
@pytest.mark.parametrize("after", ["roll_back", "rolled_back", "outcome"])
def test_settle_may_be_killed_at_any_time(house: ReleaseFront, tmp_path: Path, after: str) -> None:
    release = house.release()
    promoted(release)
    script = tmp_path / "settle.py"
    script.write_text(SETTLE)
    service = tmp_path / "services" / "cafe.yaml"
    process = subprocess.Popen([sys.executable, str(script), str(service), release.id], env=os.environ)
    wait_for(lambda: process.poll() is not None or _has(release, after))
    process.send_signal(signal.SIGKILL)
    process.wait(30)
    if not release.ledger.sealed(release.id):
        settled(house.again())
    else:
        close.seal(house.again())
    assert only_running(house) == "1.0"
    assert house.verified(release).ok


def _has(release: Release, word: str) -> bool:
    return any(f"-{word}-" in name for name in release.ledger.record_names(release.id))


def test_an_altered_record_stops_the_seal_but_not_the_way_back(house: ReleaseFront) -> None:
    release = house.release()
    first_step(release)
    folder = release.ledger.release_folder(release.id)
    name = next(name for name in release.ledger.record_names(release.id) if "-staged-" in name)
    path = Path(str(folder / name))
    path.write_bytes(path.read_bytes().replace(b"1.1", b"1.9"))
    with pytest.raises(EvidenceInvalid, match="altered"):
        settled(house.again())
    assert only_running(house) == "1.0"



def test_a_canary_is_not_begun_a_second_time(house: ReleaseFront) -> None:
    release = house.release()
    first_step(release)
    house.front.delivery().shift("1.1", 50)
    with pytest.raises(GateRefused, match="50 % of the traffic already"):
        deploy.shift(house.again(), CanaryProgress())
    assert house.front.delivery().inspect().weight_of("1.1") == 50


def test_the_plan_of_a_release_that_has_begun_stands(house: ReleaseFront) -> None:
    release = house.release()
    plan = release.plan
    stage(release)
    assert change.assess(house.again()) == plan
    assert len(house.again().recorded("plan")) == 1


SETTLE = f"""
import sys
from airlock.flow.stages.release import Release
from airlock.flow.stages.settle import RunState, settle
from airlock.models import utc_now
from airlock.service.reading import load_file
from airlock.service.reading import load_file

release = Release(load_file(sys.argv[1])[0], sys.argv[2], "a test")
settle(release, "{AIRFLOW}", lambda dag, run: RunState.FAILED, utc_now())
"""
