"""What a DAG file builds DAGs of: of all that is declared for the DAG processor, of one for a task on a worker.

In the DAG processor a wrong file costs new DAGs of that file only; ``dags/wrong_files.py`` shows what is wrong, and
what was declared before goes on by its last good version. On a worker, where there is none, it is a fault of the task
whose DAG it declares.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from airflow.sdk import get_parsing_context

from airlock.errors import InvalidInput
from airlock.schedule.train import Train
from airlock.schedule.train_file import find_standing_train, read_standing_trains, trains_folder
from airlock.service import last_good
from airlock.service.find import ServiceEnvironment, services_folder
from airlock.service.last_good import kept_folder
from airlock.service.stand_ins import read_standing, undeclared
from airlock.service.unchanged import read_standing_once


def environments(
    dag_id: Callable[[ServiceEnvironment], str], *, stand_ins: bool = True
) -> Iterator[ServiceEnvironment]:
    """Yield every service environment whose DAG is wanted now. On a worker the files of other services are not read, so
    that a task begins quickly and no fault of another service stops it.

    :param dag_id: returns ``<something>.<service>.<environment>``
    :param stand_ins: whether the last good version stands in for what no right file declares now
    :raises InvalidInput: on a worker, the file of the service is wrong, and there is no version that was good
    """
    wanted, folder = get_parsing_context().dag_id, services_folder()
    service = wanted.split(".")[1] if wanted is not None and wanted.count(".") == 2 else None
    if wanted is None:
        reading, missing = read_standing_once(folder)
        yield from (*reading.declared, *(missing if stand_ins else ()))
        return
    reading, missing = read_standing(folder, service)
    standing = (*reading.declared, *(missing if stand_ins else ()))
    last_good.keep(folder, reading.declared)
    for environment in standing or reading.complete():  # once it is found, faults of others do not matter
        if wanted == dag_id(environment):
            yield environment


def trains(dag_id: Callable[[Train], str]) -> Iterator[Train]:
    """Yield every train whose DAG is wanted now.

    :param dag_id: returns ``<something>.<train>``
    :raises InvalidInput: on a worker, the file of the train is wrong, and there is no version that was good
    :raises UnknownName: on a worker, there is no such train
    """
    wanted = get_parsing_context().dag_id
    if wanted is None:
        reading, stand_ins = read_standing_trains(trains_folder())
        yield from (*reading.declared, *stand_ins)
        return
    train = find_standing_train(trains_folder(), wanted.partition(".")[2])
    if wanted == dag_id(train):
        yield train


def refuse_wrong_files() -> None:
    """Return if every service file and every train file is right. Called by a DAG file, so that Airflow shows the rest
    as import errors.

    :raises InvalidInput: one line ``file:line: path: what; what to do`` for each fault of all files
    """
    folder = services_folder()
    reading, missing = read_standing_once(folder)
    gone = [f"{undeclared(one)}: mend or put back the file, or take the service away for good with: ./airlock services "
            f"retire {one.service} {one.environment}" for one in missing]
    if reading.shared(folder):  # no file can be read, so none is to be blamed
        gone = [f"{len(missing)} service environment(s) have their last good version stand in for that long"]
    trains, missing_trains = read_standing_trains(trains_folder())
    gone_trains = (f"{trains_folder()}/{one.train}.yaml: train {one.train} is declared in no right file any more, so "
                   "no new one leaves: mend or put back the file, or let the train go for good by removing "
                   f"{kept_folder(trains_folder()) / one.train}.json" for one in missing_trains)
    faults = (*reading.faults, *trains.faults, *gone, *gone_trains)
    if faults:
        raise InvalidInput("\n".join(("no new DAGs are built of these files, until they are mended:", *faults)))
