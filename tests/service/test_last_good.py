"""A mistake in a service file costs what is new, never a release that is open nor the way back."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from airlock.errors import AirlockError, InvalidInput, UnknownName
from airlock.schedule.train_file import find_standing_train, find_train
from airlock.service import last_good
from airlock.service.find import find, load_services, read_services
from airlock.service.stand_ins import find_standing, read_standing, require_declared
from tests.schedule.test_train import FILE
from tests.service_data import TEXT, write

DAGS = Path(__file__).resolve().parents[2] / "dags"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder whose one service was read once, as the DAG processor does it."""
    monkeypatch.setenv("AIRLOCK_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("AIRLOCK_SERVICES", str(tmp_path / "services"))
    monkeypatch.setenv("AIRLOCK_TRAINS", str(tmp_path / "trains"))
    (tmp_path / "trains").mkdir()
    write(tmp_path)
    assert built("releases.py") == {"release.cafe.live"}
    return tmp_path / "services"


def built(name: str) -> set[str]:
    from airflow.dag_processing.dagbag import DagBag

    bag = DagBag(str(DAGS / name))
    assert bag.import_errors == {}
    return set(bag.dags)


def shown() -> str:
    from airflow.dag_processing.dagbag import DagBag

    return "".join(DagBag(str(DAGS / "wrong_files.py")).import_errors.values())


MISTAKES: dict[str, Callable[[Path], object]] = {
    "syntax": lambda path: path.write_text("service: ["),
    "deleted": lambda path: path.unlink(),
    "renamed to what is no service file": lambda path: path.rename(path.with_suffix(".yaml.bak")),
    "hidden": lambda path: path.rename(path.with_name(".cafe.yaml")),
    "UTF-16": lambda path: path.write_bytes(path.read_text().encode("utf-16")),
    "Latin-1": lambda path: path.write_bytes(path.read_text().replace("coffee", "café").encode("latin-1")),
    "empty": lambda path: path.write_text(""),
    "half": lambda path: path.write_text(path.read_text()[: len(TEXT) // 2]),
    "a folder in its place": lambda path: (path.unlink(), path.mkdir()),
    "a pipe in its place": lambda path: (path.unlink(), os.mkfifo(path)),
    "a link to nowhere": lambda path: (path.unlink(), path.symlink_to("nowhere.yaml")),
    "another service": lambda path: path.write_text(path.read_text().replace("service: cafe", "service: bar")),
    "another environment": lambda path: path.write_text(path.read_text().replace("  live:", "  later:")),
    "a variable that is not set": lambda path: path.write_text(path.read_text() + "\nx: ${AIRLOCK_NOT_SET}\n"),
    "a policy that is not there": lambda path: path.write_text(
        path.read_text().replace("low: {service_owner: 1}", "policy: gone.yaml")),
    "a people file that is not there": lambda path: path.write_text(path.read_text() + "people: gone.yaml\n"),
    "the folder is gone": lambda path: path.parent.rename(path.parent.with_name("moved")),
}


@pytest.mark.parametrize("mistake", MISTAKES.values(), ids=MISTAKES)
def test_open_releases_and_the_way_back_survive_any_mistake_and_nothing_new_begins(
    folder: Path, mistake: Callable[[Path], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    good = find(folder, "cafe", "live")
    mistake(folder / "cafe.yaml")
    assert "release.cafe.live" in built("releases.py") and "rollback.cafe.live" in built("rollback.py")
    assert "last good version" in shown() and "retire cafe live" in shown()
    reading, stand_ins = read_standing(folder)
    assert stand_ins == (good,) and good not in reading.declared
    with pytest.raises(InvalidInput, match="nothing new begins until it is mended"):
        require_declared(good)
    monkeypatch.setenv("_AIRFLOW_PARSING_CONTEXT_DAG_ID", "rollback.cafe.live")
    monkeypatch.setenv("_AIRFLOW_PARSING_CONTEXT_TASK_ID", "deploy.rollback.traffic")
    assert built("rollback.py") == {"rollback.cafe.live"}, "a worker finds it too"


def test_a_file_that_is_mended_counts_at_once(folder: Path) -> None:
    (folder / "cafe.yaml").write_text("service: [")
    write(folder.parent, TEXT.replace("tier: 2", "tier: 3"))
    reading, stand_ins = read_standing(folder)
    assert [one.tier for one in reading.declared] == [3] and stand_ins == ()
    require_declared(reading.declared[0])
    assert shown() == ""


def test_a_copy_that_is_not_yet_renamed_is_refused_and_no_other_file_is_blamed(folder: Path) -> None:
    for newcomer in ("aaa", "billing", "zzz"):
        write(folder.parent, name=f"{newcomer}.yaml")
        reading = read_services(folder)
        assert [one.source for one in reading.declared] == [str(folder / "cafe.yaml")]
        assert len(reading.faults) == 1 and reading.faults[0].startswith(f"{folder / newcomer}.yaml:1: service: 'cafe'")
        assert "rename the service of this file" in reading.faults[0]
        assert read_services(folder, "cafe") == reading, "a worker decides alike"
        assert built("releases.py") == {"release.cafe.live"}
        (folder / f"{newcomer}.yaml").unlink()


def test_what_was_known_as_good_before_wins_over_what_is_named_like_the_service(folder: Path) -> None:
    (folder / "cafe.yaml").rename(folder / "house.yaml")
    assert built("releases.py") == {"release.cafe.live"}
    write(folder.parent, name="cafe.yaml")
    reading = read_services(folder)
    assert [one.source for one in reading.declared] == [str(folder / "house.yaml")]
    assert "cafe.yaml:1" in reading.faults[0] and "declared it before" in reading.faults[0]


@pytest.mark.parametrize("wrong", ["service: [", "", "service: cafe\n"])
def test_a_copy_does_not_become_the_service_while_the_file_of_it_is_wrong(folder: Path, wrong: str) -> None:
    good = find(folder, "cafe", "live")
    write(folder.parent, TEXT.replace("tier: 2", "tier: 4"), name="billing.yaml")
    (folder / "cafe.yaml").write_text(wrong)
    for service in (None, "cafe"):
        reading, stand_ins = read_standing(folder, service)
        assert reading.declared == () and stand_ins == (good,)


def test_a_service_that_moves_to_another_file_is_known_there(folder: Path) -> None:
    (folder / "cafe.yaml").rename(folder / "house.yaml")
    (found,) = load_services(folder)
    assert found.source == str(folder / "house.yaml") and read_standing(folder)[1] == ()


def test_what_is_kept_is_the_whole_environment_and_of_its_own_folder(folder: Path, tmp_path: Path) -> None:
    (declared,) = load_services(folder)
    assert last_good.kept(folder) == (declared,) == last_good.kept(folder, "cafe")
    assert last_good.kept(folder, "caf") == () == last_good.kept(tmp_path)
    last_good.forget(declared)
    assert last_good.kept(folder) == ()


def test_what_cannot_be_kept_or_read_is_no_fault_of_the_services(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    place = last_good.kept_folder(folder)
    (place / "cafe.live.json").write_text('{"service": "cafe"')
    assert read_standing(folder)[1] == () and last_good.home_of(folder, "cafe") is None
    (place / "cafe.live.json").unlink()
    shutil.rmtree(place)
    place.write_text("in the way")
    assert built("releases.py") == {"release.cafe.live"}
    assert "cannot be kept" in caplog.text


def test_a_train_that_is_under_way_survives_a_mistake_in_its_file_and_nobody_boards(folder: Path) -> None:
    trains = folder.parent / "trains"
    (trains / "weekly.yaml").write_text(FILE)
    assert built("trains.py") == {"train.weekly"}
    good = find_train(trains, "weekly")
    mistakes = ("train: [", "", FILE.replace("train: weekly", "train: other"), None)
    for wrong in mistakes:
        (trains / "weekly.yaml").unlink() if wrong is None else (trains / "weekly.yaml").write_text(wrong)
        assert built("trains.py") == {"train.weekly"} and find_standing_train(trains, "weekly") == good
        with pytest.raises(AirlockError):
            find_train(trains, "weekly")
        assert "no new one leaves" in shown()
    with pytest.raises(UnknownName):
        find_standing_train(trains, "daily")


def test_the_services_of_a_train_and_the_environment_before_are_found_while_their_file_is_wrong(folder: Path) -> None:
    good = find(folder, "cafe", "live")
    (folder / "cafe.yaml").write_text("service: [")
    assert find_standing(folder, "cafe", "live") == good
    for service, environment in (("cafe", "later"), ("bar", "live")):
        with pytest.raises(AirlockError):
            find_standing(folder, service, environment)


def test_a_last_good_version_that_goes_away_meanwhile_is_no_failure(tmp_path, monkeypatch):
    monkeypatch.setenv("AIRLOCK_HOME", str(tmp_path / "home"))
    place = last_good.kept_folder(tmp_path)
    place.mkdir(parents=True)
    (place / "cafe.live.json").symlink_to("gone")
    assert last_good.home_of(tmp_path, "cafe") is None
    assert last_good.kept(tmp_path) == ()
    assert last_good.ledgers(tmp_path) == frozenset()
