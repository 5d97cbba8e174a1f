"""Backups, drills and expiry outside releases, and the watch over their schedules, on a real store and ledger."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from airlock.errors import GateRefused, ProofFailed
from airlock.evidence.pack import verify
from airlock.flow.stages import keeping, watch
from airlock.flow.stages.outside_releases import BACKUPS, DRILLS, RETENTION, StreamRun
from airlock.flow.stages.recovery_points import points_on_record
from airlock.flow.stages.release import Attempt, Release
from airlock.flow.stages.settle import RunState
from airlock.models import Outcome, utc_now
from airlock.recompute.release import recompute
from airlock.service.calendar import Cycle
from airlock.service.find import ServiceEnvironment
from airlock.service.model import DrillPolicy, RetentionPolicy, Schedule
from airlock.signing import Signer
from tests.recompute import flown

PUBLIC = Signer.from_pem(flown.KEY).public_pem
DRILL = DrillPolicy(cron="0 4 * * 0", newest=1, random=1)
RETAIN = RetentionPolicy(cron="0 5 * * *", days=0.5, newest=1)
AIRFLOW = "http://127.0.0.1:1"


@pytest.fixture
def cafe(tmp_path: Path) -> Iterator[ServiceEnvironment]:
    with flown.keys():
        yield flown.prepared(tmp_path, "{}", (), ()).release.environment


def run_of(cafe: ServiceEnvironment, stream: str, name: str) -> StreamRun:
    run = StreamRun(cafe, stream, name, "a test", Attempt("a.dag", f"run of {name}", AIRFLOW, 1))
    run.record("run", dag_id="a.dag", run_id=f"run of {name}", airflow=AIRFLOW)
    return run


def backed_up(cafe: ServiceEnvironment, name: str) -> str:
    run = run_of(cafe, BACKUPS, name)
    keeping.begin(run)
    for resource in cafe.resources:
        handle, progress = keeping.look(run, resource)
        assert progress.done
        keeping.take(run, resource, handle)
    assert keeping.finish(run)[0] is Outcome.COMPLETED
    return points_on_record(run)[-1].point.id


def evidence(run: StreamRun) -> str:
    pack = Path(run.environment.evidence) / run.stream / f"{run.id}.zip"
    assert verify(pack, (PUBLIC,)).problems == ()
    again = recompute(pack, [PUBLIC])
    assert again.ok, again.differing
    return again.outcome


def test_a_scheduled_backup_is_proved_and_sealed_in_a_stream_of_its_own(cafe: ServiceEnvironment) -> None:
    backed_up(cafe, "cafe-live-b1")
    run = StreamRun(cafe, BACKUPS, "cafe-live-b1", "a test")
    [found] = points_on_record(run)
    assert (found.proved, found.open_change) == (True, False)
    assert evidence(run) == "completed"
    assert not (Path(cafe.ledger) / "cafe").exists(), "the releases' ledger knows nothing of it"
    assert not any(Path(cafe.backup.scratch).glob("*"))


def test_a_resource_that_was_left_out_fails_the_backup(cafe: ServiceEnvironment) -> None:
    run = run_of(cafe, BACKUPS, "cafe-live-b1")
    keeping.begin(run)
    outcome, why = keeping.finish(run)
    assert (outcome, why) == (Outcome.FAILED, "1 of 1 resources were not backed up: configuration.settings")
    assert evidence(run) == "failed"


def test_a_drill_restores_the_newest_and_an_older_one(cafe: ServiceEnvironment) -> None:
    points = [backed_up(cafe, f"cafe-live-b{number}") for number in range(4)]
    run = run_of(cafe, DRILLS, "cafe-live-d1")
    chosen = keeping.choose(run, DRILL)
    assert chosen[0] == points[-1] and chosen[1] in points[:-1]
    assert keeping.choose(run, DRILL) == chosen
    for resource in cafe.resources:
        keeping.drill(run, resource)
        keeping.drill(run, resource)
    assert len(run.recorded("drilled")) == 2
    assert keeping.finish(run) == (Outcome.COMPLETED, "2 restored and proved")
    assert evidence(run) == "completed"
    assert run.latest("drill")["seed"] == run.id


@pytest.mark.parametrize("damage", ["lost", "altered"])
def test_a_drill_finds_what_became_of_an_old_backup(cafe: ServiceEnvironment, damage: str) -> None:
    point = backed_up(cafe, "cafe-live-b1")
    folder = Path(cafe.backup.store) / point
    if damage == "lost":
        shutil.rmtree(folder)
    else:
        stream = next(folder.glob("*.age"))
        stream.write_bytes(stream.read_bytes()[:-1] + b"x")
    run = run_of(cafe, DRILLS, "cafe-live-d1")
    keeping.choose(run, DRILL)
    with pytest.raises(ProofFailed, match=r"the drill of configuration\.settings failed"):
        keeping.drill(run, cafe.resources[0])
    outcome, why = keeping.finish(run)
    assert outcome is Outcome.FAILED and "1 of 1 restore tests failed" in why
    assert evidence(run) == "failed"
    assert [one.proved for one in points_on_record(run)] == [False]


def test_a_drill_without_any_backup_is_no_good_news(cafe: ServiceEnvironment) -> None:
    run = run_of(cafe, DRILLS, "cafe-live-d1")
    with pytest.raises(GateRefused, match=r"no recovery point of configuration\.settings"):
        keeping.choose(run, DRILL)


def test_what_no_rule_keeps_expires_and_is_neither_drilled_nor_missed(cafe: ServiceEnvironment) -> None:
    points = [backed_up(cafe, f"cafe-live-b{number}") for number in range(3)]
    dry = run_of(cafe, RETENTION, "cafe-live-r1")
    assert keeping.expire(dry, RETAIN, utc_now() + timedelta(days=1), True) == ()
    assert keeping.finish(dry)[0] is Outcome.COMPLETED
    assert {path.name for path in Path(cafe.backup.store).iterdir()} == set(points)
    run = run_of(cafe, RETENTION, "cafe-live-r2")
    assert set(keeping.expire(run, RETAIN, utc_now() + timedelta(days=1), False)) == set(points[:2])
    assert keeping.finish(run) == (Outcome.COMPLETED, "2 recovery point(s) removed")
    assert [path.name for path in Path(cafe.backup.store).iterdir()] == points[2:]
    assert [one.point.id for one in points_on_record(run)] == points[2:]
    assert evidence(dry) == evidence(run) == "completed"


def test_the_last_good_one_stays_when_a_drill_found_the_newer_ones_damaged(cafe: ServiceEnvironment) -> None:
    points = [backed_up(cafe, f"cafe-live-b{number}") for number in range(2)]
    shutil.rmtree(Path(cafe.backup.store) / points[1])
    drill = run_of(cafe, DRILLS, "cafe-live-d1")
    keeping.choose(drill, DRILL)
    with pytest.raises(ProofFailed):
        keeping.drill(drill, cafe.resources[0])
    run = run_of(cafe, RETENTION, "cafe-live-r1")
    assert keeping.expire(run, RETAIN, utc_now() + timedelta(days=1), False) == (points[1],)
    assert (Path(cafe.backup.store) / points[0]).exists()


def test_what_an_open_change_may_need_stays(cafe: ServiceEnvironment) -> None:
    points = [backed_up(cafe, f"cafe-live-b{number}") for number in range(2)]
    (Path(cafe.ledger) / "_backups" / "cafe" / "live" / "cafe-live-b0" / "seal.json").unlink()
    run = run_of(cafe, RETENTION, "cafe-live-r1")
    assert keeping.expire(run, RETAIN, utc_now() + timedelta(days=1), False) == ()
    assert {path.name for path in Path(cafe.backup.store).iterdir()} == set(points)


def test_a_missed_time_is_told_once_and_stays_red_until_a_run_stands_for_it(
    cafe: ServiceEnvironment, caplog: pytest.LogCaptureFixture
) -> None:
    backup = cafe.backup.model_copy(update={"schedule": Schedule(cron="0 3 * * *", late_after_minutes=30)})
    cafe = cafe.model_copy(update={"backup": backup})
    start = datetime(2026, 11, 1, 12, tzinfo=UTC)
    assert watch.look(cafe, start, "a test") == ()
    assert watch.look(cafe, start + timedelta(hours=15, minutes=20), "a test") == ()
    late = start + timedelta(days=3)  # the scheduler was down for days
    [said] = watch.look(cafe, late, "a test")
    assert said == "backups of cafe live: missed since 04 Nov 03:00 UTC"
    assert caplog.text.count("missed: backups of cafe live: due on") == 3
    assert watch.look(cafe, late, "a test") == (said,)
    assert caplog.text.count("missed: backups of cafe live: due on") == 3
    run_of(cafe, BACKUPS, "cafe-live-20261104T113000-0123456789abcdef")
    assert watch.look(cafe, late, "a test") == ()


def test_a_release_cycle_that_the_scheduler_slept_through_is_missed(cafe: ServiceEnvironment) -> None:
    daily = cafe.model_copy(update={"cycle": Cycle(cron="0 3 * * *", timezone="UTC", late_after_minutes=30)})
    start = datetime(2026, 11, 1, 12, tzinfo=UTC)
    assert watch.look(daily, start, "a test") == ()
    late = start + timedelta(days=2)
    assert watch.look(daily, late, "a test") == ("cycle of cafe live: missed since 03 Nov 03:00 UTC",)
    release = Release(cafe, "cafe-live-20261103T030000-0123456789abcdef", "a test")
    release.record("run", dag_id="release.cafe.live", run_id="by hand", airflow=AIRFLOW)
    assert watch.look(daily, late, "a test") != (), "a release by hand is no run of the cycle"
    release.record("cycle", version=None)
    assert watch.look(daily, late, "a test") == ()


def test_an_empty_folder_does_not_silence_the_alarm(cafe: ServiceEnvironment) -> None:
    backup = cafe.backup.model_copy(update={"schedule": Schedule(cron="0 3 * * *")})
    cafe = cafe.model_copy(update={"backup": backup})
    start = datetime(2026, 11, 1, 12, tzinfo=UTC)
    watch.look(cafe, start, "a test")
    runs = Path(cafe.ledger) / "_backups" / "cafe" / "live"
    (runs / "cafe-live-20261102T030000-0123456789abcdef").mkdir(parents=True)
    assert watch.look(cafe, start + timedelta(days=1), "a test") != ()


def test_a_run_that_was_killed_is_ended_and_leaves_nothing(cafe: ServiceEnvironment) -> None:
    backed_up(cafe, "cafe-live-b1")
    run = run_of(cafe, DRILLS, "cafe-live-d1")
    keeping.choose(run, DRILL)
    assert watch.end_leftovers(cafe, AIRFLOW, lambda dag, of: RunState.ALIVE, "watch") == ()
    assert watch.end_leftovers(cafe, "http://127.0.0.1:2", lambda dag, of: RunState.GONE, "watch") == ()
    assert watch.end_leftovers(cafe, AIRFLOW, lambda dag, of: RunState.GONE, "watch") == (
        "cafe-live-d1: drills ended as failed",
    )
    assert evidence(run) == "failed"


def test_people_are_told_once_of_an_open_release_whose_file_is_wrong_or_whose_dag_has_vanished(
    cafe: ServiceEnvironment,
) -> None:
    release = Release(cafe, "cafe-live-1", "a test")
    release.record("run", dag_id="release.cafe.live", run_id="it", airflow=AIRFLOW)

    def look(wrong: str, state: RunState, airflow: str = AIRFLOW) -> tuple[str, ...]:
        return watch.look_at_open(cafe, wrong, airflow, lambda dag, of: state, "a test")

    assert look("", RunState.ALIVE) == () == look("cafe.yaml:1: is wrong", RunState.STRANDED, "http://127.0.0.1:2")
    assert [said.partition(":")[0] for said in look("cafe.yaml:1: is wrong", RunState.STRANDED)] == [
        "cafe-live-1 is open while its service file is wrong", "cafe-live-1"]
    told = release.recorded("notification")
    assert [one.data["title"] for one in told] == ["cafe-live-1 is open while its service file is wrong"]
    look("cafe.yaml:1: is wrong", RunState.ALIVE)
    assert release.recorded("notification") == told


def test_what_is_stranded_outside_releases_is_left_until_its_dag_is_back(cafe: ServiceEnvironment) -> None:
    run = run_of(cafe, DRILLS, "cafe-live-d1")
    assert watch.end_leftovers(cafe, AIRFLOW, lambda dag, of: RunState.STRANDED, "watch") == ()
    assert run.latest("run") is not None and not run.ledger.sealed(run.id)
