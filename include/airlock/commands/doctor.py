"""``airlock doctor``: ask now for everything that a release will need, and say how to mend what is missing."""

from __future__ import annotations

import argparse
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from airlock.doctor.finding import FAULTY, WARNED, Finding, Gravity, Report, by_area
from airlock.doctor.questions import diagnose, of_wrong_files
from airlock.service.find import find, find_all, services_folder
from airlock.service.model import ServiceEnvironment

_SIGNS = {Gravity.FINE: ("ok", "green"), Gravity.NOTE: ("note", "cyan"), Gravity.NOT_ASKED: ("not asked", "cyan"),
          Gravity.WARNING: ("warning", "yellow"), Gravity.FAULT: ("fault", "bold red")}  # fmt: skip


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add this command to the command line."""
    parser = subparsers.add_parser(
        "doctor", help="ask for everything that a release will need, and change nothing",
        description="Asks for connections, rights, servers, programs, versions, room, clocks and keys. The one thing "
                    "that is written is a probe in each place where releases keep something, which is removed again. "
                    f"Exit code 0: nothing worse than a note; {WARNED}: warnings; {FAULTY}: a release would fail; 1: "
                    "doctor itself failed; 2: wrong input.",
    )  # fmt: skip
    parser.add_argument("service", metavar="SERVICE", nargs="?", default=None, help="one service (default: all)")
    parser.add_argument("environment", metavar="ENVIRONMENT", nargs="?", default=None, help="one environment only")
    parser.add_argument("--folder", type=Path, default=None,
                        help="folder of service files (default: AIRLOCK_SERVICES, else include/services)")
    parser.add_argument("--all", action="store_true", help="show what is fine, too")
    parser.add_argument("--json", action="store_true", help="print every finding as JSON")
    parser.set_defaults(run=run_doctor)


def run_doctor(arguments: argparse.Namespace, console: Console) -> int:
    """Ask, print the findings, and return the exit code of the gravest.

    :raises InvalidInput: there is no such service or environment, or no service file at all
    """
    meant, faults = _meant(arguments)
    found: list[Finding] = list(of_wrong_files(faults))
    if found and not arguments.json:
        show(console, "service files", Report(findings=tuple(found)), everything=False)
    for environment in meant:
        with _quiet():
            report = Report(findings=tuple(diagnose(environment)))
        found += report.findings
        if not arguments.json:
            show(console, f"{environment.service} {environment.environment}", report, everything=arguments.all)
    whole = Report(findings=tuple(found))
    if arguments.json:
        console.out(whole.model_dump_json(indent=2, exclude={"untold"}), highlight=False)
    return whole.exit_code


@contextmanager
def _quiet() -> Iterator[None]:
    """What drivers, and Airflow once it is imported, log for on-call is no answer to who asks here."""
    os.environ["AIRFLOW__LOGGING__LOGGING_LEVEL"] = "CRITICAL"
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)


def _meant(arguments: argparse.Namespace) -> tuple[list[ServiceEnvironment], tuple[str, ...]]:
    """Return the service environments that are asked for, and what is wrong with files that may declare more."""
    folder = arguments.folder or services_folder()
    if arguments.environment is not None:
        return [find(folder, arguments.service, arguments.environment)], ()
    reading = find_all(folder, arguments.service)
    return list(reading.declared), reading.faults


def show(console: Console, head: str, report: Report, *, everything: bool) -> None:
    """Print what was found below *head*: what is fine as a count, unless *everything* is wanted."""
    console.print(escape(head), style="bold", highlight=False)
    for area, findings in by_area(report.findings).items():
        shown = [one for one in findings if everything or one.gravity is not Gravity.FINE]
        fine = sum(one.gravity is Gravity.FINE for one in findings)
        console.print(escape(f"  {area}: {fine} of {len(findings)} fine"), highlight=False)
        for one in shown:
            word, style = _SIGNS[one.gravity]
            console.print(f"    [{style}]{word}[/] {escape(f'{one.where}: {one.what}')}", soft_wrap=True,
                          highlight=False)  # fmt: skip
            for label, said in (("why", one.why), ("mend", one.mend)):
                if said:
                    console.print(escape(f"      {label}: {said}"), soft_wrap=True, highlight=False)
    console.print(escape(report.sentence), highlight=False, soft_wrap=True)
