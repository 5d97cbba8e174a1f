"""``airlock standard-change``: which templates hold, and leave to use a suspended one again."""

from __future__ import annotations

import argparse
import getpass
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from airlock.change.templates import Restoration, suspension, template_of
from airlock.errors import GateRefused, InvalidInput
from airlock.models import Record, utc_now
from airlock.past import changes, ledgers
from airlock.plain_text import fault_in, visible_length
from airlock.service.find import chosen, find, services_folder

_SHORTEST_REASON = 10


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add this group to the command line."""
    group = subparsers.add_parser("standard-change", help="show templates of standard changes, restore suspended ones")
    actions = group.add_subparsers(dest="action", required=True, metavar="ACTION")
    show = actions.add_parser("list", help="show every template, how often it was used, and whether it is suspended",
                              description="Exit code 0: all templates hold; 1: one is suspended; 2: wrong input.")
    show.add_argument("service", metavar="SERVICE", nargs="?")
    show.add_argument("environment", metavar="ENV", nargs="?")
    _folder(show)
    show.set_defaults(run=run_list)
    restore = actions.add_parser("restore", help="let a suspended template be used again; goes on record, signed")
    restore.add_argument("service", metavar="SERVICE")
    restore.add_argument("environment", metavar="ENV")
    restore.add_argument("template", metavar="TEMPLATE")
    restore.add_argument("--reason", required=True, help="what was mended, so that it does not fail again")
    restore.add_argument("--by", required=True, metavar="PERSON", help="who decides, of a group of the service")
    _folder(restore)
    restore.set_defaults(run=run_restore)


def run_list(arguments: argparse.Namespace, console: Console) -> int:
    """Print every template and return 0, or 1 when one does not hold now.

    :raises InvalidInput: a service file is wrong
    :raises EvidenceInvalid: a record was altered
    """
    table = Table("service", "environment", "template", "most risk", "uses", "failed", "state")
    said = []
    for environment in chosen(arguments.folder or services_folder(), arguments.service, arguments.environment):
        for name, template in environment.standard_changes.items():
            uses = changes.uses_of(ledgers.releases(environment, signed=False), name)
            restored = changes.restored(ledgers.stream(environment, ledgers.STANDARD_CHANGES, signed=False), name)
            found = suspension(template, uses, restored)
            over = template.valid_until is not None and utc_now().date() > template.valid_until
            state = "[red]suspended[/]" if found else "[red]over[/]" if over else "holds"
            if found:
                said.append(f"{name}: suspended since {found.since:%d %b %Y %H:%M} UTC: {found.sentence}")
            elif over:
                said.append(f"{name}: was valid until {template.valid_until}")
            failed = sum(use.outcome == "rolled_back" for use in uses)
            table.add_row(environment.service, environment.environment, name, str(template.maximum_risk),
                          str(len(uses)), str(failed), state)
    console.print(table)
    for line in said:
        console.print(escape(line), soft_wrap=True, highlight=False)
    return 1 if said else 0


def run_restore(arguments: argparse.Namespace, console: Console) -> int:
    """Put on record that a suspended template may be used again, and return 0.

    :raises InvalidInput: the reason says nothing, or the person is in no group of the service
    :raises GateRefused: the template is not suspended
    """
    environment = find(arguments.folder or services_folder(), arguments.service, arguments.environment)
    name, template = template_of(environment, arguments.template)
    reason = " ".join(arguments.reason.split())
    if fault_in(reason) or not _SHORTEST_REASON <= visible_length(reason) <= 2000:
        raise InvalidInput(f"the reason must be {_SHORTEST_REASON} to 2000 characters of plain text that say what was "
                           "mended; write it out")
    members = sorted({person for group in environment.groups.values() for person in group})
    if arguments.by not in members:
        raise InvalidInput(f"{arguments.by[:40]!a} is in no group of {environment.service}; one of "
                           f"{', '.join(members)} must decide")
    ledger = ledgers.stream(environment, ledgers.STANDARD_CHANGES)
    found = suspension(template, changes.uses_of(ledgers.releases(environment), name), changes.restored(ledger, name))
    if found is None:
        raise GateRefused(f"the template {name!r} of {environment.service} {environment.environment} is not suspended; "
                          "there is nothing to restore")
    given = Restoration(person=arguments.by, at=utc_now(), reason=reason)
    ledger.append(Record(release=name, type="restored", at=given.at, actor=given.person, data={
        "restoration": given.model_dump(mode="json"), "suspended": found.model_dump(mode="json"),
        "entered_by": _log_in(),
    }))
    console.print(f"{escape(name)} of {environment.service} {environment.environment} may be used again; on record in "
                  f"{escape(str(ledger.release_folder(name)))}", soft_wrap=True, highlight=False)
    return 0


def _log_in() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):
        return "unknown"  # a container that runs as a user without a name


def _folder(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--folder", type=Path, default=None,
                        help="folder of service files (default: AIRLOCK_SERVICES, else include/services)")
