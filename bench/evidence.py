"""What it costs an auditor to check a pack of 10,000 records, and to compute its decisions again.

``python -m bench.evidence ACTION PACK`` does one of both, in a process of its own, and prints one line of JSON.
"""

from __future__ import annotations

import json
import resource
import sys
import tempfile
import time
from pathlib import Path

from bench import child
from bench.figure import Figure

RECORDS = 10_000
LIMITS = {"verify": (5.0, 150.0), "recompute": (30.0, 350.0)}
"""Seconds, and MiB of memory."""


def measure() -> list[Figure]:
    """Return the figures of both checks."""
    with tempfile.TemporaryDirectory(prefix="airlock-bench-") as home:
        made = child.run("-m", "bench.evidence", "make", home)
        found = {action: child.run("-m", "bench.evidence", action, made["pack"]) for action in LIMITS}
    figures = []
    for action, (seconds, memory) in LIMITS.items():
        note = f"{found[action]['records']} records, {made['bytes'] / 1e6:.0f} MB"
        if action == "recompute":
            note += f", {found[action]['decisions']} decisions"
        figures += [Figure(f"evidence {action}", found[action]["seconds"], "s", seconds, note),
                    Figure(f"evidence {action}, memory", found[action]["mib"], "MiB", memory, note)]
    return figures


def make(home: Path) -> dict[str, object]:
    """Write the pack of a release that was looked at thousands of times."""
    from tests.recompute import flown

    pack = flown.long_release(home, RECORDS)
    return {"pack": str(pack), "bytes": pack.stat().st_size}


def check(action: str, pack: Path) -> dict[str, object]:
    """Check *pack* with the key beside it, as the command does."""
    from airlock.evidence.pack import verify
    from airlock.recompute.release import recompute

    key = (pack.parent / "key.pem").read_text()
    begun = time.monotonic()
    more: dict[str, object] = {}
    if action == "verify":
        found: object = verify(pack, [key])
    else:
        found = recompute(pack, [key])
        more["decisions"] = len(found.decisions)
    if found.problems or not getattr(found, "ok"):  # noqa: B009
        raise SystemExit(f"the pack is not intact: {found.problems[:3]}")
    return {"seconds": round(time.monotonic() - begun, 2), "records": found.records,
            "mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1), **more}


if __name__ == "__main__":
    wanted, place = sys.argv[1:]
    print(json.dumps(make(Path(place)) if wanted == "make" else check(wanted, Path(place))))
