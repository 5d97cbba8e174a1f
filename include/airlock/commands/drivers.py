"""``airlock drivers``: what each registered backup driver can do, and what everything that is registered needs."""

from __future__ import annotations

import argparse
import json
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from airlock.commands.needs_text import page, plural, section, tables
from airlock.errors import AirlockError, UnknownName
from airlock.registry import DRIVERS, resolve
from airlock.spelling import did_you_mean


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add this group to the command line."""
    parser = subparsers.add_parser(
        "drivers", help="list what is registered: drivers, targets, routers ..., and what each needs")
    parser.add_argument("name", metavar="NAME", nargs="?", default=None,
                        help="of a driver, target, router ...: all that it needs, with every permission")
    parser.add_argument("--json", action="store_true", help="print the list as JSON")
    parser.add_argument("--markdown", action="store_true", help="print all that everything needs, as a page")
    parser.set_defaults(run=run_drivers)


def run_drivers(arguments: argparse.Namespace, console: Console) -> int:
    """Print one row for each driver and return 0; 1 if a registered driver cannot be loaded.

    :raises UnknownName: nothing of the name that was asked for is registered
    """
    if arguments.markdown or arguments.name:
        console.out(page() if arguments.markdown else _sections(arguments.name), highlight=False, end="")
        return 0
    rows = sorted((_row(name) for name in DRIVERS), key=lambda row: (row["kind"], row["driver"]))
    if arguments.json:
        console.out(json.dumps(rows, indent=2), highlight=False)
    else:
        for row in rows:
            _show(row, console)
        _show_others(console)
    return 1 if any(row["fault"] for row in rows) else 0


def _show(row: dict[str, Any], console: Console) -> None:
    """Print one driver: its kind and name in a line that is never broken, below it what it can do, needs and leaves."""
    console.print(f"{escape(row['kind'])}: [bold]{escape(row['driver'])}[/]", soft_wrap=True, highlight=False)
    if row["fault"]:
        console.print(f"  [red]fault[/] {escape(row['fault'])}", soft_wrap=True, highlight=False)
        return
    cannot = [what for what, able in (("prove a restore", row["restore_proof"]),
                                      ("restore into the origin", row["restores_origin"])) if not able]
    said = [("consistent", [row["consistent"]]), ("needs", row["needs"]), ("leaves out", row["leaves_out"]),
            ("cannot", cannot)]
    table = Table.grid(padding=(0, 1))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for label, words in said:
        if words:
            table.add_row(f"  {label}:", escape("; ".join(words)))
    console.print(table)


def _show_others(console: Console) -> None:
    console.print("Each proves its restore, and restores into the origin, where nothing else is said.\n",
                  highlight=False)
    console.print("Beside drivers are registered:", highlight=False)
    for what, table in tables():
        if table is not DRIVERS:
            console.print(f"  {plural(what)}: {', '.join(sorted(table))}", soft_wrap=True, highlight=False)
    console.print("airlock drivers NAME prints every permission that one of all these needs. {...} stands for an "
                  "option of the service file.", markup=False, highlight=False)


def _sections(name: str) -> str:
    found = [section(name, resolve(table, what, name).needs, what) for what, table in tables() if name in table]
    if not found:
        known = sorted({one for _, table in tables() for one in table})
        hint = did_you_mean(name, known)
        raise UnknownName(f"nothing is registered as {name[:80]!r}: {hint}known are {', '.join(known)}")
    return "\n".join(found)


def _row(name: str) -> dict[str, Any]:
    needs = [DRIVERS[name].needs] if DRIVERS[name].needs else []
    row: dict[str, Any] = {"kind": "", "driver": name, "restore_proof": None, "restores_origin": None,
                           "consistent": "", "needs": needs, "leaves_out": [], "fault": "", "declares": {}}
    try:
        driver = resolve(DRIVERS, "driver", name)
    except AirlockError as error:
        return row | {"kind": DRIVERS[name].path.split(".")[3], "fault": str(error)}
    able = driver.capabilities
    return row | {"kind": str(driver.kind), "restore_proof": able.restore_proof,
                  "restores_origin": able.restores_origin, "consistent": able.consistent,
                  "leaves_out": list(able.leaves_out), "declares": driver.needs.model_dump(mode="json"),
                  "needs": [*needs, *(f"program {one.name}" for one in driver.needs.programs),
                            *(f"connection of {one.sort}" for one in driver.needs.connections if not one.when)]}

