"""``airlock land``: bring open releases back by hand, from any machine, while Airflow is down; on record."""

from __future__ import annotations

import argparse
import logging
import os
import re
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from pydantic import ValidationError
from rich.console import Console
from rich.markup import escape

from airlock.deploy.broken_glass import BrokenGlass
from airlock.errors import AirlockError, GateRefused, InvalidInput
from airlock.evidence.pack import pack_path
from airlock.flow.stages import broken_glass
from airlock.flow.stages.broken_glass import Open
from airlock.flow.stages.release import Release
from airlock.models import Frozen
from airlock.past import ledgers
from airlock.places import paths
from airlock.service.find import ServiceEnvironment, services_folder
from airlock.service.stand_ins import find_standing

_DRY = "a dry run, which does nothing"


class Done(Frozen):
    """What became of one open release. ``done`` is empty where nothing was done, and ``error`` says why it should have
    been; ``target``: what the target showed before."""

    found: Open
    target: str = ""
    airflow: str = ""
    done: str = ""
    pack: str = ""
    error: str = ""


class Report(Frozen):
    """Everything that was found and done in one service environment."""

    service: str
    environment: str
    ledger: str
    dry_run: bool
    releases: tuple[Done, ...]

    @property
    def failed(self) -> tuple[Done, ...]:
        """Return the releases that should have been brought back, and were not."""
        return tuple(one for one in self.releases if one.error)


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add this command to the command line."""
    parser = subparsers.add_parser(
        "land", help="while Airflow is down: bring a release that is under way back, by hand and on record",
        description="Does what the DAG settle does, from any machine that has the ledger in reach and the service's "
                    "connections in its environment (AIRFLOW_CONN_...). Never beside a running act. Who did it, where "
                    "from and why goes on record, signed, and is shown when Airflow is back. Releases that changed "
                    "nothing, or are baked, are left alone. Exit code 0: nothing is under way any more (with "
                    "--dry-run: it could be brought back); 1: something is, and why is said; 2: wrong input.",
    )  # fmt: skip
    parser.add_argument("service", metavar="SERVICE")
    parser.add_argument("environment", metavar="ENVIRONMENT")
    parser.add_argument("--reason", default=None, help="what happened, and why it cannot wait; goes on record (needed "
                                                       "but with --dry-run)")
    parser.add_argument("--as", dest="person", metavar="NAME", default="",
                        help="who you are, beside the name of the log-in and of this machine, which go on record too")
    parser.add_argument("--release", metavar="ID", default=None, help="this one only (default: all that are under way)")
    parser.add_argument("--although-airflow-works", action="store_true",
                        help="do it although the scheduler of its Airflow says that it is healthy")
    parser.add_argument("--dry-run", action="store_true", help="ask for everything that is needed, and do nothing")
    parser.add_argument("--json", action="store_true", help="print what was found and done as JSON")
    parser.add_argument("--folder", type=Path, default=None,
                        help="folder of service files (default: AIRLOCK_SERVICES, else include/services)")
    parser.set_defaults(run=run_land)


def run_land(arguments: argparse.Namespace, console: Console) -> int:
    """Bring back what is under way, print what was done, and return 0, or 1 when something is under way still.

    :raises InvalidInput: the reason or the name says nothing, or there is no such service, environment or ledger here
    :raises EvidenceInvalid: the ledger or its anchor were altered
    """
    glass = _glass(arguments)
    environment = find_standing(arguments.folder or services_folder(), arguments.service, arguments.environment)
    ledger = ledgers.releases(environment)
    here = paths.local(ledger.folder)
    if here is not None and not here.is_dir():
        raise InvalidInput(f"there is no ledger of {environment.service} {environment.environment} on this machine: "
                           f"{here} does not exist; run this where the folder is, or mount it")
    with _told(quiet=arguments.json):
        found = broken_glass.open_releases(environment, glass.actor)
        if arguments.release is not None:
            found = tuple(one for one in found if one.release == arguments.release)
            if not found:
                raise InvalidInput(f"{arguments.release[:140]!a} is no open release of {environment.service} "
                                   f"{environment.environment}; look with --dry-run")
        one_by_one = partial(_carried_out, environment, glass, arguments)
        report = Report(service=environment.service, environment=environment.environment, ledger=str(ledger.folder),
                        dry_run=arguments.dry_run, releases=tuple(map(one_by_one, found)))
    if arguments.json:
        console.out(report.model_dump_json(indent=2), highlight=False)
    else:
        _show(report, console)
    return 1 if report.failed else 0


def _glass(arguments: argparse.Namespace) -> BrokenGlass:
    reason = arguments.reason if arguments.reason is not None or not arguments.dry_run else _DRY
    if reason is None:
        raise InvalidInput("say why, with --reason: it goes on record, and people read it when Airflow is back")
    try:
        return BrokenGlass(reason=" ".join(reason.split()), person=arguments.person, user=_user(), host=_host())
    except ValidationError as error:
        faults = [str(one["msg"]).removeprefix("Value error, ") for one in error.errors()]
        raise InvalidInput("; ".join(faults)) from error


def _user() -> str:
    """Return the name of the user that this process is of, which no variable of the environment can change."""
    import pwd

    number = os.geteuid()
    try:
        return re.sub(r"\s", "-", pwd.getpwuid(number).pw_name)[:64] or f"uid-{number}"
    except KeyError:  # a container that runs as a user without a name
        return f"uid-{number}"


def _host() -> str:
    return re.sub(r"[^A-Za-z0-9._:-]", "-", socket.gethostname())[:253] or "unknown"


def _carried_out(
    environment: ServiceEnvironment, glass: BrokenGlass, arguments: argparse.Namespace, found: Open
) -> Done:
    if not found.why:
        return Done(found=found)
    release = Release(environment, found.release, glass.actor)
    works, said = broken_glass.airflow_now(found.airflow)
    target = ""
    try:
        target = broken_glass.target_now(release)
        if works and not arguments.although_airflow_works:
            raise GateRefused(f"its Airflow works ({found.airflow}: {said}): mark the run {found.run_id} as failed "
                              "there, and it is brought back within a minute or so; if you know that it does not work, "
                              "say --although-airflow-works")
        if arguments.dry_run:
            return Done(found=found, target=target, airflow=said)
        done = broken_glass.land(release, glass.model_copy(update={"airflow": said}))
    except AirlockError as error:
        return Done(found=found, target=target, airflow=said, error=str(error))
    return Done(found=found, target=target, airflow=said, done=done,
                pack=str(pack_path(environment.evidence, release.id)))


@contextmanager
def _told(*, quiet: bool) -> Iterator[None]:
    """Say on the error output what is done while it is done; *quiet*: nothing below a warning."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
    handler.setLevel(logging.WARNING if quiet else logging.INFO)
    ours = logging.getLogger("airlock")
    level, spread = ours.level, ours.propagate
    ours.addHandler(handler)
    ours.setLevel(logging.INFO)
    ours.propagate = False
    try:
        yield
    finally:
        ours.removeHandler(handler)
        ours.setLevel(level)
        ours.propagate = spread


def _show(report: Report, console: Console) -> None:
    def say(text: str) -> None:
        console.print(text, soft_wrap=True, highlight=False)

    where = f"{report.service} {report.environment}"
    if not report.releases:
        say(f"{where}: no release is open in {escape(report.ledger)}; nothing was done")
    for one in report.releases:
        found = one.found
        head = f"{found.release}{f' ({found.version})' if found.version else ''}"
        if not found.why:
            say(f"{escape(head)}: left alone: {escape(found.left)}")
            continue
        say(f"{escape(head)}: {escape(found.why)}; target: {escape(one.target or 'not known')}; its Airflow "
            f"{escape(found.airflow)}: {escape(one.airflow)}")
        if one.error:
            say(f"  [bold red]{'would not be' if report.dry_run else 'not'} brought back[/]: {escape(one.error)}")
        elif report.dry_run:
            say("  would be brought back; nothing was done")
        else:
            say(f"  {escape(one.done)}; evidence: {escape(one.pack)}")
