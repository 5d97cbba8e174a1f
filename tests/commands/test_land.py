"""``airlock land``: what it prints, its exit codes, and that it needs nothing but the ledger and the connections."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from airlock.commands.main import main
from airlock.deploy.landing import BROKEN_GLASS
from airlock.flow.stages import broken_glass
from tests.flow.stages.test_broken_glass import airflow
from tests.flow.stages.test_settle import only_running
from tests.release_front import ReleaseFront, first_step
from tests.shop_front import Front, front, running_front

__all__ = ["front", "running_front"]
INCLUDE = Path(__file__).resolve().parents[2] / "include"
REASON = "The database of Airflow is gone."


@pytest.fixture
def house(front: Front, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ReleaseFront:
    return ReleaseFront(front, tmp_path, monkeypatch)


def folder(house: ReleaseFront) -> str:
    return str(Path(house.environment.source).parent)


def land(house: ReleaseFront, *more: str) -> int:
    return main(["land", "cafe", "live", "--folder", folder(house), *more])


def test_from_a_process_that_has_only_the_connections_a_release_is_brought_back(
    house: ReleaseFront, tmp_path: Path
) -> None:
    release = house.release()
    first_step(release)
    home = tmp_path / "home"
    home.mkdir()
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW_", "AIRLOCK_"))}
    connections = {name: value for name, value in os.environ.items() if name.startswith("AIRFLOW_CONN_")}
    done = subprocess.run(
        [sys.executable, "-m", "airlock", "land", "cafe", "live", "--folder", folder(house), "--reason", REASON, "--as",
         "olga", "--json"],
        env={**kept, **connections, "AIRFLOW_HOME": str(home), "HOME": str(home), "PYTHONPATH": str(INCLUDE),
             "USER": "mallory", "LOGNAME": "mallory"},
        cwd=home, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (one,) = json.loads(done.stdout)["releases"]
    assert (one["done"], one["error"]) == (f"{release.id}: settled as rolled_back", "")
    assert one["airflow"].startswith("no answer")
    assert Path(one["pack"]).exists()
    assert only_running(house) == "1.0"
    said = house.again().latest(BROKEN_GLASS)
    assert said is not None
    assert (said["person"], said["reason"]) == ("olga", REASON)
    assert said["user"] not in ("mallory", ""), "no variable of the environment says who it was"
    assert said["host"]
    assert said["airflow"].startswith("no answer")
    assert house.verified(release).ok


def test_a_dry_run_asks_for_everything_and_changes_nothing(house: ReleaseFront, capsys) -> None:
    release = house.release()
    first_step(release)
    before, records = house.front.delivery().inspect(), release.records()
    assert land(house, "--dry-run") == 0
    said = capsys.readouterr().out
    assert "would be brought back; nothing was done" in said
    assert "1.0 90 %" in said
    assert (house.front.delivery().inspect(), release.records()) == (before, records)


def test_a_dry_run_says_what_is_missing_here(house: ReleaseFront, capsys, monkeypatch: pytest.MonkeyPatch) -> None:
    first_step(house.release())
    names = [name for name in os.environ if name.startswith("AIRFLOW_CONN_") and "SIGNING" not in name]
    monkeypatch.delenv(next(name for name in names if "KEY" not in name))
    assert land(house, "--dry-run") == 1
    assert "would not be brought back: Airflow has no connection" in capsys.readouterr().out.replace("\n", " ")


def test_with_nothing_under_way_there_is_nothing_to_do(house: ReleaseFront, capsys) -> None:
    release = house.release()
    assert land(house, "--reason", REASON) == 0
    assert f"{release.id} (1.1): left alone: it has changed nothing" in capsys.readouterr().out
    assert release.latest(BROKEN_GLASS) is None


def test_while_airflow_works_it_is_not_done_unless_that_is_said_to_be_wrong(house: ReleaseFront, capsys) -> None:
    release = house.release()
    first_step(release)
    with airflow(200, {"scheduler": {"status": "healthy"}}) as address:
        release.record("run", dag_id="release.cafe.live", run_id="run 1", airflow=address)
        assert land(house, "--reason", REASON) == 1
        said = capsys.readouterr().out
        assert "mark the run run 1 as failed there" in said
        assert release.latest(BROKEN_GLASS) is None
        assert land(house, "--reason", REASON, "--although-airflow-works") == 0
    assert (release.latest(BROKEN_GLASS) or {})["airflow"] == "scheduler healthy"
    assert only_running(house) == "1.0"


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ((), "say why, with --reason"),
        (("--reason", "short"), "10 to 2000 characters"),
        (("--reason", "x" * 2001), "10 to 2000 characters"),
        (("--reason", "hidden\x1b[2Jcharacters"), "10 to 2000 characters"),
        (("--reason", REASON, "--as", "Оlga"), "the name must be"),
        (("--reason", REASON, "--release", "cafe-live-7"), "is no open release of cafe live"),
    ],
)
def test_wrong_input_is_said_and_ends_with_2(house: ReleaseFront, capsys, more: tuple[str, ...], said: str) -> None:
    release = house.release()
    first_step(release)
    records = release.records()
    assert land(house, *more) == 2
    assert said in capsys.readouterr().err
    assert release.records() == records


def test_where_the_ledger_is_not_nobody_is_told_that_all_is_well(house: ReleaseFront, capsys) -> None:
    assert land(house, "--reason", REASON) == 2
    assert "there is no ledger of cafe live on this machine" in capsys.readouterr().err


def test_what_cannot_be_finished_is_said_with_1(house: ReleaseFront, capsys, monkeypatch: pytest.MonkeyPatch) -> None:
    release = house.release()
    first_step(release)
    path = release.ledger.release_folder(release.id)
    name = next(name for name in release.ledger.record_names(release.id) if "-staged-" in name)
    file = Path(str(path / name))
    file.write_bytes(file.read_bytes().replace(b"1.1", b"1.9"))
    assert land(house, "--reason", REASON, "--json") == 1
    (one,) = json.loads(capsys.readouterr().out)["releases"]
    assert "altered" in one["error"]
    assert only_running(house) == "1.0", "the traffic is back all the same"
    assert broken_glass.open_releases(house.environment, "x") != ()
