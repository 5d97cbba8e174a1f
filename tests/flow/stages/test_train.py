"""A train's own ledger and what releases take from it, on real ledgers, with targets in memory."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from airlock import registry
from airlock.errors import GateRefused, InvalidInput
from airlock.evidence.joined import verify_joined
from airlock.evidence.pack import verify
from airlock.flow.stages import boarding, change, train, undo
from airlock.flow.stages.outside_releases import TRAINS, StreamRun
from airlock.flow.stages.release import Attempt, Release, release_id
from airlock.flow.stages.settle import RunState
from airlock.flow.stages.watch import end_leftovers
from airlock.models import ArmSample, Outcome, utc_now
from airlock.recompute import cycles, history
from airlock.recompute.release import recompute
from airlock.registry import Entry
from airlock.schedule.train import Train
from airlock.schedule.train_file import find_train
from airlock.service.find import find, services_folder
from airlock.signing import Signer
from tests import memory_delivery
from tests.recompute import flown

PUBLIC = Signer.from_pem(flown.KEY).public_pem
GOOD = (
    ArmSample(version="-", requests=900, errors=1, latency_p95_ms=20),
    ArmSample(version="-", requests=100, errors=0, latency_p95_ms=21),
)
BAD = (GOOD[0], ArmSample(version="-", requests=100, errors=90, latency_p95_ms=21))
AIRFLOW = "http://127.0.0.1:1"
STANDARD = {"version": "1.1", "change_type": "standard"}
FILE = """\
train: evening
description: Both together.
owner: cafe-team
environment: main
on_failure: roll_back
on_freeze: wait
services:
  - {name: cafe, after: [bakery]}
  - {name: bakery}
"""


class Station:
    """Two services, each promoted to 1.1 in ``live``, and a train to ``main``."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.services = folder, folder / "services"
        flight = flown.prepared(folder, "{}", (), ())
        path = Path(flight.release.environment.source)
        head, block = path.read_text().split("  live:\n")
        for service in ("cafe", "bakery"):
            target = f"folder: {folder}"
            both = "".join(
                f"  {name}:\n{block}".replace(target, f"{target}/{service}-{name}") for name in ("live", "main")
            ).replace("  main:\n", "  main:\n    after: live\n")
            (self.services / f"{service}.yaml").write_text(head.replace("service: cafe", f"service: {service}") + both)
        (folder / "trains").mkdir()
        (folder / "trains" / "evening.yaml").write_text(FILE)

    @property
    def train(self) -> Train:
        return find_train(self.folder / "trains", "evening")

    def departure(self, name: str = "evening-main-1") -> StreamRun:
        run = StreamRun(train.home_of(self.train), TRAINS, name, "a test", Attempt("train.evening", name, AIRFLOW, 1))
        if run.latest("run") is None:
            run.record("run", dag_id="train.evening", run_id=name, airflow=AIRFLOW)
        return run

    def release(self, service: str, environment: str, run_id: str, dag: str = "release") -> Release:
        where = find(self.services, service, environment)
        release = Release(where, release_id(where, run_id, utc_now()), "a test")
        release.record("run", dag_id=f"{dag}.{service}.{environment}", run_id=run_id, airflow=AIRFLOW)
        return release

    def carry_out(self, service: str, environment: str, run_id: str, samples=(GOOD,) * 12) -> Release:
        """What the release DAG does: for a train by its word, else by the form."""
        release = self.release(service, environment, run_id)
        release.metrics = flown.GivenMetrics(samples)

        def request(release: Release, form: dict[str, str]) -> None:
            asked = train.departure_of(run_id)
            if asked is None:
                change.validate(release, form, "rita")
            else:
                wanted, digest = train.request_of(release, asked, run_id)
                change.validate(release, wanted, train.SCHEDULER, digest, asked[1])

        flown.Flight(release, (), request).carry_out(STANDARD)
        return release

    def send_back(self, service: str, run_id: str) -> Release:
        """What the rollback DAG does for a train."""
        release = self.release(service, "main", run_id, "rollback")
        release.metrics = flown.GivenMetrics((GOOD,) * 12)

        def request(release: Release, form: dict[str, str]) -> None:
            asked = train.departure_of(run_id)
            assert asked is not None
            undo.request(release, "the train goes back", None, train.SCHEDULER, train.return_of(release, asked, run_id))

        flown.Flight(release, (), request).carry_out({})
        return release


@pytest.fixture
def station(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Station]:
    monkeypatch.setitem(registry.TARGETS, "supervisord", Entry("tests.memory_delivery:KeptTarget"))
    monkeypatch.setitem(registry.ROUTERS, "envoy", Entry("tests.memory_delivery:KeptRouter"))
    monkeypatch.setenv("AIRLOCK_SERVICES", str(tmp_path / "services"))
    monkeypatch.setenv("AIRLOCK_TRAINS", str(tmp_path / "trains"))
    memory_delivery.KEPT.clear()
    with flown.keys():
        made = Station(tmp_path)
        for service in ("cafe", "bakery"):
            made.carry_out(service, "live", f"{service} to live")
        yield made


def over(dag: str, run: str) -> RunState:
    return RunState.FAILED


def landed(run: StreamRun, service: str, kind: str = "start") -> bool:
    return train.arrived(run, service, kind, over, utc_now())


def evidence(run: StreamRun) -> None:
    pack = Path(run.environment.evidence) / TRAINS / f"{run.id}.zip"
    assert verify(pack, (PUBLIC,)).problems == ()
    again = recompute(pack, [PUBLIC])
    assert again.ok, again.differing


def test_both_leave_in_order_and_one_pack_ties_them_together(station: Station) -> None:
    run = station.departure()
    boarding.board(run, station.train, utc_now())
    assert train.held_until(run, station.train, utc_now()) is None
    assert train.leaves(run, "cafe") is None, "it waits for the bakery"
    wanted = train.run_id(station.train, run.id)
    for service in ("bakery", "cafe"):
        form = train.leaves(run, service)
        assert form is not None and form["version"] == "1.1"
        release = station.carry_out(service, "main", wanted)
        assert release.rfc.train == run.id
        assert landed(run, service)
    assert train.finish(run) == (Outcome.COMPLETED, "arrived: bakery, cafe")
    evidence(run)
    _one_pack_ties_them_together(run, release)
    again = station.departure("evening-main-2")
    boarding.board(again, station.train, utc_now())
    assert train.finish(again) == (Outcome.SKIPPED, "nothing new for any service")


def _differing(run: StreamRun, kind: str, **changes: object) -> list[str]:
    """Return what differs when the first record of *kind* said something else."""
    records = list(run.records())
    place = next(number for number, one in enumerate(records) if one.type == kind)
    records[place] = records[place].model_copy(update={"data": {**records[place].data, **changes}})
    entries = tuple(history.Entry(number, str(number), one) for number, one in enumerate(records, start=1))
    return [one.decision for one in cycles.decisions(history.History(entries, "", None)) if one.differences]


def _one_pack_ties_them_together(run: StreamRun, cafe: Release) -> None:
    pack = Path(run.environment.evidence) / TRAINS / f"{run.id}.zip"
    folders = [find(services_folder(), service, "main").evidence for service in ("cafe", "bakery")]
    whole = verify_joined(pack, folders, [PUBLIC])
    assert whole.ok and whole.records > verify(pack, [PUBLIC]).records
    own = Path(cafe.environment.evidence) / f"{cafe.id}.zip"
    kept = own.read_bytes()
    own.write_bytes(kept[:-30])
    assert not verify_joined(pack, folders, [PUBLIC]).ok
    other = next(path for path in Path(cafe.environment.evidence).glob("cafe-live-*.zip"))
    own.write_bytes(other.read_bytes())
    assert f"{cafe.id}: replaced: its seal is not the one that the index names" in verify_joined(
        pack, folders, [PUBLIC]).problems
    own.unlink()
    (problem,) = verify_joined(pack, folders, [PUBLIC]).problems
    assert problem.startswith(f"{cafe.id}: removed: ")
    own.write_bytes(kept)
    with pytest.raises(InvalidInput, match="no index"):
        verify_joined(own, folders, [PUBLIC])


def test_a_failure_stops_those_after_it_and_sends_those_before_it_back(station: Station) -> None:
    run = station.departure()
    boarding.board(run, station.train, utc_now())
    wanted = train.run_id(station.train, run.id)
    train.leaves(run, "bakery")
    station.carry_out("bakery", "main", wanted)
    landed(run, "bakery")
    train.leaves(run, "cafe")
    station.carry_out("cafe", "main", wanted, (BAD,) * 12)
    assert landed(run, "cafe")
    assert train.goes_back(run, "cafe") is None
    assert train.goes_back(run, "bakery") is not None
    back = station.send_back("bakery", train.run_id(station.train, run.id, "send_back"))
    assert (back.latest("outcome") or {})["outcome"] == "promoted"
    assert back.plan.approvals == ()
    assert landed(run, "bakery", "send_back")
    outcome, why = train.finish(run)
    assert outcome is Outcome.FAILED
    assert "cafe failed: " in why and "to go back: bakery; carried over to the next train: bakery" in why
    evidence(run)
    assert _differing(run, "start", version="0.9") == ["leaves"]
    assert _differing(run, "send_back", release="another") == ["goes back"]
    following = station.departure("evening-main-2")
    boarding.board(following, station.train, utc_now())
    assert following.latest("departure")["passengers"] == ["bakery"], "it was not its fault"


def test_what_is_not_ready_stays_behind_with_those_that_wait_for_it(station: Station) -> None:
    (station.folder / "cafe-1.1.bin").write_text("something else")
    run = station.departure()
    boarding.board(run, station.train, utc_now())
    departure = run.latest("departure")
    assert departure["passengers"] == []
    assert all("somebody replaced the artifact" in why for why in departure["carried_over"].values())
    assert train.finish(run)[0] is Outcome.SKIPPED


def test_a_release_under_way_keeps_its_service_off_the_train(station: Station) -> None:
    open_release = station.release("bakery", "main", "by hand")
    run = station.departure()
    boarding.board(run, station.train, utc_now())
    carried = run.latest("departure")["carried_over"]
    assert carried["bakery"] == f"{open_release.id} is under way"
    assert "bakery, which stays behind" in carried["cafe"]


def test_a_template_that_does_not_carry_the_change_keeps_it_off_the_train(station: Station) -> None:
    path = station.services / "bakery.yaml"
    path.write_text(path.read_text().replace("maximum_risk: 60", "maximum_risk: 1"))
    run = station.departure()
    boarding.board(run, station.train, utc_now())
    refused = run.latest("departure")["carried_over"]["bakery"]
    path.write_text(path.read_text().replace("maximum_risk: 1\n", "maximum_risk: 60\n"))
    following = station.departure("evening-main-2")
    boarding.board(following, station.train, utc_now())
    train.leaves(following, "bakery")
    release = station.carry_out("bakery", "main", train.run_id(station.train, following.id))
    assert f"risk {release.plan.risk.score} " in refused, "it is scored as the release itself will be"


FREEZE = '    calendar:\n      freezes: [{name: inventory, from: 2020-01-01T00:00, to: "%s"}]\n'


@pytest.mark.parametrize(("ends_in", "waits"), [(timedelta(hours=3), True), (timedelta(days=30), False)])
def test_a_train_that_meets_a_freeze_waits_so_long_and_no_longer(
    station: Station, ends_in: timedelta, waits: bool
) -> None:
    run = station.departure()
    boarding.board(run, station.train, utc_now())
    path = station.services / "cafe.yaml"
    end = f"{utc_now() + ends_in:%Y-%m-%dT%H:%M+00:00}"
    path.write_text(path.read_text().replace("    calendar:\n", FREEZE % end))
    until = train.held_until(run, station.train, utc_now())
    assert (until is not None) == waits
    if waits:
        assert abs(until - utc_now() - ends_in) < timedelta(minutes=2)
        return
    assert train.leaves(run, "bakery") is None
    outcome, why = train.finish(run)
    assert outcome is Outcome.SKIPPED
    assert "inventory" in why and "carried over to the next train: bakery, cafe" in why
    evidence(run)


def test_nobody_rides_without_the_word_of_the_train(station: Station) -> None:
    run = station.departure()
    wanted = train.run_id(station.train, run.id)
    asked = train.departure_of(wanted)
    assert asked == ("evening", run.id)
    rider = station.release("cafe", "main", wanted)
    with pytest.raises(GateRefused, match="says nothing of it"):
        train.request_of(rider, asked, wanted)
    boarding.board(run, station.train, utc_now())
    train.leaves(run, "bakery")
    with pytest.raises(GateRefused, match="says nothing of it"):
        train.request_of(rider, asked, wanted)
    bakery = station.release("bakery", "main", "another run")
    with pytest.raises(GateRefused, match="has not asked bakery for this now"):
        train.request_of(bakery, asked, "another run")
    with pytest.raises(GateRefused, match="releases to main only"):
        train.request_of(station.release("bakery", "live", wanted), asked, wanted)
    with pytest.raises(GateRefused, match="says nothing of it"):
        train.return_of(bakery, asked, f"{wanted}.back")
    assert train.departure_of("manual__2026-11-24") is None


@pytest.mark.parametrize(
    ("state", "later", "why"),
    [
        (RunState.FAILED, timedelta(), "ended before anything was on record"),
        (RunState.GONE, timedelta(minutes=6), "there is no such run"),
        (RunState.ALIVE, timedelta(hours=3), "had not begun after 2 h"),
        (RunState.GONE, timedelta(minutes=1), None),
        (RunState.ALIVE, timedelta(hours=1), None),
    ],
)
def test_a_release_that_never_begins_is_given_up_for_good(
    station: Station, state: RunState, later: timedelta, why: str | None
) -> None:
    run = station.departure()
    boarding.board(run, station.train, utc_now())
    train.leaves(run, "bakery")
    assert train.arrived(run, "bakery", "start", lambda dag, of: state, utc_now() + later) == (why is not None)
    if why is None:
        return
    assert why in run.latest("arrived", "bakery")["why"]
    assert train.leaves(run, "cafe") is None
    wanted = train.run_id(station.train, run.id)
    with pytest.raises(GateRefused, match="given it up"):
        train.request_of(station.release("bakery", "main", wanted), ("evening", run.id), wanted)


def test_a_train_whose_run_is_gone_is_ended_by_the_watch(station: Station) -> None:
    run = station.departure()
    boarding.board(run, station.train, utc_now())
    train.leaves(run, "bakery")
    home = train.home_of(station.train)
    assert end_leftovers(home, AIRFLOW, lambda dag, of: RunState.GONE, "watch", (TRAINS,)) == (
        f"{run.id}: trains ended as failed",
    )
    assert "bakery had not arrived when the train ended" in run.latest("outcome")["why"]
    evidence(run)


def test_content_that_people_rejected_does_not_board(station: Station) -> None:
    asked = {**STANDARD, "change_type": "normal", "title": "Oat milk", "reason": "Guests ask.", "impact": "high",
             "rollback_plan": "All traffic goes back."}
    release = station.release("cafe", "main", "a person asks")
    flown.Flight(release, (("olga", "reject", "not this one"),)).carry_out(asked)
    run = station.departure()
    boarding.board(run, station.train, utc_now())
    departure = run.latest("departure") or {}
    assert departure["passengers"] == ["bakery"]
    assert "was rejected here" in departure["carried_over"]["cafe"]
    assert "not this one" in departure["carried_over"]["cafe"]
