"""Reads what became of the last ``make chaos``; it does not run one."""

from __future__ import annotations

import json
import os

from bench.child import ROOT
from bench.figure import Figure


def measure() -> list[Figure]:
    """Return how many faults were survived, and how long it took from fault to settled release."""
    home = os.environ.get("AIRLOCK_HOME") or str(ROOT / ".airlock")
    path = ROOT / home / "chaos" / "summary.json"
    if not path.exists():
        return [Figure("faults survived in make chaos", None, "", note="run make chaos first")]
    summary = json.loads(path.read_text())
    of = f"of {summary['faults']}, seed {summary['seed']}"
    return [
        Figure("faults survived in make chaos", summary["survived"], "", note=of),
        Figure("from fault to settled release, median", summary["settle_median_s"], "s", note=of),
        Figure("from fault to settled release, worst", summary["settle_worst_s"], "s", note=of),
    ]
