"""Train files -> trains, with every fault at its file and line. Knows no service file and no Airflow."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable
from pathlib import Path

from airlock.errors import InvalidInput, UnknownName
from airlock.schedule.train import Train, order
from airlock.service import last_good
from airlock.service.validated import Reading, load_policy

log = logging.getLogger(__name__)


def trains_folder() -> Path:
    """Return the folder of train files: ``AIRLOCK_TRAINS``, else ``include/trains``."""
    return Path(os.environ.get("AIRLOCK_TRAINS") or Path(__file__).resolve().parents[2] / "trains")


def load_train(path: Path) -> Train:
    """Return the train of the file *path*.

    :raises InvalidInput: one line for each fault; the services wait for one another, or its name is not the file's
    """
    train = load_policy(path, Train)
    try:
        order(train.services)
    except InvalidInput as error:
        raise InvalidInput(f"{path}:1: {error}") from error
    if path.stem != train.train:
        raise InvalidInput(f"{path}:1: train: is {train.train!r}, but the file is called {path.name}; give both the "
                           "same name, so that no train is declared twice")
    return train


def train_files(folder: Path) -> Iterable[Path]:
    """Return the train files of *folder*, sorted; none if there is no such folder: trains are not needed."""
    if not folder.is_dir():
        return ()
    return sorted(path for path in folder.iterdir() if path.suffix == ".yaml" and not path.name.startswith("."))


def read_trains(folder: Path) -> Reading[Train]:
    """Return the trains of *folder*, by name, and the faults of its files."""
    faults: list[str] = []
    found: list[Train] = []
    for path in train_files(folder):
        try:
            found.append(load_train(path))
        except InvalidInput as error:
            faults.append(str(error))
    return Reading(tuple(found), tuple(faults))


def read_standing_trains(folder: Path) -> tuple[Reading[Train], tuple[Train, ...]]:
    """Return what ``read_trains`` returns, which is kept, and the last good versions of what no right file declares."""
    reading = read_trains(folder)
    for train in reading.declared:
        last_good.keep_as(folder, train.train, train)
    there = {train.train for train in reading.declared}
    kept = (last_good.kept_as(path, Train) for path in sorted(last_good.kept_folder(folder).glob("*.json")))
    return reading, tuple(train for train in kept if train is not None and train.train not in there)


def find_standing_train(folder: Path, name: str) -> Train:
    """Return one train as ``find_train`` does; while its file is wrong or gone, as it was good last.

    :raises UnknownName: there is no file of it, and never was
    :raises InvalidInput: its file is wrong, and never was right
    """
    try:
        return find_train(folder, name)
    except (InvalidInput, UnknownName) as error:
        kept = last_good.kept_as(last_good.kept_folder(folder) / f"{name}.json", Train)
        if kept is None or kept.train != name:
            raise
        log.warning("the last good version of train %s holds for what is under way: %s", name, error)
        return kept


def find_train(folder: Path, name: str) -> Train:
    """Return one train. A fault in the file of another one does not matter.

    :raises UnknownName: there is no file of it
    :raises InvalidInput: its file is wrong
    """
    for path in train_files(folder):
        if path.stem == name:
            return load_train(path)
    raise UnknownName(f"{folder}: there is no train {name[:80]!r}; declared are "
                      f"{', '.join(path.stem for path in train_files(folder)) or 'none'}")
