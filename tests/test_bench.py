"""A figure says nothing without the machine and the software that it was measured on: every bench writes them."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def test_figures_are_written_with_the_machine_and_the_commit(tmp_path: Path) -> None:
    given = {**os.environ, "AIRLOCK_HOME": str(tmp_path), "PYTHONPATH": f"include:{ROOT}"}
    done = subprocess.run([sys.executable, "-m", "bench", "chaos"], cwd=ROOT, env=given, capture_output=True, text=True,
                          check=True)
    written = json.loads((tmp_path / "bench.json").read_text())
    machine = written["machine"]
    assert machine["processor"] and machine["system"].startswith("Linux")
    assert machine["cores"] == len(os.sched_getaffinity(0)) and 0 < machine["memory_gib"] < 100_000
    assert machine["python"] == ".".join(map(str, sys.version_info[:3]))
    assert f"apache-airflow=={machine['airflow']}" in re.sub(r"\[.*\]", "", (ROOT / "requirements.txt").read_text())
    assert re.fullmatch(r"[0-9a-f]{12}( with changes)?", machine["commit"])
    assert machine["commit"].split()[0] in done.stdout
    assert [one["name"] for one in written["figures"]["chaos"]] == ["faults survived in make chaos"]
