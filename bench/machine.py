"""Facts about the machine and the software that figures were measured on; without them a figure says nothing."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path

from bench.child import ROOT


def facts() -> dict[str, str | int | float]:
    """Return processor, cores, memory, load, the versions that matter, and the commit that is measured."""
    pages, size = os.sysconf("SC_PHYS_PAGES"), os.sysconf("SC_PAGE_SIZE")
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 0,
        "memory_gib": round(pages * size / 2**30, 1),
        "load_before": round(os.getloadavg()[0], 2),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "airflow": version("apache-airflow"),
        "commit": _commit(),
    }


def _commit() -> str:
    """Return the commit of the tree, and whether something in it is not committed; empty outside a clone."""
    said = [subprocess.run(["git", "-C", str(ROOT), *command], capture_output=True, text=True, check=False)
            for command in (("rev-parse", "--short=12", "HEAD"), ("status", "--porcelain"))]
    commit, changes = (one.stdout.strip() for one in said)
    return f"{commit} with changes" if commit and changes else commit


def _processor() -> str:
    table = Path("/proc/cpuinfo")
    if table.exists():
        for line in table.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
