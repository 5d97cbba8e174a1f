"""What the backup store costs next to the same two libraries called directly; see ``bench/backup_store.py``."""

from __future__ import annotations

import os

from bench import child
from bench.figure import Figure


def measure() -> list[Figure]:
    """Return time and memory of streaming 1 GiB (or AIRLOCK_BENCH_MIB) through the store."""
    size = os.environ.get("AIRLOCK_BENCH_MIB", "1024")
    found = child.run("bench/backup_store.py", size)
    what = f"{size} MiB"
    return [
        Figure(f"backup of {what} through the store", found["seconds"], "s"),
        Figure(f"the same {what} by zstandard and pyrage alone", found["baseline_seconds"], "s"),
        Figure("backup, store over libraries alone", found["ratio"], "times", 1.15),
        Figure("memory that the store adds", found["peak_mib"], "MiB", 100),
    ]
