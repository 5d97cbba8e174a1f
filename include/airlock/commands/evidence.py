"""``airlock evidence``: check packs and ledgers offline."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from airlock.errors import InvalidInput
from airlock.evidence.pack import verify
from airlock.evidence.report import Report

_KEY = re.compile(r"-----BEGIN PUBLIC KEY-----.+?-----END PUBLIC KEY-----", re.DOTALL)


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add this group to the command line."""
    group = subparsers.add_parser("evidence", help="check evidence packs and ledgers offline")
    actions = group.add_subparsers(dest="action", required=True, metavar="ACTION")
    check = actions.add_parser("verify", help="name every record that was altered, removed, reordered or cut off",
                               description="Exit code 0: nothing is wrong; 1: problems are listed; 2: wrong input.")
    check.add_argument("path", metavar="PATH",
                       help="pack (zip), unpacked pack, or folder of the ledger: release, environment, service or root")
    check.add_argument("--public-key", metavar="FILE", action="append", default=[],
                       help="PEM file with the trusted public key(s); may be repeated after a change of keys")
    check.add_argument("--anchor", metavar="FOLDER", help="folder with the digests of the newest seals")
    check.add_argument("--json", action="store_true", help="print the report as JSON")
    check.set_defaults(run=run_verify)


def run_verify(arguments: argparse.Namespace, console: Console) -> int:
    """Check the evidence, print the report, and return 0 if nothing is wrong, else 1."""
    keys = [pem for file in arguments.public_key for pem in _public_keys(Path(file))]
    report = verify(arguments.path, keys, arguments.anchor)
    if arguments.json:
        console.out(report.model_dump_json(indent=2), highlight=False)
    else:
        _show(report, arguments.path, console)
    return 0 if report.ok else 1


def _public_keys(file: Path) -> list[str]:
    try:
        text = file.read_text(encoding="utf-8")
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
