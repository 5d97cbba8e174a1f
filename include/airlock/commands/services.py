"""``airlock services``: check service files as deeply as possible without reaching any server."""

from __future__ import annotations

import argparse
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from airlock.errors import InvalidInput
from airlock.schedule.cycle import described
from airlock.schedule.train_file import load_train, train_files, trains_folder
from airlock.services import ServiceEnvironment, check_deep, load_file, service_files, services_folder


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add this group to the command line."""
    group = subparsers.add_parser("services", help="check service files")
    actions = group.add_subparsers(dest="action", required=True, metavar="ACTION")
    check = actions.add_parser("check", help="name every fault of the service files with its file and line",
                               description="Exit code 0: all files are right; 2: a file is wrong, or there is none.")
    check.add_argument("folder", metavar="FOLDER", nargs="?", type=Path, default=None,
                       help="folder of service files (default: AIRLOCK_SERVICES, else include/services)")
    check.set_defaults(run=run_check)


def run_check(arguments: argparse.Namespace, console: Console) -> int:
    """Check every file, print one line for each fault, and return 0 or 2.

    :raises InvalidInput: the folder is not there or has no service file
    """
    folder = arguments.folder or services_folder()
    files = service_files(folder)
    if not files:
        raise InvalidInput(f"{folder}: there is no service file (*.yaml) in this folder; check the path")
    faults: list[str] = []
    checked: list[ServiceEnvironment] = []
    homes: dict[str, Path] = {}
    for path in files:
        try:
            environments = load_file(path)
        except InvalidInput as error:
            faults.extend(str(error).splitlines())
            continue
        service = environments[0].service
        if service in homes:
            faults.append(f"{path}:1: service: {service!r} is declared in {homes[service]} too; rename or remove one")
        homes.setdefault(service, path)
        for environment in environments:
            try:
                check_deep(environment)
            except InvalidInput as error:
                faults.extend(str(error).splitlines())
            else:
                checked.append(environment)
    if arguments.folder is None:
        faults.extend(_train_faults({(one.service, one.environment) for one in checked}))
    for fault in faults:
        console.print(escape(fault), soft_wrap=True, highlight=False)
    if faults:
        console.print(f"{len(faults)} fault(s) in {len(files)} service file(s)", highlight=False)
        return 2
    console.print(_table(checked))
    console.print(f"{len(files)} service file(s), {len(checked)} environment(s): no faults", highlight=False)
    return 0


def _table(environments: list[ServiceEnvironment]) -> Table:
    table = Table("service", "environment", "tier", "production", "cycle", "target", "resources", "kinds")
    for one in environments:
        kinds = len({resource.kind for resource in one.resources})
        cycle = escape(described(one.cycle, one.calendar))
        table.add_row(one.service, one.environment, str(one.tier), "yes" if one.production else "no",
                      cycle, one.target.name, str(len(one.resources)), f"{kinds} of 10")
    return table


def _train_faults(known: set[tuple[str, str]]) -> list[str]:
    """Return what is wrong with the train files: by themselves, and with services that are not *known*."""
    faults: list[str] = []
    for path in train_files(trains_folder()):
        try:
            train = load_train(path)
        except InvalidInput as error:
            faults.extend(str(error).splitlines())
            continue
        faults += [f"{path}:1: services: {one.name!r} is declared in no right service file with the environment "
                   f"{train.environment!r}; correct it" for one in train.services
                   if (one.name, train.environment) not in known]
    return faults
