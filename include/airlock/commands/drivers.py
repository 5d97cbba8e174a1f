"""``airlock drivers``: what each registered backup driver can do."""

from __future__ import annotations

import argparse
import json
from typing import Any

from rich.box import SIMPLE
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from airlock.errors import AirlockError
from airlock.registry import DRIVERS, resolve


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add this group to the command line."""
    parser = subparsers.add_parser("drivers", help="list the backup drivers and what they can do")
    parser.add_argument("--json", action="store_true", help="print the list as JSON")
    parser.set_defaults(run=run_drivers)


def run_drivers(arguments: argparse.Namespace, console: Console) -> int:
    """Print one row for each driver and return 0; 1 if a registered driver cannot be loaded."""
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


def _row(name: str) -> dict[str, Any]:
    needs = [DRIVERS[name].needs] if DRIVERS[name].needs else []
    row: dict[str, Any] = {"kind": "", "driver": name, "restore_proof": None, "restores_origin": None,
                           "consistent": "", "needs": needs, "leaves_out": [], "fault": ""}
    try:
        driver = resolve(DRIVERS, "driver", name)
    except AirlockError as error:
        return row | {"kind": DRIVERS[name].path.split(".")[3], "fault": str(error)}
    able = driver.capabilities
    return row | {"kind": str(driver.kind), "restore_proof": able.restore_proof,
                  "restores_origin": able.restores_origin, "consistent": able.consistent,
                  "leaves_out": list(able.leaves_out),
                  "needs": [*needs, *(f"program {one.name}" for one in driver.needs.programs)]}


def _text(value: Any) -> str:
    if value is None:
        return "?"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(value) if isinstance(value, list) else str(value)
