"""``airlock drivers``: what each registered backup driver can do, and what everything that is registered needs."""

from __future__ import annotations

import argparse
import json
from typing import Any

from rich.box import SIMPLE
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from airlock.commands.needs_text import page, section, tables
from airlock.errors import AirlockError, UnknownName
from airlock.registry import DRIVERS, resolve


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add this group to the command line."""
    parser = subparsers.add_parser("drivers", help="list the backup drivers, what they can do and what they need")
    parser.add_argument("name", metavar="NAME", nargs="?", default=None,
                        help="of a driver, target, metric source...: all that it needs, with every permission")
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
        table = Table(box=SIMPLE, pad_edge=False)
        for heading in ("kind", "driver", "proof", "origin"):
            # Names stay whole on a narrow terminal, so that they can be copied.
            table.add_column(heading, no_wrap=True)
        table.add_column("consistent with, needs, and leaves out", overflow="fold")
        for row in rows:
            texts = [_text(row[column]) for column in ("kind", "driver", "restore_proof", "restores_origin")]
            needs = f"; needs {_text(row['needs'])}" if row["needs"] else ""
            leaves_out = f"; leaves out: {'; '.join(row['leaves_out'])}" if row["leaves_out"] else ""
            table.add_row(*map(escape, texts), escape(f"{_text(row['consistent'])}{needs}{leaves_out}"))
        console.print(table)
        console.print("proof: it can prove a restore; origin: it can restore into the origin", highlight=False)
        for row in rows:
            if row["fault"]:
                console.print(f"[red]{escape(row['driver'])}[/]: {escape(row['fault'])}", soft_wrap=True)
    return 1 if any(row["fault"] for row in rows) else 0


def _sections(name: str) -> str:
    found = [section(name, resolve(table, what, name).needs) for what, table in tables() if name in table]
    if not found:
        raise UnknownName(f"nothing is registered as {name!r}; next: see airlock drivers")
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


def _text(value: Any) -> str:
    if value is None:
        return "?"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(value) if isinstance(value, list) else str(value)
