"""``airlock evidence``: check packs and ledgers offline, and compute their decisions again."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from airlock.errors import InvalidInput
from airlock.evidence.joined import verify_joined
from airlock.evidence.pack import verify
from airlock.evidence.report import Report
from airlock.recompute.release import Recomputation, recompute

_KEY = re.compile(r"-----BEGIN PUBLIC KEY-----.+?-----END PUBLIC KEY-----", re.DOTALL)
_LARGEST_KEY_FILE = 1 << 20


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add this group to the command line."""
    group = subparsers.add_parser("evidence", help="check evidence offline, and compute its decisions again")
    actions = group.add_subparsers(dest="action", required=True, metavar="ACTION")
    check = actions.add_parser("verify", help="name every record that was altered, removed, reordered or cut off",
                               description="Exit code 0: nothing is wrong; 1: problems are listed; 2: wrong input.")
    check.add_argument("path", metavar="PATH",
                       help="pack (zip), unpacked pack, or folder of the ledger: release, environment, service or root")
    check.add_argument("--public-key", metavar="FILE", action="append", default=[],
                       help="PEM file with the trusted public key(s); may be repeated after a change of keys")
    check.add_argument("--anchor", metavar="FOLDER", help="folder with the digests of the newest seals")
    check.add_argument("--releases", metavar="FOLDER", action="append", default=[],
                       help="PATH is the pack of a train: check the packs of its releases in FOLDER too; may "
                            "be repeated")
    check.add_argument("--json", action="store_true", help="print the report as JSON")
    check.set_defaults(run=run_verify)
    repeat = actions.add_parser("recompute", help="compute every decision of a release again from its evidence alone",
                                description="Exit code 0: the evidence is intact and every decision is the one on "
                                            "record; 1: problems or differences are listed; 2: wrong input.")
    repeat.add_argument("path", metavar="PATH", help="pack (zip), unpacked pack, or the ledger's folder of a release")
    repeat.add_argument("--public-key", metavar="FILE", action="append", default=[],
                        help="PEM file with the trusted public key(s); may be repeated after a change of keys")
    repeat.add_argument("--json", action="store_true", help="print the report as JSON")
    repeat.set_defaults(run=run_recompute)


def run_verify(arguments: argparse.Namespace, console: Console) -> int:
    """Check the evidence, print the report, and return 0 if nothing is wrong, else 1."""
    if arguments.releases and arguments.anchor:
        raise InvalidInput("--anchor is for folders of the ledger, --releases for a pack of a train: give one")
    report = (verify_joined(arguments.path, arguments.releases, _keys(arguments)) if arguments.releases
              else verify(arguments.path, _keys(arguments), arguments.anchor))
    if arguments.json:
        console.out(report.model_dump_json(indent=2), highlight=False)
    else:
        _show(report, arguments.path, console)
    return 0 if report.ok else 1


def run_recompute(arguments: argparse.Namespace, console: Console) -> int:
    """Compute every decision again, print what was found, and return 0 if all agree, else 1."""
    found = recompute(arguments.path, _keys(arguments))
    if arguments.json:
        console.out(found.model_dump_json(indent=2), highlight=False)
    else:
        _show_decisions(found, arguments.path, console)
    return 0 if found.ok else 1


def _keys(arguments: argparse.Namespace) -> list[str]:
    return [pem for file in arguments.public_key for pem in _public_keys(Path(file))]


def _public_keys(file: Path) -> list[str]:
    try:
        with file.open(encoding="utf-8") as stream:
            text = stream.read(_LARGEST_KEY_FILE)
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"the public key file {file} cannot be read: {error}") from error
    keys = _KEY.findall(text)
    if not keys:
        raise InvalidInput(f"{file} holds no public key (-----BEGIN PUBLIC KEY-----)")
    return keys


def _show(report: Report, path: str, console: Console) -> None:
    verdict = "[bold green]intact[/]" if report.ok else f"[bold red]NOT intact[/]: {len(report.problems)} problem(s)"
    console.print(f"{escape(path)}: {verdict}", soft_wrap=True)
    for name, value in (("release", report.release), ("outcome", report.outcome), ("records", str(report.records)),
                        ("signed by", report.signed_by)):
        if value:
            console.print(f"  {name}: {escape(value)}", soft_wrap=True, highlight=False)
    for problem in report.problems:
        console.print(f"  [red]-[/] {escape(problem)}", soft_wrap=True, highlight=False)
    for note in report.notes:
        console.print(f"  note: {escape(note)}", soft_wrap=True, highlight=False)


def _show_decisions(found: Recomputation, path: str, console: Console) -> None:
    table = Table(box=None, pad_edge=False)
    for column in ("record", "decision", "on record", "computed again"):
        table.add_column(column, overflow="fold")
    for one in found.decisions:
        result = "[red]differs[/]" if one.differences else "[green]the same[/]"
        table.add_row(escape(one.record.rpartition("-")[0]), escape(one.decision), escape(one.answer), result)
    console.print(table)
    faults = len(found.problems) + len(found.differing)
    verdict = "[bold green]all the same[/]" if found.ok else f"[bold red]NOT the same[/]: {faults} problem(s)"
    console.print(f"{escape(path)}: {len(found.decisions)} decisions computed again: {verdict}", soft_wrap=True)
    for name, value in (("release", found.release), ("outcome", found.outcome), ("records", str(found.records))):
        console.print(f"  {name}: {escape(value)}", soft_wrap=True, highlight=False)
    for problem in found.problems:
        console.print(f"  [red]-[/] {escape(problem)}", soft_wrap=True, highlight=False)
    for one in found.differing:
        for text in one.differences:
            console.print(f"  [red]-[/] {escape(one.record)}: {escape(one.decision)}: {escape(text)}",
                          soft_wrap=True, highlight=False)
    for note in found.notes:
        console.print(f"  note: {escape(note)}", soft_wrap=True, highlight=False)
