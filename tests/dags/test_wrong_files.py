"""A service file or a train file that is wrong costs its own DAGs only, and Airflow shows what is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.schedule.test_train import FILE
from tests.service_data import TEXT, write

DAGS = Path(__file__).resolve().parents[2] / "dags"


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """One right and two wrong service files, two pairs that declare the same, and a right and a wrong train file."""
    services, trains = tmp_path / "services", tmp_path / "trains"
    write(tmp_path)
    write(tmp_path, "service: [", "broken.yaml")
    write(tmp_path, TEXT.replace("service: cafe", "service: bar").replace("tier: 2", "tier: 9"), "bar.yaml")
    for service, *files in (("twin", "twin", "twin-again"), ("nobody", "one", "other")):
        for name in files:
            write(tmp_path, TEXT.replace("service: cafe", f"service: {service}"), f"{name}.yaml")
    trains.mkdir()
    (trains / "weekly.yaml").write_text(FILE)
    (trains / "daily.yaml").write_text(FILE)
    monkeypatch.setenv("AIRLOCK_SERVICES", str(services))
    monkeypatch.setenv("AIRLOCK_TRAINS", str(trains))
    return services


def read(name: str) -> tuple[set[str], str]:
    from airflow.dag_processing.dagbag import DagBag

    bag = DagBag(str(DAGS / name))
    return set(bag.dags), "".join(bag.import_errors.values())


def test_the_others_are_built(folder: Path) -> None:
    assert read("releases.py") == ({"release.cafe.live", "release.twin.live"}, "")
    assert read("rollback.py") == ({"rollback.cafe.live", "rollback.twin.live"}, "")
    assert read("trains.py") == ({"train.weekly"}, "")


def test_every_fault_of_every_file_is_shown(folder: Path) -> None:
    built, shown = read("wrong_files.py")
    assert built == set()
    for said in ("broken.yaml:2: file", "bar.yaml:4: tier", "daily.yaml:1: train",
                 "twin-again.yaml:1: service: 'twin' is declared in", "other.yaml:1: service: 'nobody' is declared in"):
        assert said in shown, said
    assert "cafe.yaml" not in shown and "weekly.yaml" not in shown
    for wrong in (*(folder / f"{name}.yaml" for name in ("broken", "bar", "twin-again", "other")),
                  folder.parent / "trains" / "daily.yaml"):
        wrong.unlink()
    assert read("wrong_files.py") == (set(), "")
    assert read("releases.py")[0] == {"release.cafe.live", "release.twin.live", "release.nobody.live"}


def test_a_task_whose_own_file_is_wrong_says_so(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, dag_id, said in (("releases.py", "release.bar.live", "bar.yaml:4: tier"),
                               ("trains.py", "train.daily", "daily.yaml:1: train:")):
        monkeypatch.setenv("_AIRFLOW_PARSING_CONTEXT_DAG_ID", dag_id)
        monkeypatch.setenv("_AIRFLOW_PARSING_CONTEXT_TASK_ID", "change.validate")
        built, shown = read(name)
        assert built == set() and said in shown


def test_a_task_whose_own_file_is_right_runs_whatever_the_others_say(folder: Path,
                                                                    monkeypatch: pytest.MonkeyPatch) -> None:
    for name, dag_id in (("releases.py", "release.cafe.live"), ("trains.py", "train.weekly")):
        monkeypatch.setenv("_AIRFLOW_PARSING_CONTEXT_DAG_ID", dag_id)
        monkeypatch.setenv("_AIRFLOW_PARSING_CONTEXT_TASK_ID", "change.validate")
        assert read(name) == ({dag_id}, "")
