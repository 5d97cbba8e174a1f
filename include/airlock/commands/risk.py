"""``airlock risk``: whether past scores were right, from the ledgers alone."""

from __future__ import annotations

import argparse
from pathlib import Path

from rich.console import Console
from rich.table import Table

from airlock.change.history import PastChange
from airlock.change.reliability import Reliability, reliability
from airlock.past import changes, debts, ledgers
from airlock.service.find import chosen, services_folder


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add this group to the command line."""
    group = subparsers.add_parser("risk", help="look back at risk scores")
    actions = group.add_subparsers(dest="action", required=True, metavar="ACTION")
    table = actions.add_parser("reliability", help="past scores in bands against what happened",
                               description="Signatures are not checked here: 'evidence verify' does that.")
    table.add_argument("service", metavar="SERVICE", nargs="?")
    table.add_argument("environment", metavar="ENV", nargs="?")
    table.add_argument("--folder", type=Path, default=None,
                       help="folder of service files (default: AIRLOCK_SERVICES, else include/services)")
    table.add_argument("--json", action="store_true", help="print the table as JSON")
    table.set_defaults(run=run_reliability)


def run_reliability(arguments: argparse.Namespace, console: Console) -> int:
    """Print the table of one service environment, of one service, or of all, and return 0.

    :raises InvalidInput: a service file is wrong
    :raises EvidenceInvalid: a record was altered
    """
    past: list[PastChange] = []
    for environment in chosen(arguments.folder or services_folder(), arguments.service, arguments.environment):
        blamed = debts.blamed(ledgers.stream(environment, ledgers.FOLLOW_UP, signed=False))
        past += changes.past_changes(ledgers.releases(environment, signed=False), blamed)
    found = reliability(past)
    if arguments.json:
        console.out(found.model_dump_json(indent=2), highlight=False)
    else:
        _show(found, console)
    return 0


def _show(found: Reliability, console: Console) -> None:
    table = Table("score", "changes", "failed", "share that failed", "true share, 95 % (Wilson)")
    for band in found.bands:
        share = f"{band.failed / band.changes:.0%}" if band.changes else "-"
        within = f"{band.share_low:.0%} to {band.share_high:.0%}" if band.changes else "-"
        table.add_row(f"{band.low} to {band.high}", str(band.changes), str(band.failed), share, within)
    console.print(table)
    for name, value in (("concordance", found.concordance), ("Brier score", found.brier),
                        ("Brier score of the average", found.brier_of_average), ("skill", found.skill)):
        console.print(f"{name}: {'-' if value is None else f'{value:.3f}'}", highlight=False)
    console.print(found.sentence, soft_wrap=True, highlight=False)
