"""Reads how long the last ``make demo`` took; it does not run one."""

from __future__ import annotations

import json
import os

from bench.child import ROOT
from bench.figure import Figure

SIX_MINUTES = 360


def measure() -> list[Figure]:
    """Return the duration of each release of the last demo, and their sum."""
    home = os.environ.get("AIRLOCK_HOME") or str(ROOT / ".airlock")
    path = ROOT / home / "demo" / "summary.json"
    if not path.exists():
        return [Figure("three releases of make demo", None, "s", SIX_MINUTES, "run make demo first")]
    summary = json.loads(path.read_text())
    releases = summary["releases"]
    figures = [
        Figure(f"release of {entry['service']} {entry['version']} to {entry['environment']}",
               round(entry["duration_s"], 1), "s", note=entry["outcome"])
        for entry in releases
    ]
    total = round(sum(entry["duration_s"] for entry in releases), 1)
    note = "" if summary["ok"] else "not all releases ended as they should"
    return [*figures, Figure("three releases of make demo", total, "s", SIX_MINUTES, note)]
