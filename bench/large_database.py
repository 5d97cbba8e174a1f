"""What a second backup of unchanged data costs, beside the first; see ``bench/server_backups.py``."""

from __future__ import annotations

import os

from bench import child
from bench.figure import Figure


def measure() -> list[Figure]:
    """Return time and bytes of two backups of 1 GiB (or AIRLOCK_BENCH_MIB) by ``postgres_pitr``."""
    size = os.environ.get("AIRLOCK_BENCH_MIB", "1024")
    found = child.run("bench/server_backups.py", size)
    what = f"a server with {size} MiB by postgres_pitr"
    share = {unit: round(100 * found[f"second_{unit}"] / found[f"first_{unit}"], 2) for unit in ("seconds", "bytes")}
    return [
        Figure(f"first backup of {what}", found["first_seconds"], "s"),
        Figure("second, unchanged", found["second_seconds"], "s"),
        Figure("time of the second, of the first", share["seconds"], "%", 20),
        Figure("bytes of the second, of the first", share["bytes"], "%", 5),
    ]
