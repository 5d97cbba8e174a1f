"""``airlock evidence``: check packs and ledgers offline, and compute their decisions again."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from airlock.errors import InvalidInput
from airlock.evidence.joined import verify_joined
from airlock.evidence.pack import verify
from airlock.evidence.report import Report
from airlock.evidence.several import Reports, packs_at, verify_several
from airlock.past.declared import ledgers_at
from airlock.recompute.release import Recomputation, recompute

_KEY = re.compile(r"-----BEGIN PUBLIC KEY-----.+?-----END PUBLIC KEY-----", re.DOTALL)
_LARGEST_KEY_FILE = 1 << 20


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add this group to the command line."""
    group = subparsers.add_parser("evidence", help="check evidence offline, and compute its decisions again")
    actions = group.add_subparsers(dest="action", required=True, metavar="ACTION")
    check = actions.add_parser("verify", help="name every record that was altered, removed, reordered or cut off",
                               description="Exit code 0: intact, and signed by a key that is trusted; 1: problems are "
                                           "listed, or nothing shows who signed; 2: wrong input, no evidence.")
    check.add_argument("paths", metavar="PATH", nargs="+",
                       help="pack (zip), folder of packs, unpacked pack, or folder of the ledger: release, "
                            "environment, service or root")
    _add_trust(check)
    check.add_argument("--releases", metavar="FOLDER", action="append", default=[],
                       help="PATH is the pack of a train: check the packs of its releases in FOLDER too; may "
                            "be repeated")
    check.add_argument("--environment", metavar="SERVICE/ENVIRONMENT", action="append", default=[],
                       help="PATH is a ledger: this one must be in it, and none that nobody names; may be repeated")
    check.add_argument("--services", metavar="FOLDER", type=Path,
                       help="PATH is a ledger: every environment that the service files in FOLDER keep there must be "
                            "in it, and none besides but what the anchor knows")
    check.set_defaults(run=run_verify)
    repeat = actions.add_parser("recompute", help="compute every decision of a release again from its evidence alone",
                                description="Exit code 0: the evidence is intact, signed by a key that is trusted, and "
                                            "every decision is the one on record; 1: problems or differences are "
                                            "listed, or nothing shows who signed; 2: wrong input, no evidence.")
    repeat.add_argument("paths", metavar="PATH", nargs="+",
                        help="pack (zip), folder of packs, unpacked pack, or the ledger's folder of a release")
    _add_trust(repeat)
    repeat.set_defaults(run=run_recompute)


def _add_trust(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--public-key", metavar="FILE", action="append", default=[],
                        help="PEM file with the trusted public key(s); may be repeated after a change of keys")
    parser.add_argument("--accept-any-signer", action="store_true",
                        help="without --public-key: be content with evidence that agrees with itself, whoever signed")
    parser.add_argument("--anchor", metavar="FOLDER", help="folder with the digests of the newest seals")
    parser.add_argument("--json", action="store_true", help="print the report as JSON")


def run_verify(arguments: argparse.Namespace, console: Console) -> int:
    """Check the evidence, print the report, and return 0 if it is intact and its signer trusted, else 1."""
    keys, any_signer = _keys(arguments), arguments.accept_any_signer
    paths = [found for path in arguments.paths for found in packs_at(path)]
    if arguments.environment or arguments.services:
        report = _verify_ledger(arguments, keys)
    elif arguments.releases:
        if arguments.anchor or len(arguments.paths) > 1:
            raise InvalidInput("--releases is for the one pack of a train: give neither --anchor nor a second PATH")
        report = verify_joined(arguments.paths[0], arguments.releases, keys, any_signer=any_signer)
    elif paths == arguments.paths and len(paths) == 1:
        report = verify(paths[0], keys, arguments.anchor, any_signer=any_signer)
    else:
        return _show_several(verify_several(paths, keys, arguments.anchor, any_signer=any_signer), arguments, console)
    if arguments.json:
        console.out(report.model_dump_json(indent=2), highlight=False)
    else:
        _show(report, arguments.paths[0], console)
    return 0 if report.ok else 1


def _verify_ledger(arguments: argparse.Namespace, keys: list[str]) -> Report:
    """Check the one ledger that PATH is, and that it holds what must be there."""
    if len(arguments.paths) > 1 or arguments.releases:
        raise InvalidInput("--environment and --services are for one ledger: give neither --releases nor a second PATH")
    path = arguments.paths[0]
    declared = ledgers_at(path, arguments.services) if arguments.services else ()
    return verify(path, keys, arguments.anchor, any_signer=arguments.accept_any_signer,
                  expected=arguments.environment, declared=declared)


def run_recompute(arguments: argparse.Namespace, console: Console) -> int:
    """Compute every decision again, print what was found, and return 0 if all agree, else 1."""
    keys = _keys(arguments)
    paths = list(dict.fromkeys(found for path in arguments.paths for found in packs_at(path)))
    several = paths != arguments.paths or len(paths) > 1
    good = 0
    for path in paths:
        found = recompute(path, keys, arguments.anchor, any_signer=arguments.accept_any_signer)
        good += found.ok
        if arguments.json:
            # One line for each of several, so that none of them is kept.
            console.out(found.model_dump_json(indent=None if several else 2), highlight=False)
        else:
            _show_decisions(found, path, console)
    if several and not arguments.json:
        console.print(f"{good} of {len(paths)} are intact, signed by whom you trust, and decided as on record",
                      soft_wrap=True, highlight=False)
    return 0 if good == len(paths) else 1


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


def _show_several(found: Reports, arguments: argparse.Namespace, console: Console) -> int:
    if arguments.json:
        console.out(found.model_dump_json(indent=2), highlight=False)
        return 0 if found.ok else 1
    for path, report in found.reports.items():
        _show(report, path, console)
    good = sum(report.ok for report in found.reports.values())
    unseen = next((f", {text}" for report in found.reports.values() if (text := report.end_in_words)), "")
    console.print(f"{good} of {len(found.reports)} are intact and signed by whom you trust{escape(unseen)}")
    _list(found.problems, found.notes, console)
    return 0 if found.ok else 1


def _show(report: Report, path: str, console: Console) -> None:
    verdict = f"[bold {'green' if report.ok else 'red'}]{report.verdict}[/]"
    if report.problems:
        verdict += f": {len(report.problems)} problem(s)"
    if report.end_in_words:
        verdict += f", [bold yellow]{report.end_in_words}[/]"
    console.print(f"{escape(path)}: {verdict}", soft_wrap=True)
    for name, value in (("release", report.release), ("outcome", report.outcome), ("records", str(report.records)),
                        ("signed by", report.signed_by), ("trusted", report.trust)):
        if value:
            console.print(f"  {name}: {escape(value)}", soft_wrap=True, highlight=False)
    _list(report.problems, report.notes, console)


def _list(problems: Sequence[str], notes: Sequence[str], console: Console) -> None:
    for problem in problems:
        console.print(f"  [red]-[/] {escape(problem)}", soft_wrap=True, highlight=False)
    for note in notes:
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
    verdict = f"[bold {'green' if found.ok else 'red'}]{found.verdict}[/]{f': {faults} problem(s)' if faults else ''}"
    console.print(f"{escape(path)}: {len(found.decisions)} decisions computed again: {verdict}", soft_wrap=True)
    for name, value in (("release", found.release), ("outcome", found.outcome), ("records", str(found.records)),
                        ("trusted", found.trust)):
        console.print(f"  {name}: {escape(value)}", soft_wrap=True, highlight=False)
    _list(found.problems, (), console)
    for one in found.differing:
        for text in one.differences:
            console.print(f"  [red]-[/] {escape(one.record)}: {escape(one.decision)}: {escape(text)}",
                          soft_wrap=True, highlight=False)
    _list((), found.notes, console)
