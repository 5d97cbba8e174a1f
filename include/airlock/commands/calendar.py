"""``airlock calendar``: when a service environment may be released next, and what closes the times before."""

from __future__ import annotations

import argparse
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from airlock.errors import InvalidInput
from airlock.models import utc_now
from airlock.schedule.asking import Asked, ask, open_calendar, open_times
from airlock.schedule.calendar import OpenTime
from airlock.schedule.cycle import described, due_times
from airlock.schedule.local_time import shown
from airlock.schedule.words import reason, span
from airlock.service.deep_check import check_deep
from airlock.service.find import ServiceEnvironment, find, services_folder

_MOST = 100
_YEARS = range(2000, 2200)


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add this command to the command line."""
    parser = subparsers.add_parser("calendar", help="print when a service may be released next, and why not earlier",
                                   description="Exit code 0: it is open, or opens; 1: it does not open, or nobody "
                                               "knows when; 2: wrong input.")
    parser.add_argument("service", metavar="SERVICE")
    parser.add_argument("environment", metavar="ENV")
    parser.add_argument("--next", type=int, default=5, metavar="N", help=f"how many times to print, 1 to {_MOST}")
    parser.add_argument("--at", default=None, metavar="MOMENT",
                        help="the moment to begin with, such as 2026-12-23T09:00 (local time of the calendar unless "
                             "it has an offset); live signals are asked now all the same")
    parser.add_argument("--folder", type=Path, default=None,
                        help="folder of service files (default: AIRLOCK_SERVICES, else include/services)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=run_calendar)


def run_calendar(arguments: argparse.Namespace, console: Console) -> int:
    """Print the next times and return 0; 1 if the calendar is closed and no opening is known.

    :raises InvalidInput: a service file, the number or the moment is wrong
    """
    if not 1 <= arguments.next <= _MOST:
        raise InvalidInput(f"--next {arguments.next}: write a number from 1 to {_MOST}")
    environment = find(arguments.folder or services_folder(), arguments.service, arguments.environment)
    check_deep(environment)
    calendar = environment.calendar
    at = utc_now() if arguments.at is None else _moment(arguments.at, ZoneInfo(calendar.timezone))
    asked = ask(calendar, environment.service, environment.environment, at)
    found = open_times(calendar, at, arguments.next)
    due = due_times(environment.cycle, calendar, at, arguments.next, open_calendar(calendar).spelled)
    if arguments.json:
        console.out(json.dumps(_plain(environment, asked, found, due), indent=2), highlight=False)
    else:
        _show(environment, asked, found, due, console)
    return 0 if asked.decision.open or found else 1


def _moment(text: str, zone: ZoneInfo) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
        known = (moment if moment.tzinfo else moment.replace(tzinfo=zone)).astimezone(UTC)
    except (ValueError, OverflowError):
        known = None
    if known is None or known.year not in _YEARS:
        raise InvalidInput(f"--at {text[:40]!a} is no moment from {_YEARS[0]} to {_YEARS[-1]}; write such as "
                           "2026-12-23T09:00 or 2026-12-23T09:00+01:00")
    return known


def _plain(
    environment: ServiceEnvironment, asked: Asked, found: tuple[OpenTime, ...], due: tuple[datetime, ...]
) -> dict[str, Any]:
    said = asked.decision
    return {
        "service": environment.service, "environment": environment.environment,
        "timezone": environment.calendar.timezone, "at": asked.at.isoformat(), "open": said.open, "code": said.code,
        "sentence": said.sentence, "next_open": said.next_open.isoformat() if said.next_open else None,
        "closures": [{"code": one.code, "name": one.name, "words": one.words} for one in said.closures],
        "slots": [{"from": time.start.isoformat(), "to": time.end.isoformat() if time.end else None,
                   "before": [entry.model_dump(mode="json") for entry in time.before]} for time in found],
        "cycle": described(environment.cycle, environment.calendar), "runs": [moment.isoformat() for moment in due],
    }


def _show(
    environment: ServiceEnvironment, asked: Asked, found: tuple[OpenTime, ...], due: tuple[datetime, ...],
    console: Console,
) -> None:
    timezone = environment.calendar.timezone
    state = "open" if asked.decision.open else f"CLOSED, {asked.decision.code}"
    console.print(f"{environment.service} {environment.environment}: {state}", markup=False, highlight=False)
    console.print(escape(asked.decision.sentence), soft_wrap=True, highlight=False)
    table = Table("", f"open ({timezone})", "closed before it by")
    for number, time in enumerate(found, start=1):
        causes = "\n".join(reason(entry, timezone) for entry in time.before)
        table.add_row(str(number), span(time, timezone), escape(causes) or "-")
    if found:
        console.print(table)
        console.print("Times that are neither listed nor named are outside every window. An incident or a spent error "
                      "budget may close any of them.", soft_wrap=True, highlight=False)
    else:
        console.print("no opening is known", highlight=False)
    if environment.cycle.timed:
        runs = ", ".join(shown(moment, ZoneInfo(environment.cycle.timezone or timezone)) for moment in due)
        console.print(f"cycle: {escape(described(environment.cycle, environment.calendar))}; next runs: "
                      f"{runs or 'none'}", soft_wrap=True, highlight=False)
