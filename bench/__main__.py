"""``python -m bench``: measures everything, prints a table, writes ``bench.json`` to AIRLOCK_HOME (else .airlock)."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime

from rich.console import Console
from rich.table import Table

from bench import backup, chaos, decisions, demo, evidence, fleet, large_database, large_folder, machine, parked, parse
from bench.child import ROOT, MeasurementFailed
from bench.figure import Figure

BENCHES: Mapping[str, Callable[[], list[Figure]]] = {
    "parse": parse.measure, "fleet": fleet.measure, "decisions": decisions.measure,
    "evidence": evidence.measure, "backup": backup.measure, "folder": large_folder.measure, "demo": demo.measure,
    "chaos": chaos.measure, "parked": parked.measure, "database": large_database.measure,
}


def main(wanted: list[str]) -> int:
    """Run the benches named in *wanted* (all when empty). Figures beyond their limit are shown, and are no failure."""
    console = Console()
    unknown = [name for name in wanted if name not in BENCHES]
    if unknown:
        console.print(f"unknown bench {unknown[0]!r}: known are {', '.join(BENCHES)}", markup=False)
        return 2
    facts = machine.facts()
    figures: dict[str, list[Figure]] = {}
    failed = False
    for name in wanted or BENCHES:
        console.print(f"measuring {name} ...", style="dim")
        try:
            figures[name] = BENCHES[name]()
        except MeasurementFailed as error:
            failed = True
            console.print(f"{name} could not be measured: {error}", style="red", markup=False)
    console.print(table(figures))
    console.print(", ".join(f"{key} {value}" for key, value in facts.items()), style="dim", markup=False)
    path = ROOT / (os.environ.get("AIRLOCK_HOME") or ".airlock") / "bench.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": facts,
        "figures": {name: [figure.as_json() for figure in found] for name, found in figures.items()},
    }, indent=2) + "\n")
    console.print(f"written to {path}", markup=False, soft_wrap=True)
    return int(failed)


def table(figures: Mapping[str, list[Figure]]) -> Table:
    """Return the figures as a table for a terminal."""
    shown = Table("figure", "value", "at most", "", "note", title="Airlock, measured")
    for found in figures.values():
        for figure in found:
            value = "-" if figure.value is None else f"{figure.value:g} {figure.unit}"
            limit = "" if figure.limit is None else f"{figure.limit:g} {figure.unit}"
            word = {None: "", True: "[green]met[/]", False: "[red]missed[/]"}[figure.met]
            shown.add_row(figure.name, value, limit, word, figure.note)
        shown.add_section()
    return shown


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
