"""``airlock services``: check service files as deeply as possible without reaching any server, show what they come to,
and retire services."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from rich.box import SIMPLE
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from airlock.change.overlap import Overlap, overlaps
from airlock.errors import InvalidInput
from airlock.past.ledgers import releases
from airlock.schedule.cycle import described
from airlock.schedule.train_file import load_train, train_files, trains_folder
from airlock.service import last_good, schema
from airlock.service.deep_check import check_deep, faults_at
from airlock.service.find import ServiceEnvironment, find, read_services, service_files, services_folder
from airlock.service.provenance import settings_of
from airlock.service.stand_ins import read_standing
from airlock.service.unknown_connections import unknown_connections


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add this group to the command line."""
    group = subparsers.add_parser("services", help="check and show service files; retire services")
    actions = group.add_subparsers(dest="action", required=True, metavar="ACTION")
    check = actions.add_parser("check", help="name every fault of the service files with its file and line",
                               description="Exit code 0: all files are right; 2: a file is wrong, or there is none.")
    check.add_argument("folder", metavar="FOLDER", nargs="?", type=Path, default=None,
                       help="folder of service files (default: AIRLOCK_SERVICES, else include/services)")
    check.set_defaults(run=run_check)
    _add_show(actions)
    _add_schema(actions)
    _add_retire(actions)


def _add_show(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    show = actions.add_parser(
        "show", help="print every setting of an environment, and where it is written",
        description="Exit code 0: printed; 2: there is no such environment, or its file is wrong.")
    show.add_argument("service", metavar="SERVICE")
    show.add_argument("environment", metavar="ENVIRONMENT")
    show.add_argument("--folder", type=Path, default=None,
                      help="folder of service files (default: AIRLOCK_SERVICES, else include/services)")
    show.add_argument("--json", action="store_true", help="print a JSON list of setting, value, file and line")
    show.set_defaults(run=run_show)


def run_show(arguments: argparse.Namespace, console: Console) -> int:
    """Print the settings of an environment, one a line, and return 0.

    :raises AirlockError: it is not declared, or its file is wrong
    """
    settings = settings_of(find(arguments.folder or services_folder(), arguments.service, arguments.environment))
    if arguments.json:
        rows = [{"setting": ".".join(map(str, one.place)), "value": one.value,
                 "file": str(one.origin.path) if one.origin else None, "line": one.origin.line if one.origin else None}
                for one in settings]
        console.out(json.dumps(rows, indent=1, ensure_ascii=False), highlight=False)
        return 0
    for one in settings:
        plain = isinstance(one.value, str) and one.value.strip() == one.value != ""
        shown = one.value if plain else json.dumps(one.value, ensure_ascii=False)
        line = f"{'.'.join(map(str, one.place))}: {shown}  [{one.where}]"
        console.print(escape(line), soft_wrap=True, highlight=False)
    return 0


def _add_schema(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = actions.add_parser(
        "schema", help="write the JSON Schemas of service files, for editors",
        description="Writes service.schema.json and defaults.schema.json; files name them in their first line as "
                    "'# yaml-language-server: $schema=service.schema.json'.")
    parser.add_argument("folder", metavar="FOLDER", nargs="?", type=Path, default=None,
                        help="where to (default: the folder of service files)")
    parser.set_defaults(run=run_schema)


def run_schema(arguments: argparse.Namespace, console: Console) -> int:
    """Write the schemas beside the service files, say where, and return 0.

    :raises InvalidInput: there is no such folder
    """
    folder = arguments.folder or services_folder()
    if not folder.is_dir():
        raise InvalidInput(f"{folder}: there is no such folder; check the path")
    for path in schema.write(folder):
        console.print(escape(str(path)), soft_wrap=True, highlight=False)
    return 0


def _add_retire(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    retire = actions.add_parser(
        "retire", help="let the DAGs go of a service that no file declares any more",
        description="Exit code 0: its last good version is removed; 2: a file declares it, or is wrong and may; or a "
                    "release of it is open.",
    )
    retire.add_argument("service", metavar="SERVICE")
    retire.add_argument("environment", metavar="ENVIRONMENT", nargs="?", default=None, help="one only (default: all)")
    retire.set_defaults(run=run_retire)


def run_retire(arguments: argparse.Namespace, console: Console) -> int:
    """Remove the last good versions of what no file declares any more, and return 0.

    :raises InvalidInput: a file declares it, no last good version is known, or a release of it is open
    """
    folder, name = services_folder(), f"{arguments.service} {arguments.environment or ''}".strip()
    reading, stand_ins = read_standing(folder, arguments.service)

    def meant(one: ServiceEnvironment) -> bool:
        return one.service == arguments.service and arguments.environment in (None, one.environment)

    wanted = tuple(filter(meant, stand_ins))
    if declared := [one for one in reading.declared if meant(one)]:
        raise InvalidInput(f"{declared[0].source} declares {name}; remove it from the file first")
    if reading.faults:  # of files that mention the service
        raise InvalidInput("\n".join((f"it is not known what declares {name}, so mend this first:", *reading.faults)))
    if not wanted:
        raise InvalidInput(f"nothing is kept of {name}, so there is nothing to retire")
    if left := [release for one in wanted for release in releases(one).unsettled()]:
        raise InvalidInput(f"{name}: {', '.join(left)} has not ended; let it end, or mark its run as failed, first")
    for one in wanted:
        last_good.forget(one)
        console.print(f"{one.service} {one.environment} is retired: its DAGs go, its evidence and backups stay",
                      highlight=False)
    return 0


def run_check(arguments: argparse.Namespace, console: Console) -> int:
    """Check every file, print one line for each fault, and return 0 or 2.

    :raises InvalidInput: the folder is not there or has no service file
    """
    folder = arguments.folder or services_folder()
    files = service_files(folder)
    if not files:
        raise InvalidInput(f"{folder}: there is no service file (*.yaml) in this folder; check the path")
    reading = read_services(folder)
    faults, checked = [line for fault in reading.faults for line in fault.splitlines()], []
    for environment in reading.declared:
        try:
            check_deep(environment)
        except InvalidInput as error:
            faults.extend(str(error).splitlines())
        else:
            checked.append(environment)
            faults.extend(faults_at(environment, unknown_connections(environment)))
    found = overlaps(checked)
    for one in found:
        if one.refused:
            where = _newcomer(one, last_good.kept(folder))
            what = one.one.label
            faults.extend(faults_at(where, [((what,), f"{one.sentence}; give each a {what} of its own")]))
    if arguments.folder is None:
        # A file that is wrong may declare what a train is said to miss: that is told when nothing else is wrong.
        known = None if faults else {(one.service, one.environment) for one in checked}
        faults.extend(_train_faults(known))
    for fault in faults:
        console.print(escape(fault), soft_wrap=True, highlight=False)
    if faults:
        console.print(f"{len(faults)} fault(s) in {len(files)} service file(s)", highlight=False)
        return 2
    console.print(_table(checked))
    for one in found:
        console.print(escape(f"shared: {one.sentence}"), soft_wrap=True, highlight=False)
    console.print(f"{len(files)} service file(s), {len(checked)} environment(s): no faults", highlight=False)
    return 0


def _newcomer(found: Overlap, known: tuple[ServiceEnvironment, ...]) -> ServiceEnvironment:
    """Return whose fault *found* is: that of the one which was not known as good before, if the other was."""
    one, other = found.one.where, found.other.where
    before = {(each.service, each.environment) for each in known}
    if (one.service, one.environment) not in before and (other.service, other.environment) in before:
        return one
    return other


def _table(environments: list[ServiceEnvironment]) -> Table:
    table = Table(box=SIMPLE, pad_edge=False)
    for heading in ("service", "environment", "tier", "production", "cycle", "resources"):
        table.add_column(heading, overflow="fold")
    for one in environments:
        kinds = len({resource.kind for resource in one.resources})
        cycle = escape(described(one.cycle, one.calendar))
        table.add_row(one.service, one.environment, str(one.tier), "yes" if one.production else "no",
                      cycle, f"{len(one.resources)} in {kinds} of 10 kinds")
    return table


def _train_faults(known: set[tuple[str, str]] | None) -> list[str]:
    """Return what is wrong with the train files: by themselves, and with services that are not *known*, unless it is
    not said what is."""
    faults: list[str] = []
    for path in train_files(trains_folder()):
        try:
            train = load_train(path)
        except InvalidInput as error:
            faults.extend(str(error).splitlines())
            continue
        faults += [f"{path}:1: services: {one.name!r} is declared in no right service file with the environment "
                   f"{train.environment!r}; correct it" for one in train.services
                   if known is not None and (one.name, train.environment) not in known]
    return faults
